"""The course of Trento from its folder to what it hands in: no identities in the test, so files and no scores."""

import json

import pandas as pd
import pytest
import torch
from trento_tree import write_trento_tree

from reid_lightning.experiments.evaluate import evaluate
from reid_lightning.experiments.run import run_job

SIZES = (
    "backbone=resnet10", "backbone.width=0.125", "data.image_size=[24,12]", "data.cache=false", "data.batch_size=8",
    "trainer.max_epochs=1", "trainer.accelerator=cpu", "sampler.identities=2",
    "sampler.images_per_identity=2", "backbone.weights=null", "trainer.log_every_n_steps=1",
)  # fmt: skip
SAID = "no identities: 3 queries and 9 images of the gallery are ranked, and nothing is scored"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return write_trento_tree(tmp_path_factory.mktemp("course"))


def lists_of(folder):
    lines = (folder / "reid_test.txt").read_text().splitlines()
    return {query: names.split(", ") for query, names in (line.split(": ") for line in lines)}


def check_rankings(folder, queries=3, gallery=9):
    table = pd.read_csv(folder / "rankings.csv")
    assert list(table.columns) == [
        "query",
        "rank",
        "gallery",
        "distance",
        "same_person",
        "query_camera",
        "camera",
    ]
    assert len(table) == queries * gallery
    assert table["same_person"].isna().all()
    for _, rows in table.groupby("query"):
        assert rows["rank"].tolist() == list(range(1, gallery + 1))
        assert rows["distance"].is_monotonic_increasing
    return table


def test_the_course_whole(tree, compose, tmp_path, capsys):
    course = ("experiment=trento", "data=trento", f"data.root={tree}", *SIZES)
    checked = (
        "data.validation=0.5",
        "data.validation_queries=4",
        "report=[open_set,verification,embedding_map]",
    )
    result = run_job(compose(*course, *checked, "logger=[csv,wandb,tensorboard]"))
    folder = tmp_path / "run"
    assert (result.test, list(result.intervals)) == ({}, ["validation"])
    assert result.validation["mAP"] > 0
    assert SAID in result.note
    assert "; a test set without identities; validation on 4 other people" in result.protocol
    assert SAID in " ".join(capsys.readouterr().out.split())
    for page in ("report.html", "checkpoints/README.md"):
        text = (folder / page).read_text()
        assert SAID in text, page
        assert "nan" not in text.lower().split("base64")[0], page
    assert SAID in json.loads((folder / "metrics.json").read_text())["note"]
    answers = pd.read_csv(folder / "classification_test.csv")
    annotations = pd.read_csv(tree / "annotations_train.csv")
    assert list(answers.columns) == list(annotations.columns)
    assert answers["id"].tolist() == [f"{number:06d}.jpg" for number in range(9)]
    coded = answers.drop(columns="id")
    assert coded.drop(columns="age").isin([1, 2]).all(axis=None)
    assert coded["age"].between(1, 4).all()
    lists = lists_of(folder)
    assert list(lists) == [f"{number:06d}.jpg" for number in range(3)]
    assert all(sorted(names) == answers["id"].tolist() for names in lists.values())
    check_rankings(folder)
    assert (folder / "ranked_lists.png").is_file()
    for absent in ("queries.csv", "cmc.png", "roc.png", "embedding_map.png"):
        assert not (folder / absent).exists(), absent
    again = evaluate(folder / "checkpoints" / "best.ckpt", tmp_path / "again", embeddings=tmp_path / "v.npz")
    assert again.test == {}
    assert lists_of(tmp_path / "again") == lists
    assert (tmp_path / "again" / "classification_test.csv").read_text() == (
        folder / "classification_test.csv"
    ).read_text()


def test_a_model_without_attributes_ranks_strangers_too(tree, compose, tmp_path, caplog):
    run_job(compose(f"data.root={tree}", "data=trento", *SIZES, "data.validation=none", "report=rankings"))
    folder = tmp_path / "run"
    assert SAID in caplog.text
    assert not (folder / "classification_test.csv").exists()
    table = check_rankings(folder)
    first = table[table["query"].str.endswith("000001.jpg")]["gallery"].str.rsplit("/", n=1).str[-1]
    assert lists_of(folder)["000001.jpg"] == first.tolist()
    assert "There are no numbers yet" not in (folder / "checkpoints" / "README.md").read_text()
    test = ["evaluation/rerank=k_reciprocal", "evaluation.rerank.k1=3", "evaluation.rerank.k2=2"]
    assert evaluate(folder / "checkpoints" / "last.ckpt", tmp_path / "again", test, rankings=4).test == {}
    assert len(pd.read_csv(tmp_path / "again" / "rankings.csv")) == 12


def test_a_table_without_people_in_its_test_and_one_with_some(tree, compose, tmp_path):
    from reid_lightning.data.readers.trento import read_trento

    table = read_trento(tree).drop(columns=["attribute_file", "attribute_subset"])
    table.to_csv(tmp_path / "strangers.csv", index=False)
    common = ("data=table", *SIZES, "data.validation=none")
    run_job(compose(*common, f"data.root={tmp_path / 'strangers.csv'}", output_dir=tmp_path / "strangers"))
    check_rankings(tmp_path / "strangers")
    asked, shown = (table["split"].eq(split).to_numpy().nonzero()[0][0] for split in ("query", "gallery"))
    table.loc[[asked, shown], "person_id"] = "eve"
    table.to_csv(tmp_path / "some.csv", index=False)
    result = evaluate(
        tmp_path / "strangers" / "checkpoints" / "last.ckpt", tmp_path / "some",
        ["data=table", f"data.root={tmp_path / 'some.csv'}"],
    )  # fmt: skip
    assert result.test["queries"] == 1  # the other images are junk: neither right nor wrong
    assert result.note == ""
    assert "10 images of unknown people ignored" in result.protocol
    found = pd.read_csv(tmp_path / "some" / "rankings.csv")
    assert found["same_person"].tolist() == [True]
    assert torch.isfinite(torch.tensor(found["distance"].tolist())).all()
