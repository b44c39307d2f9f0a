"""What was chosen for a run, in words: its options by group, and a name that tells it from the others of its sweep."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import OmegaConf

from reid_lightning.config.resolve import CONF
from reid_lightning.config.schema import changes_result, groups, repetitions

LISTS = {"loss": "loss", "data": "data.sources", "report": "reports"}
"""Groups of which several options may be chosen, with the keys below which the options' names stand."""


def chosen_options(config: Mapping[str, Any]) -> dict[str, str | list[str]]:
    """Return what was chosen of each group: a name, or a list where several may be chosen; "none" where nothing was.

    Args:
        config: Plain and resolved. Groups of one option are known where the command line has composed it; otherwise those
            are named whose settings fit one option only.

    Examples:
        >>> chosen_options({"loss": {"triplet": {}, "center": {}}, "data": {"sources": {"market1501": {}}}})
        {'loss': ['triplet', 'center'], 'data': ['market1501']}
    """
    found: dict[str, str | list[str]] = {}
    if HydraConfig.initialized():
        for group, name in HydraConfig.get().runtime.choices.items():
            if not group.startswith("hydra"):
                found[group] = "none" if name is None else str(name)
    else:
        found |= _fitting(config)
    for group, key in LISTS.items():
        node: Any = config
        for part in key.split("."):
            node = node.get(part) if isinstance(node, Mapping) else None
        if node is not None:
            found[group] = [str(name) for name, option in node.items() if option is not None] or ["none"]
    return found


def _fitting(config: Mapping[str, Any]) -> dict[str, str | list[str]]:
    """Return the one option of each group that a config fits: the same class, and where several have it the same values."""
    found: dict[str, str | list[str]] = {}
    for group in groups():
        node = config.get(group)
        if group in LISTS or not isinstance(node, Mapping) or "_target_" not in node:
            continue
        target = node["_target_"]
        options = {file.stem: _plain(file) for file in sorted((CONF / group).glob("*.yaml"))}
        same = {name: option for name, option in options.items() if option.get("_target_") == target}
        if len(same) > 1:
            same = {name: option for name, option in same.items() if _holds(node, option)}
        if len(same) == 1:
            found[group] = next(iter(same))
    return found


def _plain(file: Path) -> dict[str, Any]:
    content = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    return {str(key): value for key, value in content.items()} if isinstance(content, dict) else {}


def _holds(node: Any, option: Any) -> bool:
    """Whether a config has an option's values, those left out that it takes from elsewhere (`${...}`)."""
    if isinstance(option, str) and "${" in option:
        return True
    if isinstance(option, Mapping) and isinstance(node, Mapping):
        return all(_holds(node.get(key), value) for key, value in option.items() if key != "defaults")
    if isinstance(option, list) and isinstance(node, list):
        return len(node) == len(option) and all(map(_holds, node, option))
    return bool(node == option)


def swept_keys(settings: Any) -> list[str]:
    """Return the keys that a job's sweep varies.

    Args:
        settings: The node `hydra` of the job's config.
    """
    keys = [line.partition("=")[0].lstrip("+~") for line in settings.overrides.task]
    return [key for key in keys if key not in settings.job.config.override_dirname.exclude_keys]


def chosen_words() -> list[str]:
    """Return what the command line says of a result, in words: options by their names, settings as `name=value`.

    In a sweep it is what the sweep varies, if it varies anything. Seeds come last. Empty outside the command line.
    """
    if not HydraConfig.initialized():
        return []
    settings = HydraConfig.get()
    varied = (settings.mode is RunMode.MULTIRUN and swept_keys(settings)) or None
    options, values, seeds = [], [], []
    for line in settings.overrides.task:
        override = OverridesParser.create().parse_override(line)
        key, value = override.key_or_group, override.value()
        if key == "resume":  # a run that is continued keeps its name
            continue
        if override.is_delete() or not changes_result(key) or (varied is not None and key not in varied):
            continue
        said = (
            ",".join(map(str, value)) if isinstance(value, list) else "none" if value is None else str(value)
        )
        if key in repetitions():
            seeds.append(f"{key.rpartition('.')[2]}={said}")
        elif key.partition("@")[0] in groups() or "/" in key:
            options.append(said)
        else:
            values.append(f"{key.rpartition('.')[2]}={said}")
    return [*options, *values, *seeds]
