"""The entry of ours in a checkpoint: where it stands, and what of it needs no training to be read."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from reid_lightning.errors import InputError
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


def require_weights_of(checkpoint: Mapping[str, Any], own: Mapping[str, Tensor]) -> None:
    """Refuse to resume from a checkpoint whose weights are not those of this run.

    Args:
        checkpoint: Its content.
        own: The state of the run's module.

    Raises:
        InputError: A weight is missing or has another shape.
    """
    state = checkpoint["state_dict"]
    wrong = sorted(own.keys() ^ state.keys()) or [key for key in own if own[key].shape != state[key].shape]
    if wrong:
        raise InputError(
            f"the weights of the checkpoint are not those of this run: {wrong[0]} is missing or has another shape; use "
            "a checkpoint of the same network and losses"
        )


def require_identities_of(checkpoint: Mapping[str, Any], own: Mapping[str, int]) -> None:
    """Refuse to resume from a checkpoint that was trained on other identities.

    Args:
        checkpoint: Its content.
        own: Label of each identity of the run; empty where they are not known.

    Raises:
        InputError: They are others.
    """
    theirs = checkpoint[CHECKPOINT_KEY]["identity_labels"]
    if own and theirs != own:
        raise InputError(
            f"the checkpoint was trained on {len(theirs)} identities that are not the {len(own)} of this run; resume with "
            "the same data and data.validation settings"
        )
