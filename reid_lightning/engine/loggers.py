"""Loggers that never ask a question and never mix two runs."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

from reid_lightning.errors import InputError
from reid_lightning.files import atomic_path

LONGEST_NAME = 128  # characters of a name or group that W&B takes


class RecordingWandbLogger(WandbLogger):
    """Keeps in a run's summary what it stands for: the best value of what chooses the checkpoint, and where that lies."""

    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        """Write `best/val/mAP` and `best_checkpoint`, or `last_checkpoint`, whenever one has been saved."""
        super().after_save_checkpoint(checkpoint_callback)
        monitor, score = checkpoint_callback.monitor, checkpoint_callback.best_model_score
        kind = "last" if monitor is None else "best"
        self.experiment.summary[f"{kind}_checkpoint"] = checkpoint_callback.best_model_path
        if monitor is not None and score is not None:
            self.experiment.summary[f"best/{monitor}"] = float(score)


def wandb_logger(
    output_dir: str | Path,
    project: str,
    entity: str | None = None,
    group: str | None = None,
    name: str | None = None,
    tags: Sequence[str] = (),
    offline: bool | None = None,
) -> WandbLogger:
    """Return a Weights & Biases logger that continues the run of its folder.

    Args:
        output_dir: The run's folder; `wandb_id` in it holds the run's identity, so that a resumed run continues.
        project: W&B project.
        entity: Team or user; None is the default of whoever is logged in.
        group: Groups runs of one comparison; None is the sweep that the run belongs to.
        name: Run name; None is the job's folder in a sweep, otherwise W&B chooses.
        tags: Tags of the run.
        offline: None goes offline when nobody is logged in.
    """
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    if offline is None:
        offline = not logged_in()
    identity = folder / "wandb_id"
    if not identity.is_file():
        with atomic_path(identity) as temporary:
            temporary.write_text(_named_by_agent() or uuid4().hex[:8])
    sweep = sweep_name()
    return RecordingWandbLogger(
        project=project,
        entity=entity,
        group=group or sweep,
        name=name or (folder.name[:LONGEST_NAME] if sweep else None),
        tags=list(tags),
        save_dir=str(folder),
        offline=offline,
        mode="offline" if offline else "online",
        id=identity.read_text().strip(),
        resume=None if offline else "allow",
    )


def sweep_name() -> str | None:
    """Return the sweep that this run belongs to: that of a W&B agent, or the folder of a `--multirun`; None outside."""
    of_agent = os.environ.get("WANDB_SWEEP_ID")
    if of_agent or not HydraConfig.initialized() or HydraConfig.get().mode is not RunMode.MULTIRUN:
        return of_agent
    return Path(HydraConfig.get().sweep.dir).name[:LONGEST_NAME]


def _named_by_agent() -> str | None:
    """Return the identity that a W&B agent has given this run."""
    return os.environ.get("WANDB_RUN_ID") if os.environ.get("WANDB_SWEEP_ID") else None


def logged_in() -> bool:
    """Tell whether W&B has a key (variable or netrc), without asking or connecting."""
    if os.environ.get("WANDB_MODE") in ("offline", "disabled"):
        return False
    if os.environ.get("WANDB_API_KEY"):
        return True
    import wandb

    return bool(wandb.login(prompt=False, verify=False))


def tensorboard_logger(output_dir: str | Path) -> TensorBoardLogger:
    """Return a TensorBoard logger that writes into the run's folder."""
    try:
        return TensorBoardLogger(save_dir=str(output_dir), name="", version="tensorboard")
    except ModuleNotFoundError as error:
        raise InputError(
            "logger=tensorboard needs the tensorboard package; install the extra: pip install 'reid-lightning[tensorboard]'"
        ) from error


def log_images(loggers: Sequence[Logger], images: dict[str, Path]) -> None:
    """Send finished pictures to those loggers that show pictures."""
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


def finish(loggers: Sequence[Logger]) -> list[str]:
    """Close what a job has opened, so that the next job of the process starts runs of its own.

    Returns:
        A sentence per offline W&B run: where its files are and how to send them.
    """
    sentences = []
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            import wandb

            if wandb.run is not None and wandb.run.settings.mode == "offline":
                folder = wandb.run.settings.sync_dir
                sentences.append(
                    f"W&B is offline; the run lies in {folder}: send it with `wandb sync {folder}`"
                )
            wandb.finish()
    return sentences


def abandon() -> None:
    """Close what a failed job has left open, so that the next job of the process starts runs of its own."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.finish(exit_code=1)
