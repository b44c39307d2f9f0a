"""Loggers that never ask a question and never mix two runs."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pandas as pd

from reid_lightning.errors import InputError
from reid_lightning.files import atomic_path

if TYPE_CHECKING:
    from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger


def csv_logger(output_dir: str | Path, continued: bool = False) -> "CSVLogger":
    """Return the logger that every run has: `metrics.csv` in the run's folder.

    Args:
        output_dir: The run's folder.
        continued: Keep the rows of training that are there, which Lightning's logger would delete.
    """
    from lightning.pytorch.loggers import CSVLogger

    file = Path(output_dir) / "metrics.csv"
    rows = pd.read_csv(file) if continued and file.is_file() else None
    logger = CSVLogger(save_dir=str(output_dir), name="", version="")
    if rows is not None:
        tested = [name for name in rows.columns if name.startswith("test/")]
        rows = rows[rows[tested].isna().all(axis=1)].drop(columns=tested)
        logger.experiment.metrics_keys = list(rows.columns)  # deletes the file
        with atomic_path(file) as temporary:
            rows.to_csv(temporary, index=False)
    return logger


def wandb_logger(
    output_dir: str | Path,
    project: str,
    entity: str | None = None,
    group: str | None = None,
    name: str | None = None,
    tags: Sequence[str] = (),
    offline: bool | None = None,
) -> "WandbLogger":
    """Return a Weights & Biases logger that continues the run of its folder.

    Args:
        output_dir: The run's folder; `wandb_id` in it holds the run's identity, so that a resumed run continues.
        project: W&B project.
        entity: Team or user; None is the default of whoever is logged in.
        group: Groups runs of one comparison.
        name: Run name; None lets W&B choose.
        tags: Tags of the run.
        offline: None goes offline when nobody is logged in.
    """
    from lightning.pytorch.loggers import WandbLogger

    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    if offline is None:
        offline = not logged_in()
    identity = folder / "wandb_id"
    if not identity.is_file():
        with atomic_path(identity) as temporary:
            temporary.write_text(uuid4().hex[:8])
    return WandbLogger(
        project=project,
        entity=entity,
        group=group,
        name=name,
        tags=list(tags),
        save_dir=str(folder),
        offline=offline,
        mode="offline" if offline else "online",
        id=identity.read_text().strip(),
        resume=None if offline else "allow",
    )


def logged_in() -> bool:
    """Tell whether W&B has a key (variable or netrc), without asking or connecting."""
    if os.environ.get("WANDB_MODE") in ("offline", "disabled"):
        return False
    if os.environ.get("WANDB_API_KEY"):
        return True
    import wandb

    return bool(wandb.login(prompt=False, verify=False))


def tensorboard_logger(output_dir: str | Path) -> "TensorBoardLogger":
    """Return a TensorBoard logger that writes into the run's folder."""
    from lightning.pytorch.loggers import TensorBoardLogger

    try:
        return TensorBoardLogger(save_dir=str(output_dir), name="", version="tensorboard")
    except ModuleNotFoundError as error:
        raise InputError(
            "logger=tensorboard needs the tensorboard package; install the extra: pip install 'reid-lightning[tensorboard]'"
        ) from error


def log_images(loggers: Sequence["Logger"], images: dict[str, Path]) -> None:
    """Send finished pictures to those loggers that show pictures."""
    from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

    for logger in loggers:
        if isinstance(logger, WandbLogger):
            for key, path in images.items():
                logger.log_image(key=key, images=[str(path)])
        elif isinstance(logger, TensorBoardLogger):
            import cv2

            for key, path in images.items():
                picture = cv2.imread(str(path))
                if picture is not None:
                    logger.experiment.add_image(key, picture[..., ::-1].copy(), dataformats="HWC")


def finish(loggers: Sequence["Logger"]) -> list[str]:
    """Close what a job has opened, so that the next job of the process starts runs of its own.

    Returns:
        A sentence per offline W&B run: where its files are and how to send them.
    """
    from lightning.pytorch.loggers import WandbLogger

    sentences = []
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            import wandb

            if wandb.run is not None and wandb.run.settings.mode == "offline":
                folder = wandb.run.settings.sync_dir
                sentences.append(
                    f"W&B is offline (nobody is logged in); the run lies in {folder}: send it with `wandb sync {folder}`"
                )
            wandb.finish()
    return sentences


def abandon() -> None:
    """Close what a failed job has left open, so that the next job of the process starts runs of its own."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.finish(exit_code=1)
