"""A run that ends with an exported model."""

import logging
from pathlib import Path

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_only

from reid_lightning.errors import InputError
from reid_lightning.inference.export.artifacts import require
from reid_lightning.inference.export.export import ENDINGS, PACKAGES, export
from reid_lightning.inference.load import load
from reid_lightning.runtime.facts import PREPROCESS

log = logging.getLogger("reid_lightning")


class Export(Callback):
    """Exports the checkpoint that was tested, beside it, when the test is over.

    The file is compared with the model on generated people; one that is off is not written, and the run continues. A run
    without a test exports nothing: `reid export` does.

    Args:
        format: "onnx", "openvino" or "torch_export".
        preprocess: "inside" or "outside".
        attributes: Whether attributes and traits are outputs, where the model answers any.

    Raises:
        ValueError: A value is not one of these.
        InputError: A package that writes the format is not installed.
    """

    def __init__(self, format: str = "onnx", preprocess: str = "inside", attributes: bool = True) -> None:
        if format not in ENDINGS:
            raise ValueError(f"format must be one of {', '.join(ENDINGS)}, got {format}")
        if preprocess not in PREPROCESS:
            raise ValueError(f"preprocess must be one of {', '.join(PREPROCESS)}, got {preprocess}")
        require(*PACKAGES[format])
        self.format, self.preprocess, self.attributes = format, preprocess, attributes

    @rank_zero_only
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Export the checkpoint whose weights were tested."""
        checkpoint = _tested(trainer)
        if checkpoint is None:
            return
        output = checkpoint.with_suffix(ENDINGS[self.format][0])
        try:
            model = load(checkpoint, device="cpu")
            answers = self.attributes and (model.schema is not None or bool(model.engine.traits))
            export(checkpoint, output, self.format, preprocess=self.preprocess, attributes=answers)
        except InputError as error:  # the training is not lost for that
            log.warning("nothing was exported: %s", error)


def _tested(trainer: Trainer) -> Path | None:
    """Return the best checkpoint, or the last where nothing chose one; None if there is none."""
    saving = [one for one in trainer.checkpoint_callbacks if isinstance(one, ModelCheckpoint)]
    paths = [one.best_model_path for one in sorted(saving, key=lambda one: one.monitor is None)]
    return next((Path(path) for path in paths if path and Path(path).is_file()), None)
