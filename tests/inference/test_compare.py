"""Images compared: distance, probability and verdict."""

import json

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import command

import reid_lightning
from reid_lightning.distances import pairwise_distances
from reid_lightning.errors import InputError
from reid_lightning.inference.compare import compare_vectors


@pytest.fixture
def images(tmp_path):
    """Four images of smooth noise, the last two alike."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(4):
        coarse = np.random.default_rng(min(number, 2)).integers(0, 256, (6, 3, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (20, 40))
        image[0, 0] = number
        cv2.imwrite(str(folder / f"{number}.png"), image)
    return folder


def test_pairs_of_images_are_compared_as_the_calibration_says(trained, images):
    model = reid_lightning.load(trained)
    paths = sorted(images.iterdir())
    found = model.compare(paths[:3], paths, prior=0.2)
    vectors = model.embed(paths)
    wanted = pairwise_distances(vectors[:3].double(), vectors.double(), "cosine").numpy()
    np.testing.assert_allclose(found.distance, wanted, atol=1e-5)
    assert found.probability == pytest.approx(model.calibration.probability(wanted, 0.2), abs=1e-3)
    assert found.threshold == model.calibration.threshold(0.01)
    assert np.array_equal(found.same, found.distance <= found.threshold)
    assert found.false_accepts == 0.01
    assert model.compare(paths, paths, false_accepts=0.1).threshold == model.calibration.threshold(0.1)


def test_two_single_images_give_scalars(trained, images):
    model = reid_lightning.load(trained)
    first, second = sorted(images.iterdir())[2:]
    found = model.compare(first, str(second))
    assert found.distance.shape == found.probability.shape == found.same.shape == ()
    assert float(found.distance) < 0.01
    assert found.same
    assert 0.5 < float(found.probability) < 1
    assert model.compare([first], second).distance.shape == (1, 1)


def test_a_model_that_is_not_calibrated_gives_distances(trained, images):
    model = reid_lightning.load(trained, overrides=["evaluation.flip=true"])
    found = model.compare(*sorted(images.iterdir())[:2])
    assert found.probability is found.threshold is found.same is found.false_accepts is None
    with pytest.raises(InputError, match="A false accept rate needs a calibration"):
        model.compare(*sorted(images.iterdir())[:2], false_accepts=0.1)
    vectors = torch.eye(2)
    own = compare_vectors(vectors, vectors, "cosine", None, threshold=0.5)
    assert own.same.tolist() == [[True, False], [False, True]]
    with pytest.raises(InputError, match="a false accept rate or a threshold, not both"):
        compare_vectors(vectors, vectors, "cosine", model.calibration, 0.1, 0.5)


def test_the_command_writes_a_line_for_each_pair(trained, images, tmp_path):
    one, other = sorted(images.iterdir())[2:]
    shown = command("compare", one, other, "--model", trained)
    (answer,) = [json.loads(line) for line in shown.stdout.splitlines()]
    assert answer["first"] == str(one)
    assert answer["second"] == str(other)
    assert answer["same"] is True
    assert answer["distance"] < 0.01 < answer["probability"]
    assert "1 % of the pairs of different people are as near" in " ".join(shown.stderr.split())
    assert (
        "50 % of all pairs show one person (--prior), and were measured on 14 validation people"
        in " ".join(shown.stderr.split())
    )
    table = command("compare", one, other, "--model", trained, "--table").stdout
    assert "yes" in table
    assert f"{answer['distance']:.4f}" in table
    output = tmp_path / "pairs.csv"
    command(
        "compare",
        images,
        images,
        "--model",
        trained,
        "--output",
        output,
        "--false-accepts",
        0.1,
        "--prior",
        0.01,
    )
    written = pd.read_csv(output)
    assert written.columns.tolist() == ["first", "second", "distance", "probability", "same"]
    assert len(written) == 16
    assert written.loc[written["first"] == written["second"], "distance"].max() < 1e-5
    lines = tmp_path / "pairs.jsonl"
    shown = command(
        "compare",
        images,
        one,
        "--model",
        trained,
        "--output",
        lines,
        "evaluation.flip=true",
        "--threshold",
        0.2,
    )
    answers = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [answer["probability"] for answer in answers] == [None] * 4
    assert [answer["same"] for answer in answers] == [answer["distance"] <= 0.2 for answer in answers]
    assert "no probability: the model does not say" in " ".join(shown.stderr.split())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--prior", 1), r"--prior must be between 0 and 1, got 1\.0"),
        (("--threshold", -1), r"--threshold must be a number from 0 on, got -1\.0"),
        (("--false-accepts", 0), r"--false-accepts must be above 0 and up to 1, got 0\.0"),
        (("--false-accepts", 0.1, "--threshold", 0.1), "Give --false-accepts or --threshold, not both"),
        (("--false-accepts", 1e-9), "A false accept rate of 1e-09 was not measured"),
    ],
)
def test_options_out_of_range_are_refused(trained, images, options, said):
    with pytest.raises(InputError, match=said):
        command("compare", images, images, "--model", trained, *options)
