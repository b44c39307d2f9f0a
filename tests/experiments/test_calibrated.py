"""What a run learns of its distances from its validation people, and where it holds."""

import json

import numpy as np
import pytest
import torch

import reid_lightning
from reid_lightning.engine.module import CHECKPOINT_KEY
from reid_lightning.errors import InputError
from reid_lightning.experiments.checkpoint import load_module
from reid_lightning.experiments.factory import build_datamodule
from reid_lightning.retrieval.calibration import Calibration
from reid_lightning.retrieval.matches import Side


def test_the_checkpoint_says_what_its_distances_mean_on_the_validation_people(trained):
    model = reid_lightning.load(trained)
    found = model.calibration
    assert found.people == 14
    config = torch.load(trained, weights_only=True)[CHECKPOINT_KEY]["config"]
    datamodule = build_datamodule(config)
    datamodule.setup("fit")
    batches = list(datamodule.val_dataloader())
    sides = []
    for wanted in (True, False):
        kept = [batch["is_query"] == wanted for batch in batches]
        with torch.no_grad():
            vectors = [
                model.module.embed(batch["images"])[rows].float()
                for batch, rows in zip(batches, kept, strict=True)
            ]
        columns = [
            torch.cat([batch[name][rows] for batch, rows in zip(batches, kept, strict=True)])
            for name in ("person_ids", "camera_ids")
        ]
        sides.append(Side(torch.cat(vectors), *columns))
    expected = Calibration.fit(*sides)
    assert (found.same_pairs, found.different_pairs) == (expected.same_pairs, expected.different_pairs)
    asked = np.linspace(0, 1, 20)
    np.testing.assert_allclose(
        found.logistic.probability(asked), expected.logistic.probability(asked), atol=1e-3
    )
    np.testing.assert_allclose(found.thresholds, expected.thresholds, atol=1e-4)
    assert model.info["calibration"]["people"] == 14
    json.dumps(model.info["calibration"], allow_nan=False)


def test_it_travels_with_a_saved_model(trained, tmp_path):
    model = reid_lightning.load(trained)
    saved = reid_lightning.load(model.save_pretrained(tmp_path / "saved"))
    assert saved.calibration.as_dict() == model.calibration.as_dict()
    other = reid_lightning.load(trained, overrides=["evaluation.flip=true"])
    again = reid_lightning.load(other.save_pretrained(tmp_path / "flipped"))
    assert again.calibration is None


@pytest.mark.parametrize(
    ("override", "holds"),
    [
        ("evaluation.flip=true", False),
        ("evaluation.feature=before_neck", False),
        ("evaluation.distance=euclidean", False),
        ("evaluation.camera_policy=allow", True),
        ("evaluation.ranks=[1]", True),
    ],
)
def test_it_holds_only_for_vectors_that_are_taken_alike(trained, override, holds):
    module, _ = load_module(trained, [override])
    assert (module.calibration is not None) == holds


def test_a_damaged_one_is_refused_and_an_older_checkpoint_has_none(trained, tmp_path):
    content = torch.load(trained, weights_only=True)
    entry = content[CHECKPOINT_KEY]
    entry["calibration"]["thresholds"] = ["wide"]
    torch.save(content, tmp_path / "damaged.ckpt")
    with pytest.raises(
        InputError, match=r"damaged.ckpt cannot be used as a checkpoint: its calibration must be"
    ):
        load_module(tmp_path / "damaged.ckpt")
    del entry["calibration"]
    torch.save(content, tmp_path / "older.ckpt")
    assert load_module(tmp_path / "older.ckpt")[0].calibration is None
