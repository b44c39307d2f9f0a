"""The small model that comes with the package."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import command

import reid_lightning
from reid_lightning.data.pedestrians.dataset import read_pedestrians
from reid_lightning.errors import InputError
from reid_lightning.experiments import matrix
from reid_lightning.experiments.checks import check_weights
from reid_lightning.experiments.data_sets import take_apart
from reid_lightning.experiments.feeding import feed_of_config, with_start
from reid_lightning.experiments.matrix import evaluate_all
from reid_lightning.experiments.model_places import READY

SMALL = READY / "small"


@pytest.fixture(scope="module")
def crops():
    """Two images of one person and one of another, whom no training of the model has seen."""
    rows = read_pedestrians(train_identities=24, test_identities=6)
    shown = rows[(rows["split"] == "gallery") & ~rows["distractor"]]
    first, *others = shown.groupby("person_id")["path"]
    return [*first[1].tolist()[:2], others[0][1].iloc[0]]


def test_it_is_small_and_tells_where_it_comes_from():
    assert sum(file.stat().st_size for file in SMALL.iterdir()) < 3_000_000
    assert {file.name for file in SMALL.iterdir()} == {"README.md", "config.json", "model.safetensors"}
    config = json.loads((SMALL / "config.json").read_text())
    assert "pedestrians" in str(config)
    assert "pedestrians" in (SMALL / "README.md").read_text()


def test_it_compares_describes_and_is_called_by_its_name(crops):
    model = reid_lightning.load("small")
    assert model.fingerprint == reid_lightning.load(SMALL).fingerprint
    same, other = model.compare(crops[:1], crops[1:]).probability[0]
    assert 0 <= other < same <= 1
    assert {"gender", "backpack", "upper_color"} <= set(model.describe(crops[0]).rows()[0]["attributes"])
    shown = command("compare", crops[0], crops[1], "--model", "small")
    assert "probability" in shown.stdout.lower()


def test_a_file_of_its_name_comes_first(tmp_path, monkeypatch, crops):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(SMALL, "small")
    config = json.loads((tmp_path / "small" / "config.json").read_text())
    (tmp_path / "small" / "config.json").write_text(json.dumps(config | {"format": "another"}))
    with pytest.raises(InputError, match=r"small/config\.json"):
        reid_lightning.load("small")


def test_it_is_evaluated_by_its_name_and_its_results_lie_outside_of_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = []
    monkeypatch.setattr(matrix, "evaluate_as", lambda model, folder, settings: asked.append((model, folder)))
    evaluate_all(Path("small"), ["evaluation.flip=true"])
    evaluate_all(Path("own.ckpt"), [])
    model, folder = asked[0]
    assert model == SMALL
    assert folder.parent == Path("outputs/small")
    assert asked[1] == (Path("own.ckpt"), Path("own/evaluation"))
    checkpoints, _, others = take_apart("own.ckpt", ["small", "evaluation.flip=true"])
    assert checkpoints == [Path("own.ckpt"), SMALL]
    assert others == ["evaluation.flip=true"]


def test_a_training_starts_from_it_and_is_fed_as_it_was(compose):
    config = compose("backbone=resnet10_light", "data.image_size=[96,48]", "start_from=small")
    fed = feed_of_config(config)
    stated = reid_lightning.load("small").feed
    assert [*fed.mean, *fed.std, fed.interpolation] == [
        *stated["mean"],
        *stated["std"],
        stated["interpolation"],
    ]
    check_weights(with_start(config))
    with pytest.raises(InputError, match="holds another network"):
        check_weights(with_start(compose("backbone=resnet10", "start_from=small")))


@pytest.mark.parametrize("name", ["", "..", "small/", "small/../small", "nothing", "small\n"])
def test_no_other_name_leads_into_the_package(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError):
        reid_lightning.load(name)


def test_a_gallery_is_built_and_searched_without_any_training(tmp_path, crops):
    for number, path in enumerate(crops):
        assert cv2.imwrite(str(tmp_path / f"{number}.png"), cv2.imread(path))
    command("gallery", "build", tmp_path / "gallery", tmp_path, "--model", "small")
    command("search", tmp_path / "gallery", crops[0], "--model", "small", "--output", tmp_path / "found.csv")
    found = (tmp_path / "found.csv").read_text()
    assert found.index("1.png") < found.index("2.png")
    assert np.isfinite(reid_lightning.load("small").embed(crops).numpy()).all()
