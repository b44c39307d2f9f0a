"""Images grouped by the person whom they show."""

import json

import pandas as pd
import pytest
from helpers import command

import reid_lightning
from reid_lightning.data.pedestrians.dataset import read_pedestrians
from reid_lightning.errors import InputError
from reid_lightning.inference.cluster import cluster_images
from reid_lightning.retrieval.clustering import cluster, cluster_scores
from reid_lightning.retrieval.k_reciprocal import KReciprocalRerank
from reid_lightning.retrieval.prior import drawn_distances, estimated_prior, even_distance


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Images of six people, of one of which nobody knows whom it shows."""
    rows = read_pedestrians(train_identities=24, test_identities=6)
    rows = rows[rows["split"].isin(["query", "gallery"]) & ~rows["distractor"]][["path", "person_id"]].head(
        40
    )
    file = tmp_path_factory.mktemp("images") / "images.csv"
    rows.iloc[3, 1] = None
    rows.to_csv(file, index=False)
    return file


def test_groups_are_those_of_the_function_and_judged_where_people_are_known(trained, table, tmp_path):
    rows = pd.read_csv(table, dtype=str)
    model = reid_lightning.load(trained)
    wanted = cluster(model.embed(rows["path"].tolist()), model.calibration.threshold(0.1))
    output, folders, sheet = tmp_path / "groups.csv", tmp_path / "groups", tmp_path / "sheet.png"
    shown = command(
        "cluster", table, "--model", trained, "--false-accepts", 0.1, "--output", output, "--folders", folders,
        "--sheet", sheet,
    )  # fmt: skip
    written = pd.read_csv(output, dtype={"person_id": str})
    assert written["cluster"].tolist() == wanted.tolist()
    assert written["images"].tolist() == [int((wanted == group).sum()) for group in wanted]
    assert written["person_id"].isna().sum() == 1
    said = " ".join(shown.stderr.split())
    known = rows["person_id"].notna().to_numpy()
    scores = cluster_scores(wanted[known], rows["person_id"][known])
    assert (
        f"judged by 39 images of {scores['people']:.0f} known people: pairwise F {100 * scores['f']:.1f}"
        in said
    )
    assert f"40 images in {wanted.max() + 1} groups" in said
    copies = [path for path in folders.rglob("*") if path.is_file()]
    assert len(copies) == 40
    assert {int(path.parent.name) for path in copies} == set(wanted.tolist())
    assert sheet.read_bytes().startswith(b"\x89PNG")


def test_without_a_threshold_the_images_say_how_near_is_near(trained, table):
    rows = pd.read_csv(table, dtype=str)
    model = reid_lightning.load(trained)
    vectors = model.embed(rows["path"].tolist())
    prior = estimated_prior(model.calibration.logistic, drawn_distances(vectors))
    shown = command("cluster", table, "--model", trained)
    wanted = cluster(vectors, even_distance(model.calibration.logistic, prior))
    answers = [json.loads(line) for line in shown.stdout.splitlines()]
    assert [answer["cluster"] for answer in answers] == wanted.tolist()
    assert f"{100 * prior:.2g} % of all pairs" in " ".join(shown.stderr.split())


def test_neighbourhoods_need_no_calibration(trained, table):
    rows = pd.read_csv(table, dtype=str)
    model = reid_lightning.load(trained, overrides=["evaluation.flip=true"])
    shown = command(
        "cluster", table, "--model", trained, "--rerank", "evaluation.flip=true", "--method", "dbscan"
    )
    answers = [json.loads(line) for line in shown.stdout.splitlines()]
    wanted = cluster(
        model.embed(rows["path"].tolist()), 0.6, method="dbscan", rerank=KReciprocalRerank(weight=0.0)
    )
    assert [answer["cluster"] for answer in answers] == wanted.tolist()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "k_means"}, "--method k_means is unknown"),
        ({"overrides": ["evaluation.flip=true"]}, "Clustering needs --threshold: the model does not say"),
        ({"rerank": True, "false_accepts": 0.1}, "--false-accepts is a share of plain distances"),
        ({"threshold": -1}, "--threshold must be a number from 0 on, got -1"),
        ({"folders": "here"}, "--folders must name a folder that is not there yet"),
        ({"sheet": "sheet.txt"}, "the file extension is not an image format"),
    ],
)
def test_what_cannot_be_grouped_is_refused(trained, table, options, said, tmp_path):
    (tmp_path / "here").mkdir()
    given = {
        name: tmp_path / value if name in ("folders", "sheet") else value for name, value in options.items()
    }
    with pytest.raises(InputError, match=said):
        cluster_images(table, trained, **given)
