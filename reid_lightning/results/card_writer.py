"""The model card beside the checkpoints of a run: from the first checkpoint on, and with the test's numbers at the end."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from reid_lightning.data.datamodule import ReIDDataModule
from reid_lightning.engine.module import ReIDModule
from reid_lightning.files import atomic_path
from reid_lightning.models.network import ReIDNetwork
from reid_lightning.results.card_facts import CardFacts, counts, feed_of, of_hydra, versions, write_facts
from reid_lightning.results.model_card import card_text
from reid_lightning.results.run_result import reports_of
from reid_lightning.results.summary import RunResult
from reid_lightning.systems.task import Report

log = logging.getLogger("reid_lightning")

CARD = "README.md"


class CardWriter(Callback):
    """Writes the card whenever the best checkpoint, or the only one, is replaced.

    Args:
        folder: Where the checkpoints lie.
        config: Of the run, plain containers.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self.folder, self.config = folder, config
        self._written: tuple[str, float] | None = None  # the checkpoint that the card is of

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Write the card with the numbers of the validation that the checkpoint holds."""
        module: Any = pl_module
        replaced = _replaced(trainer)
        if replaced in (None, self._written) or not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        self._written = replaced
        interval = module.validation_interval
        parameters = sum(parameter.numel() for parameter in module.network.parameters())
        write_card(
            CardFacts(
                checkpoint=replaced[0],
                validation=dict(module.validation_summary),
                intervals={"validation": list(interval)} if interval else {},
                cost={"parameters": parameters},
            ),
            self.folder,
            self.config,
            module.network,
            trainer.datamodule,  # type: ignore[attr-defined]
        )


def _replaced(trainer: Trainer) -> tuple[str, float] | None:
    """Return name and score of the checkpoint to describe if it is being replaced, None where another is.

    The best one is described where there is one: the file with the highest number so far was written last.
    """
    savers = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]
    for saver in savers:
        if saver.monitor and saver.best_model_score is not None:
            best = float(saver.best_model_score)
            is_best = saver.current_score is not None and float(saver.current_score) == best
            return (Path(saver.best_model_path).name, best) if is_best else None
    return ("last.ckpt", float(trainer.current_epoch)) if savers else None


def write_final_card(
    result: RunResult,
    checkpoint: Path,
    config: Mapping[str, Any],
    module: ReIDModule,
    datamodule: ReIDDataModule,
) -> None:
    """Write the card of a run that has ended.

    Args:
        result: Its numbers.
        checkpoint: What was tested.
        config: Of the run.
        module: As tested.
        datamodule: After its setup.
    """
    reports: list[Report] = [*module.tasks, *reports_of(config)]
    said = (report.line(result.reports.get(report.name, {})) for report in reports)
    facts = CardFacts(
        checkpoint=checkpoint.name,
        finished=True,
        protocol=result.protocol,
        validation=dict(result.validation),
        test=dict(result.test),
        intervals={stage: list(pair) for stage, pair in result.intervals.items()},
        reports=result.reports,
        lines=[line for line in (*([f"test: {result.note}"] if result.note else []), *said) if line],
        cost=result.cost,
    )
    write_card(facts, checkpoint.parent, config, module.network, datamodule)


def write_card(
    facts: CardFacts,
    folder: Path,
    config: Mapping[str, Any],
    network: ReIDNetwork,
    datamodule: ReIDDataModule,
) -> None:
    """Write the card and its facts beside a checkpoint, completed with what every card says.

    Whatever goes wrong is a warning: no training is worth less than its description.
    """
    try:
        command, choices = of_hydra(Path(config["output_dir"]))
        known = {
            "command": command,
            "choices": choices,
            "data": counts(datamodule.table),
            "versions": versions(),
        }
        facts = CardFacts(**facts.as_dict() | known)
        text = card_text(facts, config, feed_of(network), facts.checkpoint)
        write_facts(facts, folder)
        with atomic_path(folder / CARD) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except Exception as error:
        log.warning(
            "the model card %s was not written (%s: %s); the training is not affected",
            folder / CARD,
            type(error).__name__,
            error,
        )
