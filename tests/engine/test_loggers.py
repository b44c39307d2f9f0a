import re

import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import OmegaConf

from reid_lightning.engine.loggers import abandon, finish, logged_in, sweep_name, wandb_logger


@pytest.fixture(autouse=True)
def _nobody_is_logged_in(monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / "netrc"))
    monkeypatch.setenv("WANDB_SILENT", "true")


def test_without_a_login_a_run_is_offline_and_says_where(tmp_path):
    assert not logged_in()
    logger = wandb_logger(tmp_path / "run", project="test")
    logger.log_metrics({"val/mAP": 0.5}, step=1)
    (sentence,) = finish([logger])
    assert str(tmp_path / "run") in sentence
    assert "wandb sync" in sentence


def test_a_resumed_run_keeps_its_identity_and_two_jobs_have_two(tmp_path):
    first = wandb_logger(tmp_path / "a", project="test")
    identity = first.experiment.id
    finish([first])
    second = wandb_logger(tmp_path / "b", project="test")
    assert second.experiment.id != identity
    finish([second])
    again = wandb_logger(tmp_path / "a", project="test")
    assert again.experiment.id == identity
    finish([again])


def test_a_failed_job_leaves_no_run_open_for_the_next(tmp_path):
    first = wandb_logger(tmp_path / "a", project="test")
    identity = first.experiment.id
    abandon()
    second = wandb_logger(tmp_path / "b", project="test")
    assert second.experiment.id != identity
    finish([second])
    abandon()  # nothing is open


def test_a_run_of_an_agent_keeps_the_name_that_the_agent_gave_it(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_RUN_ID", "fromagent")
    assert identity_of(tmp_path / "alone") != "fromagent"  # set for something else
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    assert identity_of(tmp_path / "run") == "fromagent"
    assert sweep_name() == "sweep1"


@pytest.mark.parametrize("text", ["", "\n", "a/b", "../x", "\x1b[2J", "x" * 2000, "a:b"])
def test_a_damaged_identity_is_replaced(tmp_path, text):
    (tmp_path / "wandb_id").write_text(text)
    assert re.fullmatch("[0-9a-f]{8}", identity_of(tmp_path))


def identity_of(folder):
    wandb_logger(folder, project="test")
    return (folder / "wandb_id").read_text()


def test_a_job_of_a_sweep_is_grouped_by_its_sweep_and_named_by_what_it_varies(tmp_path, monkeypatch):
    settings = {
        "mode": RunMode.MULTIRUN,
        "sweep": {"dir": "multirun/loss,seed-1a2b"},
        "overrides": {
            "task": [
                "seed=2",
                "loss=[triplet,center]",
                "backbone=resnet18",
                "optimizer.lr=0.01",
                "data.root=/a",
            ]
        },
        "job": {"config": {"override_dirname": {"exclude_keys": ["backbone"]}}},
        "runtime": {"choices": {}},
    }
    monkeypatch.setattr(HydraConfig, "initialized", lambda: True)
    monkeypatch.setattr(HydraConfig, "get", lambda: OmegaConf.create(settings))
    logger = wandb_logger(tmp_path / "job", project="test")
    assert (logger.experiment.group, logger.experiment.name) == (
        "loss,seed-1a2b",
        "triplet,center lr=0.01 seed=2",
    )
    finish([logger])
    settings["overrides"]["task"] = []
    logger = wandb_logger(tmp_path / "plain", project="test")
    assert logger.experiment.name == "plain"
    finish([logger])
    settings["mode"] = RunMode.RUN
    assert sweep_name() is None
    settings["overrides"]["task"] = ["backbone=resnet18", "logger=wandb", "data.num_workers=0", "~callbacks"]
    logger = wandb_logger(tmp_path / "alone", project="test")
    assert logger.experiment.name == "resnet18"
    finish([logger])


def test_the_summary_holds_the_best_value_and_where_the_checkpoints_lie(tmp_path):
    logger = wandb_logger(tmp_path / "run", project="test")
    best, last = ModelCheckpoint(monitor="val/mAP", mode="max"), ModelCheckpoint()
    best.best_model_path, best.best_model_score = "best.ckpt", torch.tensor(0.5)
    last.best_model_path = "last.ckpt"
    for callback in (best, last):
        logger.after_save_checkpoint(callback)
    summary = dict(logger.experiment.summary)
    assert summary == {"best/val/mAP": 0.5, "best_checkpoint": "best.ckpt", "last_checkpoint": "last.ckpt"}
    finish([logger])
