"""What people look like, as a model says it."""

import json

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import command

import reid_lightning
from reid_lightning.data.annotations import read_attributes
from reid_lightning.data.attributes import MARKET12
from reid_lightning.engine.module import CHECKPOINT_KEY
from reid_lightning.errors import InputError
from reid_lightning.experiments.factory import build_module

MARKET = ("attributes=market12",)
COLUMNS = [
    column
    for attribute in MARKET12
    for column in (
        [attribute.prefix + name for name in attribute.classes[1:]] if attribute.prefix else [attribute.name]
    )
]


def write_checkpoint(path, config):
    """Write the checkpoint of an untrained network whose annotations are coded from 1."""
    torch.manual_seed(0)
    module = build_module(config, 3, {"a/anna": 0, "a/bo": 1, "a/cy": 2})
    tasks = {task.name: task.saved() for task in module.tasks}
    if "attributes" in tasks:
        tasks["attributes"] = {"form": {"columns": COLUMNS, "first": 1, "identity_column": "id"}}
    entry = {"version": "0", "config": config, "identity_labels": module.identity_labels, "tasks": tasks}
    torch.save({"state_dict": module.state_dict(), CHECKPOINT_KEY: entry}, path)
    return path


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        coarse = np.random.default_rng(number).integers(0, 256, (6, 3, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), cv2.resize(coarse, (20, 40)))
    return folder


def test_every_attribute_is_the_most_probable_class_with_its_probability(compose, tiny, images, tmp_path):
    checkpoint = write_checkpoint(tmp_path / "model.ckpt", compose(*tiny, *MARKET))
    model = reid_lightning.load(checkpoint)
    paths = sorted(map(str, images.iterdir()))
    found = model.describe(paths)
    with torch.no_grad():
        logits = model.module(torch.stack([model.pixels(path) for path in paths])).extra["attributes"]
    for place, block in enumerate(logits.split(list(MARKET12.sizes), dim=1)):
        torch.testing.assert_close(found.confidence[:, place], block.softmax(dim=1).amax(dim=1))
        assert torch.equal(found.classes[:, place], block.argmax(dim=1))

    shown = command("describe", images, "--model", checkpoint)
    answers = [json.loads(line) for line in shown.stdout.splitlines()]
    assert [answer["image"] for answer in answers] == paths
    for row, answer in enumerate(answers):
        assert answer["traits"] == {}
        assert list(answer["attributes"]) == list(MARKET12.names)
        for place, attribute in enumerate(MARKET12):
            given = answer["attributes"][attribute.name]
            assert given["class"] == attribute.classes[found.classes[row, place]]
            assert given["confidence"] == pytest.approx(found.confidence[row, place].item(), abs=1e-4)

    output = tmp_path / "described.csv"
    command("describe", images, "--model", checkpoint, "--output", output)
    written = pd.read_csv(output)
    assert written.columns.tolist()[: 1 + len(COLUMNS)] == ["image", *COLUMNS]
    names = list(MARKET12.names)
    assert (written["hat"] - 1).tolist() == found.classes[:, names.index("hat")].tolist()
    assert f"confidence_{names[-1]}" in written
    annotations = tmp_path / "annotations.csv"
    written[["image", *COLUMNS]].rename(columns={"image": "id"}).to_csv(annotations, index=False)
    form = read_attributes(annotations, MARKET12).form
    assert (list(form.columns), form.first) == (COLUMNS, 1)
    table = command("describe", images, "--model", checkpoint, "--table").stdout
    assert all(f"{number}.png" in table for number in range(3))
    assert table.count("gender") == 3
    assert table.count("sleeve length") == 3  # as on the sheet, and not the annotations' "up"
    sheet = tmp_path / "described.png"
    assert command("describe", images, "--model", checkpoint, "--sheet", sheet).stdout == ""
    height, width, _ = cv2.imread(str(sheet)).shape
    assert width > 3 * height  # three cards side by side


def test_a_model_without_answers_is_refused(trained, images):
    with pytest.raises(InputError, match="The model predicts neither attributes nor traits"):
        command("describe", images, "--model", trained)


def test_traits_are_numbers_in_their_own_units(compose, tiny, images, tmp_path):
    config = compose(*tiny, "task=traits", "tasks.traits.traits=[height]")
    torch.manual_seed(0)
    module = build_module(config, 3, {"a/anna": 0, "a/bo": 1, "a/cy": 2})
    (task,) = [task for task in module.tasks if task.name == "traits"]
    task.facts[:, 0], task.facts[:, 1] = 170.0, 10.0
    tasks = {task.name: task.saved() for task in module.tasks}
    entry = {"version": "0", "config": config, "identity_labels": module.identity_labels, "tasks": tasks}
    checkpoint = tmp_path / "traits.ckpt"
    torch.save({"state_dict": module.state_dict(), CHECKPOINT_KEY: entry}, checkpoint)
    found = reid_lightning.load(checkpoint).describe(sorted(map(str, images.iterdir())))
    assert found.traits == ("height",)
    assert found.schema is None
    assert ((found.values > 100) & (found.values < 240)).all()
    assert found.annotations()["height"].tolist() == found.values[:, 0].tolist()
    assert found.rows()[0]["traits"]["height"] == pytest.approx(found.values[0, 0].item(), abs=1e-3)
