"""What configs of earlier versions call otherwise: checkpoints outlive the names of modules."""

from collections.abc import Mapping
from typing import Any

_MODULES = {
    "reid_lightning.losses.attributes": "reid_lightning.systems.attributes.loss",
    "reid_lightning.models.attribute_heads": "reid_lightning.systems.attributes.heads",
    "reid_lightning.models.multi_depth": "reid_lightning.systems.multi_depth.descriptor",
    "reid_lightning.models.pose": "reid_lightning.systems.pose.bilinear",
    "reid_lightning.training.averaging": "reid_lightning.engine.callbacks.ema",
    "reid_lightning.training.callbacks": "reid_lightning.engine.callbacks.core",
    "reid_lightning.training.exploration": "reid_lightning.systems.multi_depth.filter_selection",
    "reid_lightning.training.loggers": "reid_lightning.engine.loggers",
    "reid_lightning.training.offline_mining": "reid_lightning.engine.callbacks.offline_mining",
    "reid_lightning.training.optimizers": "reid_lightning.engine.optimizers",
    "reid_lightning.training.pose": "reid_lightning.systems.pose.pretraining",
    "reid_lightning.training.schedules": "reid_lightning.engine.schedules",
}
_TARGETS = {"reid_lightning.models.parts.Stripes": "reid_lightning.systems.stripes.parts.Stripes"}
_STATE = {"objective.attribute_loss.": "objective.tasks.attributes.loss."}


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


def current_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint's weights under the names that they have today."""
    return {
        next((key.replace(old, new, 1) for old, new in _STATE.items() if key.startswith(old)), key): value
        for key, value in state.items()
    }


def _current(target: Any) -> Any:
    module, _, name = str(target).rpartition(".")
    return f"{_MODULES[module]}.{name}" if module in _MODULES else _TARGETS.get(target, target)


def with_tasks(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a plain config with its node `tasks`, which followed from other keys before."""
    if "tasks" in config:
        return dict(config)
    parts, systems = config.get("parts") or {}, "reid_lightning.systems"
    present = {
        "identity": (True, "identity.task.IdentityTask"),
        "pose": (str(parts.get("_target_")).endswith(".PoseBilinear"), "pose.task.PoseTask"),
        "attributes": (bool(config.get("attributes")), "attributes.task.AttributeTask"),
        "multi_depth": (bool(config.get("descriptor")), "multi_depth.task.MultiDepthTask"),
    }
    tasks = {name: {"_target_": f"{systems}.{target}"} for name, (there, target) in present.items() if there}
    return {**config, "tasks": tasks}
