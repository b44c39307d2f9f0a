"""Whether the calibration of a checkpoint holds for vectors that are taken as a config says."""

from collections.abc import Mapping
from typing import Any

from reid_lightning.engine.checkpoint_entry import calibration_of
from reid_lightning.retrieval.calibration import Calibration

_TAKEN = ("feature", "normalize", "flip", "scales", "distance", "tracklets")


def calibration_for(entry: Mapping[str, Any], config: Mapping[str, Any]) -> Calibration | None:
    """Return the calibration in a checkpoint; None without one, or if it is for vectors of other settings.

    Args:
        entry: Its entry of ours.
        config: With overrides, plain containers.

    Raises:
        InputError: The calibration is damaged.
    """
    return calibration_of(entry) if _vectors(entry["config"]) == _vectors(config) else None


def _vectors(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that a distance depends on and that an override can change."""
    taken = {name: config["evaluation"].get(name) for name in _TAKEN}
    return taken | {
        "image_size": list(config["data"]["image_size"]),
        "test_transform": config.get("test_transform"),
    }
