"""What a data set's own protocol does to a run: splits, draws of the gallery, tracklets, and the line that names them."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import train

from reid_lightning.experiments.checkpoint_overrides import override
from reid_lightning.experiments.evaluate import evaluate
from reid_lightning.experiments.factory import build_datamodule
from reid_lightning.experiments.run import run_job

REPOSITORY = Path(__file__).resolve().parents[2]
TINY = (
    "data.weights=null",
    "data.image_size=[32,16]",
    "data.num_workers=0",
    "data.validation=0.4",
    "sampler.identities=2",
    "sampler.images_per_identity=2",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=1",
    "+trainer.enable_progress_bar=false",
)


def write_picture(path, person, shot):
    """A person is a pair of colors, a shot some noise."""
    colours = np.random.default_rng(person).integers(0, 200, (2, 1, 3))
    picture = np.repeat(colours, (16, 16), axis=0) + np.random.default_rng([person, shot]).integers(
        0, 40, (32, 16, 3)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture.astype(np.uint8))


@pytest.fixture(scope="module")
def campus(tmp_path_factory):
    root = tmp_path_factory.mktemp("cuhk01")
    for person in range(1, 13):
        for image in range(1, 5):
            write_picture(root / "campus" / f"{person:04d}{image:03d}.png", person, image)
    return root


@pytest.fixture(scope="module")
def walks(tmp_path_factory):
    root = tmp_path_factory.mktemp("prid")
    for person in range(1, 13):
        for camera in "ab":
            for frame in range(1, 4):
                path = root / "multi_shot" / f"cam_{camera}" / f"person_{person:04d}" / f"{frame:04d}.png"
                write_picture(path, person, frame + 10 * (camera == "b"))
    return root


def of_walks(root):
    keys = ("min_frames=3", "test_identities=5")
    return [
        "data=prid2011_video",
        f"data.root={root}",
        *(f"data.sources.prid2011_video.{key}" for key in keys),
    ]


def of_campus(root):
    return ["data=cuhk01", f"data.root={root}", "data.sources.cuhk01.test_identities=6"]


def test_validation_queries_are_whole_walks(compose, walks):
    datamodule = build_datamodule(compose(*of_walks(walks), *TINY))
    datamodule.setup("fit")
    queries = {}
    for batch in datamodule.val_dataloader():
        columns = (batch[name].tolist() for name in ("tracklet_ids", "person_ids", "is_query"))
        for tracklet, person, query in zip(*columns, strict=True):
            queries.setdefault(tracklet, []).append((person, query))
    assert len(queries) == 6  # three people in two cameras
    assert all(len(frames) == 3 and len(set(frames)) == 1 for frames in queries.values())
    assert (
        sum(frames[0][1] for frames in queries.values()) == 3
    )  # one walk of each, so that the other is its match


@pytest.mark.slow
def test_a_run_names_its_split_and_the_spread_of_its_draws(compose, campus, tmp_path):
    result = run_job(compose(*of_campus(campus), *TINY, "data.split=2"))
    assert result.protocol.startswith(
        "cuhk01: split 2, 6 training identities, 6 queried among 6, from camera a; "
    )
    assert "one random gallery image per identity, mean of 10 draws (seed 0)" in result.protocol
    written = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert written["test"]["queries"] == 12
    assert 0 < written["test"]["mAP"] <= 1
    assert written["test"]["rank1_std"] >= 0
    assert "±" in (tmp_path / "run" / "report.html").read_text()

    again = evaluate(
        tmp_path / "run" / "checkpoints" / "best.ckpt", tmp_path / "whole", ["evaluation.single_shot=null"]
    )
    assert "mean of" not in again.protocol
    assert "rank1_std" not in again.test


@pytest.mark.slow
def test_walks_are_compared_and_another_data_set_brings_its_own_way(compose, walks, campus, tmp_path):
    result = run_job(compose(*of_walks(walks), *TINY))
    assert result.test["queries"] == 5
    assert result.protocol.startswith(
        "prid2011_video: walks of 3 frames or more, split 0, 7 training identities"
    )
    assert "averaged over each tracklet" in result.protocol
    checkpoint = tmp_path / "run" / "checkpoints" / "best.ckpt"
    frames = evaluate(checkpoint, tmp_path / "frames", ["evaluation.tracklets=null"])
    assert frames.test["queries"] == 15
    other = evaluate(checkpoint, tmp_path / "campus", of_campus(campus))
    assert "tracklet" not in other.protocol
    assert "mean of 10 draws" in other.protocol
    convention = evaluate(checkpoint, tmp_path / "convention", ["evaluation=torchreid"])
    assert "averaged over each tracklet" in convention.protocol


def test_evaluation_follows_the_data_unless_told(compose, campus):
    config = compose(*of_campus(campus))
    data = ["data=mars", "data.root=x"]
    assert override(config, data)["evaluation"]["tracklets"] == "pool"
    assert override(config, data)["evaluation"]["single_shot"] is None
    assert override(config, [*data, "evaluation.tracklets=null"])["evaluation"]["tracklets"] is None
    told = override(config, ["evaluation=transreid", "evaluation.single_shot=3"])["evaluation"]
    assert (told["single_shot"], told["distance"]) == (3, "euclidean")
    assert override(config, ["evaluation=transreid"])["evaluation"]["single_shot"] == 10


@pytest.mark.slow
def test_splits_run_in_one_command(campus, tmp_path):
    train(*of_campus(campus), *TINY, "data.split=range(0,3)", folder=tmp_path, multirun=True)
    protocols = [json.loads(path.read_text())["protocol"] for path in sorted(tmp_path.rglob("metrics.json"))]
    assert [protocol.split(",")[0] for protocol in protocols] == [
        f"cuhk01: split {split}" for split in range(3)
    ]
