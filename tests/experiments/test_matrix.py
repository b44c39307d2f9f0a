"""Models x data sets: every cell is what a single evaluation gives, and one that fails leaves the others alone."""

import json

import pandas as pd
import pytest
from helpers import command
from trento_tree import write_trento_tree

from reid_lightning.errors import InputError
from reid_lightning.experiments.evaluate import evaluate
from reid_lightning.experiments.run import run_job

pytestmark = pytest.mark.slow


@pytest.fixture
def models(compose, brief, tmp_path):
    made = []
    for name, width in (("narrow", 0.125), ("wide", 0.25)):
        folder = tmp_path / name
        run_job(
            compose(
                *brief,
                "backbone=resnet10",
                f"backbone.width={width}",
                "trainer.max_epochs=1",
                output_dir=folder,
            )
        )
        made.append(folder / "checkpoints" / "last.ckpt")
    return made


def table_of(folder, output):
    """Write the test set of a run as a table, and return the file."""
    queries = pd.read_csv(folder / "rankings.csv")
    rows = [
        pd.DataFrame({"path": queries[side].unique(), "split": split})
        for side, split in (("query", "query"), ("gallery", "gallery"))
    ]
    table = pd.concat(rows)
    names = table["path"].str.rsplit("/", n=1).str[-1]
    table["person_id"], table["camera_id"] = names.str[:4], names.str.extract(r"_c(\d+)")[0].to_numpy()
    table[table["person_id"] != "0000"].to_csv(output, index=False)
    return output


def test_models_on_data_sets(models, tmp_path, capsys):
    evaluate(models[0], tmp_path / "alone0")
    own = table_of(tmp_path / "alone0", tmp_path / "own.csv")
    strangers = write_trento_tree(tmp_path / "course")
    output = tmp_path / "compared"
    sets = f"data=table:{own},trento:{strangers},market1501:{tmp_path / 'nowhere'}"
    ended = command("evaluate", *models, sets, "evaluation.flip=true", "--output", output)
    assert ended.exit_code == 1
    said = " ".join(ended.stdout.split())
    assert (
        f"narrow on market1501 failed: the data to evaluate on, data.sources.market1501.root={tmp_path}/nowhere"
        in said
    )
    assert "no identities: 3 queries and 9 images" in said
    table = pd.read_csv(output / "matrix.csv")
    assert table["model"].tolist() == ["narrow"] * 3 + ["wide"] * 3
    assert table["data"].tolist() == ["table", "trento", "market1501"] * 2
    scored = table[table["data"] == "table"]
    for (_, row), model in zip(scored.iterrows(), models, strict=True):
        single = evaluate(
            model, tmp_path / "single", ["data=table", f"data.root={own}", "evaluation.flip=true"]
        )
        assert row["mAP"] == pytest.approx(single.test["mAP"])
        assert row["rank1"] == pytest.approx(single.test["rank1"])
        assert [row["mAP_low"], row["mAP_high"]] == pytest.approx(single.intervals["test"])
        assert row["parameters"] == single.cost["parameters"]
        assert row["megabytes"] == pytest.approx(model.stat().st_size / 1e6)
    assert table[["mAP", "rank1"]][table["data"] != "table"].isna().all(axis=None)
    assert (table[["ms_per_image", "images_per_second"]] > 0).all(axis=None)
    content = json.loads((output / "matrix.json").read_text())
    assert [bool(cell["scores"]) for cell in content["cells"]] == [True, False, False] * 2
    assert content["models"][0]["parameters"] < content["models"][1]["parameters"]
    page = (output / "report.html").read_text()
    assert "2 models on 3 data sets" in page
    assert page.count("<figure>") == 2
    assert 'href="narrow_on_table/report.html"' in page
    for name in ("narrow_on_table", "wide_on_trento"):
        assert (output / name / "report.html").is_file()


def test_several_models_on_their_own_data_and_nothing_that_works(models, tmp_path):
    ended = command("evaluate", *models, tmp_path / "absent.ckpt", "--output", tmp_path / "own")
    assert ended.exit_code == 1
    table = pd.read_csv(tmp_path / "own" / "matrix.csv")
    assert table["data"].tolist() == ["own data"] * 3
    assert table["mAP"].notna().tolist() == [True, True, False]
    assert "there is no checkpoint" in table["failed"][2]
    nothing = f"data=market1501:{tmp_path / 'x'},table:{tmp_path / 'y.csv'}"
    for arguments, message in (
        ((models[0], nothing), "nothing could be evaluated; narrow on market1501: the data to evaluate on"),
        ((*models, "--embeddings", tmp_path / "v.npz"), "--embeddings holds the vectors of one model"),
        ((models[0], models[0]), "is named twice"),
    ):
        with pytest.raises(InputError, match=message):
            command("evaluate", *arguments)
