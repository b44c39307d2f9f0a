"""A trained model from its checkpoint alone."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from reid_lightning.config.command_line import readable
from reid_lightning.config.refused import REFUSED, in_our_words
from reid_lightning.config.renamed import (
    SETTINGS,
    current_state,
    current_targets,
    task_facts,
    with_reports,
    with_tasks,
)
from reid_lightning.config.resolve import CONF, check_targets, nearest_key, plain
from reid_lightning.config.schema import added_later, as_evaluated, follows_data
from reid_lightning.config.suggest import FILLS
from reid_lightning.engine.module import CHECKPOINT_KEY, ReIDModule
from reid_lightning.errors import InputError
from reid_lightning.experiments.checks import check_evaluation
from reid_lightning.experiments.factory import build_module
from reid_lightning.retrieval.protocol import EvaluationProtocol


def read_checkpoint(path: str | Path, trusted: tuple[str, ...] = ()) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a checkpoint without running anything that it names.

    Args:
        path: A checkpoint file written by a run.
        trusted: Further packages that its config may name.

    Returns:
        The checkpoint, and its entry of ours: `version`, `config`, `identity_labels`.

    Raises:
        InputError: The file is absent, is not a checkpoint of this project, or names code outside the trusted packages.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no checkpoint {path}; a run writes checkpoints/best.ckpt into its folder")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"{path} cannot be read as a checkpoint") from error
    if not isinstance(checkpoint, dict) or CHECKPOINT_KEY not in checkpoint:
        raise InputError(f"{path} is not a checkpoint of reid-lightning: it carries no config")
    entry = checkpoint[CHECKPOINT_KEY]
    if not entry["config"]:
        raise InputError(
            f"{path} carries no config, because its module was built without one: load it with "
            "ReIDModule.load_from_checkpoint(path, network=...)"
        )
    entry["config"] = completed(entry["config"])
    entry["tasks"] = task_facts(entry)
    check_targets(entry["config"], trusted)
    return checkpoint, entry


def completed(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of an earlier version with what has been added since."""
    present = added_later() | with_reports(with_tasks(current_targets(config)))
    evaluation = present["evaluation"]
    if str(evaluation["_target_"]).endswith(f".{EvaluationProtocol.__name__}"):
        defaults = {field.name: field.default for field in fields(EvaluationProtocol)}
        present["evaluation"] = defaults | {"ranks": list(EvaluationProtocol().ranks)} | dict(evaluation)
    return present


def load_module(
    path: str | Path, overrides: Sequence[str] = (), trusted: tuple[str, ...] = ()
) -> tuple[ReIDModule, dict[str, Any]]:
    """Rebuild the module of a checkpoint with its weights.

    Args:
        path: A checkpoint file written by a run.
        overrides: Hydra overrides of its config, such as `evaluation=torchreid` or `data.root=DIR`.
        trusted: Further packages that its config may name.

    Returns:
        The module in evaluation mode, and the plain config that it was built from.
    """
    checkpoint, entry = read_checkpoint(path, trusted)
    config = override(entry["config"], overrides) | as_evaluated()
    check_evaluation(config)
    for part in ("backbone", "parts"):
        if "weights" in (config.get(part) or {}):
            config[part] = config[part] | {"weights": None}  # the checkpoint's weights follow
    module = build_module(config, len(entry["identity_labels"]), entry["identity_labels"])
    try:
        module.load_state_dict(current_state(checkpoint["state_dict"]))
    except RuntimeError as error:
        raise InputError(
            f"the weights of {path} fit the network that they were trained in, not the one that the overrides make; "
            "only data, evaluation and trainer can be changed"
        ) from error
    for task in module.tasks:
        task.restore(entry["tasks"].get(task.name, {}))
    return module.eval(), config


def override(config: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Apply command-line overrides to a plain, resolved config.

    A group choice (`data=market1501`, `evaluation/rerank=none`) takes the whole group as it is composed today; any other
    key must exist.

    Raises:
        InputError: A key or option does not exist.
    """
    import hydra
    from hydra.core.override_parser.overrides_parser import OverridesParser

    overrides = readable(overrides)
    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
        groups = [o.key_or_group for o in parsed if (CONF / o.key_or_group).is_dir()]
        chosen = [FILLS.get(group, group).replace("/", ".") for group in groups]
        inside = [o for o in parsed if o.key_or_group in groups or _is_below(o.key_or_group, chosen)]
        result = dict(config)
        if chosen:
            with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
                composed = hydra.compose("config", [*(str(o.input_line) for o in inside), "output_dir=none"])
            for key in sorted(chosen):  # an outer group before those in it
                _set(result, key, plain(OmegaConf.select(composed, key)))
            if {"data", "evaluation"} & set(chosen):
                given = {o.key_or_group for o in parsed}
                for key, suits in follows_data().items():
                    if key not in given:
                        group, name = key.split(".")
                        value = result["data"].get(suits.removeprefix("data."))
                        result[group] = {**result[group], name: value}
    except REFUSED as error:
        if (said := in_our_words(error, overrides)) is None:
            raise
        raise InputError("; ".join(said)) from error
    for o in parsed:
        if o not in inside:
            _set(result, o.key_or_group, o.value())
    return result


def _is_below(key: str, nodes: Sequence[str]) -> bool:
    return any(key == node or key.startswith(f"{node}.") for node in nodes)


def _set(config: dict[str, Any], key: str, value: Any) -> None:
    *parents, leaf = key.split(".")
    node: Any = config
    for name in parents:
        node[name] = dict(node[name]) if isinstance(node.get(name), Mapping) else None
        node = node[name]
        if node is None:
            break
    if node is None or leaf not in node:
        near = SETTINGS.get(key) or nearest_key(key, config)
        raise InputError(
            f"the checkpoint's config has no key {key}" + (f"; did you mean {near}?" if near else "")
        )
    node[leaf] = value
