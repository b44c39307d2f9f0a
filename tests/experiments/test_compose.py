"""A run from Python is the run of the command line."""

import pytest

import reid_lightning
from reid_lightning.errors import InputError
from reid_lightning.experiments.compose import compose as composed


def test_overrides_make_the_config_of_the_command_line(compose, tmp_path):
    overrides = ("backbone=resnet18", "optimizer.lr=0.01")
    assert composed(overrides, tmp_path / "run") == compose(*overrides)
    folder = tmp_path / "it's, a run"
    assert composed(overrides, folder)["output_dir"] == str(folder)


@pytest.mark.parametrize("wrong", ["backbone=resnet19", "optimizr.lr=1", "loss=[triplet"])
def test_an_override_that_cannot_be_used_is_an_input_error(wrong, tmp_path):
    with pytest.raises(InputError):
        composed([wrong], tmp_path)


def test_a_value_that_is_missing_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"data\.root is not set"):
        composed(["data=market1501"], tmp_path)


@pytest.mark.slow
def test_a_run_lands_in_a_folder_named_after_the_time(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = reid_lightning.run(*tiny, "trainer.max_epochs=1")
    (metrics,) = tmp_path.glob("outputs/????-??-??/??-??-??/metrics.json")
    assert result is not None
    assert 0 < result.test["mAP"] <= 1
    module, config = reid_lightning.load_module(metrics.parent / "checkpoints" / "best.ckpt")
    assert config["output_dir"] == str(metrics.parent)
    assert not module.training
