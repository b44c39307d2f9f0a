"""What configs of earlier versions call otherwise: checkpoints outlive the names of modules."""

from collections.abc import Mapping
from typing import Any

_MODULES = {
    "reid_lightning.training.averaging": "reid_lightning.engine.callbacks.ema",
    "reid_lightning.training.callbacks": "reid_lightning.engine.callbacks.core",
    "reid_lightning.training.exploration": "reid_lightning.systems.multi_depth.filter_selection",
    "reid_lightning.training.loggers": "reid_lightning.engine.loggers",
    "reid_lightning.training.offline_mining": "reid_lightning.engine.callbacks.offline_mining",
    "reid_lightning.training.optimizers": "reid_lightning.engine.optimizers",
    "reid_lightning.training.pose": "reid_lightning.systems.pose.pretraining",
    "reid_lightning.training.schedules": "reid_lightning.engine.schedules",
}


def current_targets(config: Any) -> Any:
    """Return a plain config whose `_target_`s have the names that they have today.

    Examples:
        >>> current_targets({"cost": {"_target_": "reid_lightning.training.callbacks.Cost"}})
        {'cost': {'_target_': 'reid_lightning.engine.callbacks.core.Cost'}}
    """
    if isinstance(config, Mapping):
        return {
            key: _current(value) if key == "_target_" else current_targets(value)
            for key, value in config.items()
        }
    if isinstance(config, list):
        return [current_targets(item) for item in config]
    return config


def _current(target: Any) -> Any:
    module, _, name = str(target).rpartition(".")
    return f"{_MODULES[module]}.{name}" if module in _MODULES else target
