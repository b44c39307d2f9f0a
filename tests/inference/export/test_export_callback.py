"""A run that exports its model at its end."""

import logging

import pytest
import torch
from helpers import command

import reid_lightning
from reid_lightning.config.resolve import instantiate
from reid_lightning.errors import InputError
from reid_lightning.experiments.run import run_job
from reid_lightning.inference.export import callback as room


@pytest.mark.slow
def test_the_tested_checkpoint_is_exported_beside_it(compose, brief, tmp_path):
    config = compose(*brief, "callbacks=export", "attributes=market12", "trainer.max_epochs=1")
    run_job(config)
    checkpoints = tmp_path / "run" / "checkpoints"
    ours, theirs = (reid_lightning.load(checkpoints / name) for name in ("best.ckpt", "best.onnx"))
    images = torch.randint(0, 256, (3, 3, *ours.image_size), dtype=torch.uint8)
    assert torch.allclose(ours.embed(images), theirs.embed(images), atol=1e-5)
    assert theirs.schema is not None
    assert (checkpoints / "best.onnx.json").is_file()


def test_settings_are_checked_before_the_training(monkeypatch):
    node = {"_target_": "reid_lightning.inference.export.callback.Export"}
    for name, said in (
        ("format", "format must be one of onnx, openvino"),
        ("preprocess", "preprocess must be one of"),
    ):
        with pytest.raises(InputError, match=rf"callbacks\.export\.{said}"):
            instantiate({**node, name: "other"}, "callbacks.export")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install onnx onnxscript"):
        room.Export()


def test_a_file_that_is_off_does_not_end_the_run(monkeypatch, export_checkpoint, caplog):
    def off(*given, **settings):
        raise InputError("the exported vectors are not those of the model")

    monkeypatch.setattr(room, "export", off)
    monkeypatch.setattr(room, "_tested", lambda trainer: export_checkpoint)
    with caplog.at_level(logging.WARNING):
        room.Export().on_test_end(None, None)
    assert "nothing was exported: the exported vectors are not those of the model" in caplog.text


def test_the_choice_is_listed():
    assert "export" in command("list", "callbacks").stdout
