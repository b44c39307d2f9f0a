"""What a comparison leaves: the same numbers in every form, names that are escaped, and pairs without scores."""

import json

import pandas as pd
from PIL import Image

from reid_lightning.results.matrix import Cell, ModelCost, write_matrix

COSTS = [
    ModelCost("<b>one</b>", "one.ckpt", 4_387_369, 52.6, (256, 128), 24.06, 61.0, "CPU, 1 thread"),
    ModelCost("two $x$", "two.ckpt", 200_000, 0.9, (256, 128), 7.9, 190.0, "CPU, 1 thread"),
    ModelCost("damaged", "three.ckpt"),
]
CELLS = [
    Cell("<b>one</b>", "market1501", "one_on", {"mAP": 0.708, "rank1": 0.8655}, [0.69, 0.72], "cosine"),
    Cell("<b>one</b>", "trento", "one_on_trento", note="there are no identities"),
    Cell("two $x$", "market1501", "two_on", {"mAP": 0.41, "rank1": 0.6}, None, "cosine"),
    Cell("two $x$", "trento", "two_on_trento", error="it is not there"),
    Cell("damaged", "market1501", "three_on", error="it is damaged"),
    Cell("damaged", "trento", "three_on_trento", error="it is damaged"),
]


def test_every_form_says_the_same(tmp_path, capsys):
    write_matrix(COSTS, CELLS, ["evaluation.flip=true"], tmp_path)
    table = pd.read_csv(tmp_path / "matrix.csv")
    assert table["mAP"].dropna().tolist() == [0.708, 0.41]
    assert table.loc[0, ["mAP_low", "mAP_high", "rank1", "parameters"]].tolist() == [
        0.69,
        0.72,
        0.8655,
        4387369,
    ]
    assert table["failed"].tolist()[1] == "there are no identities"
    content = json.loads((tmp_path / "matrix.json").read_text())
    assert [cell["error"] for cell in content["cells"]][3:] == [
        "it is not there",
        "it is damaged",
        "it is damaged",
    ]
    assert content["overrides"] == ["evaluation.flip=true"]
    page = (tmp_path / "report.html").read_text()
    assert "<b>one" not in page
    assert "&lt;b&gt;one&lt;/b&gt;" in page
    shown = " ".join(capsys.readouterr().out.split())
    for words in (
        "70.8",
        "69.0 to 72.0",
        "two $x$ on trento failed: it is not there",
        "there are no identities",
    ):
        assert words in page, words
        assert words in shown, words
    for name in ("heat_map", "map_over_latency"):
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert min(picture.size) > 100
    assert page.count("<figure>") == 2


def test_nothing_scored_leaves_a_page_without_pictures(tmp_path):
    write_matrix(COSTS[2:], CELLS[4:], [], tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "damaged on 2 data sets" in page
    assert "<figure>" not in page
