"""Weights & Biases: runs that never ask a question, are never mixed, and keep what a run stands for."""

import logging
import os
import re
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from reid_lightning.config.choices import chosen_options, chosen_words
from reid_lightning.engine.loggers.outcome import Outcome, flat, log_earlier, record
from reid_lightning.files import atomic_path, read_own
from reid_lightning.reporting.tables import Curve, Image, Table
from reid_lightning.reporting.thumbnails import read_thumbnail

log = logging.getLogger("reid_lightning")

LONGEST_NAME = 128  # characters of a name or group that W&B takes


class RecordingWandbLogger(WandbLogger):
    """Keeps what a run stands for: its choices and settings, and in its summary the best validation and the result.

    Args:
        artifact: Whether the checkpoint that was tested and its card become an artifact at the end.
        settings: As of `WandbLogger`.
    """

    def __init__(self, *, artifact: bool = False, **settings: Any) -> None:
        super().__init__(**settings)
        self.artifact = artifact

    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        """Write the config under `settings`, and the names of the options under `choices`, to group and filter by.

        Neither collides with the keys of a W&B sweep, which W&B locks: `loss` may be a word of the sweep.
        """
        config = dict(vars(params)) if isinstance(params, Namespace) else dict(params)
        super().log_hyperparams({"choices": chosen_options(config), "settings": config})
        if not self._offline and (url := getattr(self.experiment, "url", None)):
            log.info("W&B: %s", url)
        if self.experiment is not None and hasattr(self.experiment, "define_metric"):
            for curves in ("val/*", "test/*"):
                self.experiment.define_metric(curves, step_metric="epoch")

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
    artifact: bool = False,
) -> WandbLogger:
    """Return a Weights & Biases logger that continues the run of its folder.

    Args:
        output_dir: The run's folder; `wandb_id` in it holds the run's identity, so that a resumed run continues.
        project: W&B project.
        entity: Team or user; None is the default of the logged-in user.
        group: Groups runs of one comparison; None is the sweep that the run belongs to.
        name: Run name; None is what was chosen on the command line, in a sweep what it varies ("lossless resnet18 seed=2");
            W&B's own where nothing was.
        tags: Tags of the run.
        offline: None goes offline when nobody is logged in.
        artifact: Whether the checkpoint that was tested becomes an artifact, with its card.
    """
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    if offline is None:
        offline = not logged_in()
    identity = folder / "wandb_id"
    if (known := _identity(identity)) is None:
        known = _named_by_agent() or uuid4().hex[:8]
        with atomic_path(identity) as temporary:
            temporary.write_text(known)
    sweep = sweep_name()
    logger = RecordingWandbLogger(
        artifact=artifact,
        project=project,
        entity=entity,
        group=group or sweep,
        name=name
        or " ".join(chosen_words())[:LONGEST_NAME]
        or (folder.name[:LONGEST_NAME] if sweep else None),
        tags=list(tags),
        save_dir=str(folder),
        offline=offline,
        mode="offline" if offline else "online",
        id=known,
        resume=None if offline else "allow",
        **_quiet(),
    )
    logger._wandb_init.pop("anonymous", None)  # Lightning passes it on, and W&B warns of it
    return logger


def _identity(file: Path) -> str | None:
    """Return the identity in a run's folder; None if there is none that W&B takes, such as in an empty file."""
    try:
        text = read_own(file, 1000).decode("ascii").strip()
    except (OSError, ValueError):
        return None
    return text if re.fullmatch(r"[\w.-]{1,128}", text) else None


def _quiet() -> dict[str, Any]:
    """Return the settings with which W&B writes none of its thirty lines; `WANDB_SILENT=false` lets it."""
    if "WANDB_SILENT" in os.environ:
        return {}
    import wandb

    return {"settings": wandb.Settings(silent=True)}


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


@log_earlier.register(WandbLogger)
@rank_zero_only
def _(logger: WandbLogger, rows: Sequence[tuple[int, Mapping[str, float]]]) -> None:
    """Log the curves again, unless W&B's server has found the run.

    W&B continues no run offline: its steps begin at 0 again, and sending the new files replaces what the earlier ones
    brought.
    """
    if not logger.experiment.resumed:
        for step, values in rows:
            logger.log_metrics(values, step)


@record.register(WandbLogger)
def _(logger: WandbLogger, outcome: Outcome) -> None:
    logger.experiment.summary.update({**dict(flat(outcome.numbers)), **outcome.notes})
    for name, path in outcome.pictures.items():
        if name not in outcome.curves:  # which are charts
            logger.log_image(key=name, images=[str(path)])
    shown = {name: _table(table) for name, table in outcome.tables.items()}
    shown |= {name: _curve(curve) for name, curve in outcome.curves.items()}
    if shown:
        logger.experiment.log(shown)
    if outcome.model is not None:
        # The callback writes it when it saves one, which may have been before the run was continued.
        logger.experiment.summary[f"{outcome.model.stem}_checkpoint"] = str(outcome.model)
        if getattr(logger, "artifact", False):
            _keep_model(logger, outcome.model)


def _table(table: Table) -> Any:
    import wandb

    rows: list[Any] = [
        [_image(cell) if isinstance(cell, Image) else cell for cell in row] for row in table.rows
    ]
    return wandb.Table(columns=list(table.columns), data=rows, allow_mixed_types=True)


def _image(image: Image) -> Any:
    """Return a small JPEG: W&B would write a PNG of ten times the size."""
    import wandb

    return wandb.Image(read_thumbnail(image.path), caption=image.caption or None, file_type="jpg")


def _curve(curve: Curve) -> Any:
    """Return a native chart, in which W&B lays the curves of all runs over each other."""
    import wandb

    table = wandb.Table(columns=[curve.x, curve.y], data=[list(point) for point in curve.points])
    return wandb.plot.line(table, curve.x, curve.y, title=curve.title)


def _keep_model(logger: WandbLogger, checkpoint: Path) -> None:
    """Log a checkpoint and its card as an artifact of the type "model", with the aliases "best" and the run's name."""
    import wandb

    run = logger.experiment
    artifact = wandb.Artifact(
        f"model-{run.id}", type="model", metadata={"name": run.name, "file": checkpoint.name}
    )
    for file in (checkpoint, checkpoint.parent / "README.md", checkpoint.parent / "card.json"):
        if file.is_file():
            artifact.add_file(str(file), name=file.name)
    alias = re.sub(r"[^\w.,=+-]+", "_", run.name or run.id)  # W&B refuses slashes and colons
    run.log_artifact(artifact, aliases=list(dict.fromkeys(["best", alias])))
