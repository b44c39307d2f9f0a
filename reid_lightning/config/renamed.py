"""What configs of earlier versions call otherwise: checkpoints outlive the names of modules."""

from collections.abc import Mapping
from typing import Any

_MODULES = {
    "reid_lightning.losses.attributes": "reid_lightning.systems.attributes.loss",
    "reid_lightning.models.attribute_heads": "reid_lightning.systems.attributes.heads",
    "reid_lightning.models.backbones": "reid_lightning.models.convolutional_backbones",
    "reid_lightning.models.multi_depth": "reid_lightning.systems.multi_depth.descriptor",
    "reid_lightning.models.pose": "reid_lightning.systems.pose.bilinear",
    "reid_lightning.training.exploration": "reid_lightning.systems.multi_depth.filter_selection",
    "reid_lightning.training.loggers": "reid_lightning.engine.loggers",
    "reid_lightning.training.offline_mining": "reid_lightning.engine.callbacks.offline_mining",
    "reid_lightning.training.optimizers": "reid_lightning.engine.optimizers",
    "reid_lightning.training.pose": "reid_lightning.systems.pose.pretraining",
    "reid_lightning.training.schedules": "reid_lightning.engine.schedules",
}
_TARGETS = {
    "reid_lightning.models.parts.Stripes": "reid_lightning.systems.stripes.parts.Stripes",
    "reid_lightning.training.averaging.MovingAverage": "reid_lightning.engine.callbacks.ema.EMA",
    "reid_lightning.training.callbacks.Cost": "reid_lightning.engine.callbacks.throughput.Throughput",
    "reid_lightning.training.callbacks.EpochLine": "reid_lightning.engine.callbacks.console_log.ConsoleLog",
    "reid_lightning.training.callbacks.EpochSeed": "reid_lightning.engine.callbacks.epoch_seed.EpochSeed",
}
SETTINGS = {
    "evaluation.metric": "evaluation.distance",
    "evaluation.aligned": "evaluation/rerank=aligned evaluation.rerank.nearest",
    "evaluation.aligned_weight": "evaluation/rerank=aligned evaluation.rerank.weight",
    "evaluation.k_reciprocal": "evaluation/rerank=k_reciprocal evaluation.rerank.k1",
    "evaluation.identification": "report=open_set reports.open_set.nearest",
    "evaluation.map": "report=embedding_map",
}
"""What is set on the command line today in place of an earlier key."""
_CALLBACKS = {"Cost": "Throughput", "MovingAverage": "EMA"}  # those with a state
_STATE = {"objective.attribute_loss.": "objective.tasks.attributes.loss."}


def current_targets(config: Any) -> Any:
    """Return a plain config whose `_target_`s have the names that they have today.

    Examples:
        >>> current_targets({"cost": {"_target_": "reid_lightning.training.callbacks.Cost"}})
        {'cost': {'_target_': 'reid_lightning.engine.callbacks.throughput.Throughput'}}
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


def update_checkpoint(checkpoint: dict[str, Any]) -> None:
    """Give weights and callbacks of a loaded checkpoint the names that they have today, in place."""
    for key in ("state_dict", "current_model_state"):  # the latter where weights are averaged
        if key in checkpoint:
            checkpoint[key] = current_state(checkpoint[key])
    callbacks = checkpoint.get("callbacks", {})
    checkpoint["callbacks"] = {_CALLBACKS.get(name, name): state for name, state in callbacks.items()}


def task_facts(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the tasks of a checkpoint's entry have saved, by their names."""
    return dict(entry.get("tasks") or {"attributes": {"form": entry.get("attribute_form")}})


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


def with_reports(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a plain config whose evaluation has its re-ranking as a node, and reports that are not part of it.

    Examples:
        >>> target = "reid_lightning.retrieval.protocol.EvaluationProtocol"
        >>> old = {"_target_": target, "metric": "cosine", "k_reciprocal": [20, 6, 0.3], "map": False}
        >>> with_reports({"evaluation": old})["evaluation"]["rerank"]
        {'_target_': 'reid_lightning.retrieval.k_reciprocal.KReciprocalRerank', 'k1': 20, 'k2': 6, 'weight': 0.3}
    """
    evaluation, reports = dict(config["evaluation"]), dict(config.get("reports") or {})
    if not str(evaluation["_target_"]).endswith(".EvaluationProtocol"):
        return {**config, "reports": reports}  # another's class, whose arguments are its own
    if "metric" in evaluation:
        evaluation["distance"] = evaluation.pop("metric")
    if evaluation.get("feature") == "metric":
        evaluation["feature"] = "before_neck"
    aligned, weight = evaluation.pop("aligned", None), evaluation.pop("aligned_weight", 1.0)
    if aligned is not None:
        target = "reid_lightning.retrieval.aligned.AlignedRerank"
        evaluation["rerank"] = {"_target_": target, "nearest": aligned, "weight": weight}
    k_reciprocal = evaluation.pop("k_reciprocal", None)
    if k_reciprocal is not None:
        target = "reid_lightning.retrieval.k_reciprocal.KReciprocalRerank"
        evaluation["rerank"] = {
            "_target_": target,
            **dict(zip(("k1", "k2", "weight"), k_reciprocal, strict=True)),
        }
    votes = evaluation.pop("identification", None)
    if votes is not None:
        target = "reid_lightning.results.reports.open_set.OpenSetReport"
        reports["open_set"] = {"_target_": target, "nearest": votes}
    if evaluation.pop("map", False):
        reports["embedding_map"] = {
            "_target_": "reid_lightning.results.reports.embedding_map.EmbeddingMapReport"
        }
    return {**config, "evaluation": evaluation, "reports": reports}
