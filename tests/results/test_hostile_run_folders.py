"""Files of a run's folder that a stranger has written: none is waited for, obeyed or believed."""

import json
import os

import numpy as np
import pytest
from test_browsing import some_content, some_table

from reid_lightning.config.plain_file import read_mapping, read_plain
from reid_lightning.errors import InputError
from reid_lightning.experiments import compare_runs as comparing
from reid_lightning.experiments.compare_runs import compare_runs, names_of
from reid_lightning.experiments.finished_run import require_run
from reid_lightning.reporting.thumbnails import write_thumbnail
from reid_lightning.results.browsing.content import write_data
from reid_lightning.results.browsing.differences import differences
from reid_lightning.results.browsing.read import read_data
from reid_lightning.results.browsing.sections import history_of, read_history
from reid_lightning.results.card_facts import CardFacts, of_hydra, read_facts
from reid_lightning.results.finished import is_finished
from reid_lightning.results.kept_pictures import kept_pictures
from reid_lightning.results.summary import RunResult
from reid_lightning.sweeps.commands import command_of_sweep
from reid_lightning.sweeps.reader import read_sweep

NUMBERS = {
    "score": 0.5,
    "validation": {"mAP": 0.5},
    "test": {"mAP": 0.4, "rank1": 0.3, "queries": 12.0},
    "protocol": "cosine",
    "cost": {"parameters": 10, "seconds": {"fit": 1.0}},
    "people": {"train": 3, "test": 2},
    "intervals": {"test": [0.3, 0.5]},
}
LAUGHS = "a: &a {x: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [*{before}, *{before}]}}\n"
    for before, name in zip("abcdefghijklmnopqrstuvwxy", "bcdefghijklmnopqrstuvwxyz", strict=True)
)


def run_of(folder, seed=0, name="run", table=None, picture=True):
    """Write the folder of a finished run as far as a comparison reads it."""
    content, *_ = some_content(seed, name, table)
    report = folder / "report"
    (report / "images").mkdir(parents=True)
    (folder / "checkpoints").mkdir()
    (folder / "metrics.json").write_text(json.dumps(NUMBERS))
    (folder / "checkpoints" / "card.json").write_text(
        json.dumps({"finished": True, "checkpoint": "best.ckpt"})
    )
    (folder / "config.yaml").write_text(f"seed: {seed}\nloss:\n  triplet: {{margin: 0.3}}\n")
    write_data(content.data, report)
    if picture:
        for number in range(len(content.images)):
            write_thumbnail(np.full((8, 4, 3), 7, np.uint8), report / "images" / f"{number}.jpg")
    return folder


def fifo(path):
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)


def test_a_pipe_is_not_waited_for(tmp_path):
    names = (
        "metrics.json", "card.json", "training.json", "run.json", "metrics.csv", "multirun.yaml", "config.yaml",
        ".hydra/overrides.yaml", ".hydra/hydra.yaml", "report/data.js",
    )  # fmt: skip
    for name in names:
        fifo(tmp_path / name)
    with pytest.raises(InputError, match=r"metrics\.json cannot be read"):
        RunResult.read(tmp_path)
    with pytest.raises(InputError, match=r"data\.js cannot be read"):
        read_data(tmp_path / "report")
    with pytest.raises(InputError, match="holds no jobs"):
        read_sweep(tmp_path)
    assert read_facts(tmp_path / "card.json") == CardFacts()
    assert kept_pictures(tmp_path, "training.json") == []
    assert history_of(tmp_path) == []
    assert command_of_sweep(tmp_path) == ""
    assert of_hydra(tmp_path) == ([], {})
    assert not is_finished(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\x00",
        "[" * 300,
        "a: [",
        LAUGHS,
        "&a [*a]",
        "? {a: 1}\n: b",
        "!!python/object/apply:os.getcwd []",
    ],
)
def test_broken_and_endless_files_are_empty_ones(tmp_path, text):
    for name in ("multirun.yaml", "config.yaml", "card.json", "run.json", "identity.json"):
        (tmp_path / name).write_text(text)
        assert read_mapping(tmp_path / name) in ({}, {"a": {"x": 1}})
    assert command_of_sweep(tmp_path) == ""
    assert read_facts(tmp_path / "card.json") == CardFacts()


def test_a_file_without_an_end_is_not_read(tmp_path):
    (tmp_path / "config.yaml").symlink_to("/dev/zero")
    assert read_plain(tmp_path / "config.yaml") is None


@pytest.mark.parametrize(
    "change",
    [
        {"test": {"mAP": "<script>"}},
        {"test": {"mAP": None}},
        {"test": {"mAP": 10**400}},
        {"test": [0.4]},
        {"test": {"queries": float("inf")}},
        {"validation": {"queries_without_match": float("nan")}},
        {"score": "0.5"},
        {"protocol": ["cosine"]},
        {"cost": {"parameters": "many", "seconds": {}}},
        {"cost": {"parameters": 1, "seconds": {"fit": "long"}}},
        {"cost": {"parameters": 1, "seconds": {}, "images_per_second": {}}},
        {"intervals": {"test": 3}},
        {"intervals": {"test": ["low", "high"]}},
        {"intervals": [1, 2]},
        {"people": 7},
        {"epoch": "three"},
        {"note": {"a": 1}},
    ],
)
def test_numbers_of_another_kind_are_refused(tmp_path, change):
    (tmp_path / "metrics.json").write_text(json.dumps(NUMBERS))
    assert RunResult.read(tmp_path).test == NUMBERS["test"]
    (tmp_path / "metrics.json").write_text(json.dumps(NUMBERS | change))
    with pytest.raises(InputError, match="does not hold the numbers of a run"):
        RunResult.read(tmp_path)


def change(data, path, value):
    *above, last = path
    for name in above:
        data = data[name]
    data[last] = value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("queries", 0), 10**9),
        (("queries", 0), -1),
        (("queries", 0), "0"),
        (("queries",), []),
        (("gallery",), "many"),
        (("known",), "yes"),
        (("protocol",), {"a": 1}),
        (("people", 0), 7),
        (("images", "name", 0), ["../../etc/passwd"]),
        (("images", "name"), "text"),
        (("images", "person", 0), 10**6),
        (("images", "camera"), [0]),
        (("images", "attributes", 0), ""),
        (("images", "nobody", 0), True),
        (("attributes", 0), "hat"),
        (("runs",), []),
        (("runs", 0, "name"), None),
        (("runs", 0, "ap", 0), float("nan")),
        (("runs", 0, "ap", 0), "1"),
        (("runs", 0, "first"), {}),
        (("runs", 0, "lists", 0, 0), -5),
        (("runs", 0, "lists", 0), []),
        (("runs", 0, "distances", 0, 0), float("inf")),
        (("runs", 0, "rest", 0), [[1, 2]]),
        (("runs", 0, "pair_cameras"), [99]),
        (("runs", 0, "pairs", 0), [0.5]),
    ],
)
def test_data_of_another_form_are_refused(tmp_path, path, value):
    content, *_ = some_content()
    data = json.loads(json.dumps(content.data))
    write_data(data, tmp_path)
    read_data(tmp_path)
    change(data, path, value)
    (tmp_path / "data.js").write_text(f"window.REID = {json.dumps(data)};\n")
    with pytest.raises(InputError, match="is not the data of a page of this version"):
        read_data(tmp_path)


def test_a_comparison_copies_images_and_nothing_else(tmp_path, caplog):
    first, second = (run_of(tmp_path / name, seed) for name, seed in (("a", 1), ("b", 2)))
    secret = tmp_path / "secret"
    secret.write_text("key")
    images = first / "report" / "images"
    (images / "0.jpg").unlink()
    (images / "0.jpg").symlink_to(secret)
    (images / "1.jpg").write_text("#!/bin/sh")
    fifo(images / "2.jpg")
    (images / "3.jpg").unlink()
    page = compare_runs(first, second, tmp_path / "out")
    copied = [file.read_bytes() for file in (tmp_path / "out" / "report" / "images").iterdir()]
    assert all(content.startswith(b"\xff\xd8\xff") for content in copied)
    assert "4 of the small images" in caplog.text
    assert "What differs" in page.read_text()


def test_runs_whose_images_are_gone_are_compared_all_the_same(tmp_path):
    first, second = (run_of(tmp_path / name, seed, picture=False) for name, seed in (("a", 1), ("b", 2)))
    for folder in (first, second):
        (folder / "report" / "images").rmdir()
    assert compare_runs(first, second, tmp_path / "out").is_file()


def test_names_stay_text(tmp_path):
    table = some_table()
    hostile = "</script><img src=x onerror=alert(1)>\u202e\"'\x07"
    table["person_id"] = table["person_id"].replace({"p0": hostile})
    name = "javascript:alert(1)#?%\"'<b>"
    first = run_of(tmp_path / name, 1, table=table)
    second = run_of(tmp_path / "b", 2, table=table)
    text = compare_runs(first, second, tmp_path / "out").read_text()
    data = (tmp_path / "out" / "report" / "data.js").read_text()
    assert "<img" not in text
    assert '<b>"' not in text
    assert 'href="../javascript%3Aalert%281%29%23%3F%25%22%27%3Cb%3E/report.html"' in text
    assert hostile in json.loads(data.removeprefix("window.REID = ").removesuffix(";\n"))["people"]
    assert "\u202e" not in data


def test_a_comparison_that_fails_leaves_the_earlier_one(tmp_path, monkeypatch):
    first, second = (run_of(tmp_path / name, seed) for name, seed in (("a", 1), ("b", 2)))
    page = compare_runs(first, second, tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}

    def full(*arguments, **values):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(comparing, "write_page", full)
    with pytest.raises(InputError, match=r"disk of .* is full"):
        compare_runs(second, first, tmp_path / "out")
    assert page.is_file()
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


def test_what_differs_is_said_in_one_list(tmp_path):
    first, second = (run_of(tmp_path / name, seed) for name, seed in (("a", 1), ("b", 2)))
    found = differences(first, second)
    assert found.rows == [("seed", "1", "2")]
    assert found.sentence.startswith("Only the seed differs")
    for folder, root in ((first, "/here"), (second, "/elsewhere")):
        (folder / "config.yaml").write_text(f"seed: 1\ndata: {{root: {root}}}\noutput_dir: {folder}\n")
    assert differences(first, second).rows == []
    (first / "config.yaml").write_text("seed: 1\nloss: {triplet: {margin: 0.3}}\n")
    (second / "config.yaml").write_text("seed: 2\nloss:\n  circle: {}\n  triplet: null\nneck: {size: 3}\n")
    (second / "metrics.json").write_text(json.dumps(NUMBERS | {"people": {"train": 4, "test": 2}}))
    found = differences(first, second)
    assert found.rows == [
        ("seed", "1", "2"), ("data: people in training", "3", "4"), ("loss", "triplet", "circle"), ("neck", "", "size"),
    ]  # fmt: skip
    assert found.sentence.startswith("The runs differ in the seed, the data, the loss and 1 other setting:")
    (second / "config.yaml").unlink()
    assert "is not known" in differences(first, second).sentence


def test_long_and_equal_names_are_a_and_b(tmp_path):
    assert names_of([tmp_path / "one", tmp_path / "two"]) == (["one", "two"], ["one", "two"])
    long = "loss-triplet_seed-1_c79f15ddfecb"
    assert names_of([tmp_path / long, tmp_path / "two"]) == ([long, "two"], ["A", "B"])


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        require_run(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"metrics\.json cannot be read"):
        require_run(tmp_path)
    (tmp_path / "metrics.json").write_text(json.dumps(NUMBERS))
    with pytest.raises(InputError, match="holds no checkpoint of a finished run"):
        require_run(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "step,epoch\n",
        "a,b\n1,2\n",
        "step,epoch\nx,y\n",
        "step,epoch,train/loss\n1,inf,nan\n",
        "step,epoch,train/loss\n1e308,1e308,1e308\n",
    ],
)
def test_damaged_logs_have_no_curves(tmp_path, text):
    (tmp_path / "metrics.csv").write_text(text)
    history_of(tmp_path)


def test_logs_of_no_training_have_no_curves(tmp_path):
    (tmp_path / "metrics.csv").write_text(
        "step,epoch,train/loss\n-1,-1,1\ninf,0,1\n1e300,1e300,1\nnan,1,2\n3,0,5\n9,1,4\n"
    )
    history = read_history(tmp_path)
    assert history["step"].tolist() == [3, 9]
    assert history["train/loss"].tolist() == [5, 4]
