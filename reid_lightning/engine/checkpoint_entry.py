"""The entry of ours in a checkpoint: where it stands, and what of it needs no training to be read."""

from collections.abc import Mapping
from typing import Any

from reid_lightning.retrieval.calibration import Calibration

TRAINING_KEY = "reid_lightning_training"  # what tasks need to continue a training
CHECKPOINT_KEY = "reid_lightning"


def trained_epochs(checkpoint: Mapping[str, Any]) -> int:
    """Return after how many epochs a checkpoint was written; 0 for that of the start.

    Examples:
        >>> trained_epochs({"epoch": 2, "global_step": 60}), trained_epochs({"epoch": 0, "global_step": 0})
        (3, 0)
    """
    return int(checkpoint["epoch"]) + 1 if checkpoint.get("global_step") != 0 else 0


def calibration_of(entry: Mapping[str, Any]) -> Calibration | None:
    """Return the calibration of a checkpoint's entry of ours; None where it has none.

    Raises:
        InputError: It is damaged.
    """
    content = entry.get("calibration")
    return None if content is None else Calibration.from_dict(content)
