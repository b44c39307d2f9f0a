"""A model calibrated on labeled images: which pairs count, what is saved, and what is refused."""

import itertools

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import command

import reid_lightning
from reid_lightning.distances import pairwise_distances
from reid_lightning.errors import InputError
from reid_lightning.inference.calibrate import calibration_of_images
from reid_lightning.retrieval.protocol import EvaluationProtocol

PEOPLE, IMAGES = 12, 4


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """A folder of folders of smooth noise, each person's images alike."""
    folder = tmp_path_factory.mktemp("people")
    draw = np.random.default_rng(0)
    for person in range(PEOPLE):
        coarse = draw.integers(0, 256, (6, 3, 3))
        (folder / f"p{person}").mkdir()
        for number in range(IMAGES):
            image = np.clip(coarse + draw.normal(0, 40, coarse.shape), 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / f"p{person}" / f"{number}.png"), cv2.resize(image, (20, 40)))
    return folder


@pytest.fixture
def uncalibrated(trained):
    model = reid_lightning.load(trained, overrides=["evaluation.flip=true"])
    assert model.calibration is None
    return trained


def test_the_saved_model_says_what_its_distances_mean(uncalibrated, people, tmp_path):
    shown = command("calibrate", uncalibrated, people, tmp_path / "model", "evaluation.flip=true")
    model = reid_lightning.load(tmp_path / "model")
    assert model.protocol.flip
    same = PEOPLE * IMAGES * (IMAGES - 1)
    different = PEOPLE * (PEOPLE - 1) * IMAGES * IMAGES
    assert (model.calibration.same_pairs, model.calibration.different_pairs) == (same, different)
    assert model.calibration.people == PEOPLE
    said = " ".join(shown.stderr.split())
    assert f"{same:,} pairs of one person and {different:,} of two, of {PEOPLE} people" in said
    images = sorted(people.rglob("*.png"))
    found = model.compare(images[0], images[1])
    assert found.probability > model.compare(images[0], images[-1]).probability
    command("compare", images[0], images[1], "--model", tmp_path / "model", "--false-accepts", "0.1")


@pytest.mark.parametrize("policy", ["exclude_same_camera", "allow"])
def test_pairs_are_those_that_the_protocol_compares(policy):
    draw = np.random.default_rng(1)
    table = pd.DataFrame(
        {
            "person_id": np.repeat([f"p{n}" for n in range(9)], 5),
            "camera_id": draw.choice(["c1", "c2", None], 45),
        }
    )
    vectors = torch.from_numpy(draw.normal(size=(45, 8))).float()
    found = calibration_of_images(vectors, table, EvaluationProtocol(camera_policy=policy))
    same, different = [], []
    far = pairwise_distances(vectors.double(), vectors.double(), "cosine").numpy()
    for one, other in itertools.permutations(range(45), 2):
        if table["person_id"][one] != table["person_id"][other]:
            different.append(far[one, other])
        elif policy == "allow" or (
            table["camera_id"][one] != table["camera_id"][other] or table["camera_id"][one] is None
        ):
            same.append(far[one, other])
    assert (found.same_pairs, found.different_pairs) == (len(same), len(different))
    assert np.mean(np.array(different) <= found.threshold(0.1)) == pytest.approx(0.1, abs=2e-3)
    assert found.true_accepts[found.rates.index(0.1)] == pytest.approx(
        np.mean(np.array(same) <= found.threshold(0.1)), abs=1e-3
    )


def test_what_cannot_be_calibrated_is_refused(trained, people, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    for person in range(2):
        (few / f"p{person}").symlink_to(people / f"p{person}")
    nobody, alone = tmp_path / "nobody.csv", tmp_path / "alone.csv"
    pair = [image for person in range(2) for image in sorted((people / f"p{person}").iterdir())[:2]]
    pd.DataFrame({"path": pair, "person_id": ["a", "a", "b", "b"]}).to_csv(alone, index=False)
    pd.DataFrame({"path": sorted(map(str, people.rglob("*.png")))}).to_csv(nobody, index=False)
    for arguments, said in (
        ((nobody, tmp_path / "out"), "does not say whom its images show"),
        ((few / "p0", tmp_path / "out"), "is not in a person's folder"),
        ((people, tmp_path / "out", "data.image_size=[8,8]"), "would not be saved"),
        ((people, tmp_path / "out", "--override", "data.image_size=[8,8]"), "would not be saved"),
        ((people, tmp_path / "out", "evaluation.tracklets=pool"), "tracklets"),
        ((alone, tmp_path / "new" / "out"), "too few pairs"),
    ):
        with pytest.raises(InputError, match=said):
            command("calibrate", trained, *arguments)
        assert not (tmp_path / "out").exists()
        assert not (tmp_path / "new").exists()
    with pytest.raises(InputError, match="too few pairs"):
        calibration_of_images(
            torch.eye(4), pd.DataFrame({"person_id": ["a", "a", "b", "b"]}), EvaluationProtocol()
        )


def test_people_called_like_those_of_the_training_are_named(trained, people, tmp_path):
    name = next(iter(reid_lightning.load(trained).identity_labels)).rpartition("/")[2]
    images = sorted(people.rglob("*.png"))
    table = pd.DataFrame({"path": images, "person_id": [path.parent.name for path in images]})
    table.loc[table["person_id"] == "p0", "person_id"] = name
    table.loc[0, "person_id"] = ""
    file = tmp_path / "people.csv"
    table.to_csv(file, index=False)
    said = " ".join(command("calibrate", trained, file, tmp_path / "model").stderr.split())
    assert f"1 of {PEOPLE} people are called like people of the training ({name})" in said
    assert "1 images without a person are left out" in said


def test_a_saved_model_is_replaced_only_where_it_is_asked_for(trained, people, tmp_path):
    folder = tmp_path / "model"
    command("save", trained, folder)
    before = (folder / "config.json").read_bytes()
    for line in (("save", trained, folder), ("calibrate", folder, people, folder)):
        with pytest.raises(InputError, match=r"config\.json and README\.md already.*--overwrite"):
            command(*line)
        assert (folder / "config.json").read_bytes() == before
    command("calibrate", folder, people, folder, "--overwrite")
    assert reid_lightning.load(folder).calibration.people == PEOPLE
    command("save", trained, folder, "--overwrite", "--license", "mit")
    assert (folder / "config.json").read_bytes() == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("mine")
    with pytest.raises(
        InputError, match=r"holds README\.md already: choose another folder, or replace it with --overwrite"
    ):
        command("save", trained, tmp_path / "mine")
    with pytest.raises(InputError, match="there is no checkpoint"):
        command("save", tmp_path / "nothing.ckpt", tmp_path / "new" / "folder")
    assert not (tmp_path / "new").exists()


def test_an_evaluation_that_cannot_begin_leaves_no_folder(trained, tmp_path):
    with pytest.raises(InputError, match="did you mean"):
        command("evaluate", trained, "data=markt", "--output", tmp_path / "new" / "results")
    assert not (tmp_path / "new").exists()
