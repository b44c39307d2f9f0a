"""Loggers: what a run gives them at its end (`record`), and those that a config names."""

from reid_lightning.engine.loggers.others import beside_the_file
from reid_lightning.engine.loggers.outcome import Outcome, log_earlier, record, record_all
from reid_lightning.engine.loggers.tensorboard import tensorboard_logger
from reid_lightning.engine.loggers.wandb_runs import (
    LONGEST_NAME,
    RecordingWandbLogger,
    abandon,
    finish,
    logged_in,
    sweep_name,
    wandb_logger,
)

__all__ = [
    "LONGEST_NAME",
    "Outcome",
    "RecordingWandbLogger",
    "abandon",
    "beside_the_file",
    "finish",
    "log_earlier",
    "logged_in",
    "record",
    "record_all",
    "sweep_name",
    "tensorboard_logger",
    "wandb_logger",
]
