"""The command line before Hydra reads it, and the nearest right name for what it misspells."""

import difflib
import re
from collections.abc import Sequence

import hydra
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from reid_lightning.config.options import options as options_of
from reid_lightning.config.renamed import SETTINGS
from reid_lightning.config.resolve import CONF, leaves, nearest_key, plain_unresolved

FILLS = {"task": "tasks", "report": "reports"}  # groups whose options fill a key of another name


def hints(arguments: Sequence[str]) -> list[str]:
    """Return a sentence for every override that names a key or option that does not exist.

    Args:
        arguments: The command line without the program.

    Examples:
        >>> hints(["loss.triplet.margn=1", "backbone=resnet5"])[0]
        "Did you mean 'backbone=resnet50' instead of 'backbone=resnet5'? `reid list backbone` shows all options."
        >>> hints(["experiment=trent"])[0]
        "Did you mean 'experiment=trento' instead of 'experiment=trent'? `reid list experiment` shows all options."
        >>> hints(["evaluation.metric=euclidean"])
        ["'evaluation.metric' is now 'evaluation.distance'."]
        >>> hints(["miner.search=faiss"])[0]
        "'miner.search' needs an option of its group that has it: 'miner=offline_hard'."
    """
    overrides = dict(
        argument.split("=", 1)
        for argument in arguments
        if "=" in argument and argument[0] not in "~-" and not argument.startswith("hydra")
    )
    overrides = {key.lstrip("+"): value for key, value in overrides.items() if key[0] != "+" or "@" in key}
    options = {
        str(folder.relative_to(CONF)): [option.name for option in options_of(str(folder.relative_to(CONF)))]
        for folder in CONF.rglob("*")
        if folder.is_dir()
    }
    elsewhere = any(re.match(r"--config-(dir|path)|-c[dp]|hydra\.searchpath", line) for line in arguments)
    found = [f"'{key}' is now '{SETTINGS[key]}'." for key in overrides if key in SETTINGS]
    for key, values in overrides.items():
        group = key.partition("@")[0]  # miner@loss.triplet.miner is of the group miner
        if group not in options:
            continue
        for option in values.strip("[]").split(","):
            if not re.fullmatch(r"[\w./-]+", option) or option in (*options[group], "null"):
                continue  # choice(...), glob(...)
            near = difflib.get_close_matches(option, options[group], 1, 0.5)
            if near:
                said = f"Did you mean '{key}={near[0]}' instead of '{key}={option}'?"
            elif elsewhere:
                continue
            else:
                said = f"There is no '{key}={option}'."
            found.append(f"{said} `reid list {group}` shows all options.")
    if not found:
        keys = [key for key in overrides if key.partition("@")[0] not in options]
        found += _key_hints(keys, overrides, options)
    return found


def settled_per_job(arguments: Sequence[str]) -> list[str]:
    """Return a command line whose settings of a swept group's options are settled in each job.

    Before Hydra knows the jobs of a sweep it composes what they share, with the default option of every group. A field
    that only the swept options have is unknown to it then; as a choice of one value it waits for the job.

    Args:
        arguments: The command line without the program.

    Examples:
        >>> settled_per_job(["--multirun", "classifier=arcface,cosface", "classifier.scale=16", "seed=1"])
        ['--multirun', 'classifier=arcface,cosface', 'classifier.scale=choice(16)', 'seed=1']
    """
    if not {"-m", "--multirun"} & set(arguments):
        return list(arguments)
    try:
        parsed = {
            line: OverridesParser.create().parse_override(line)
            for line in arguments
            if "=" in line and line[0] != "-"
        }
    except HydraException:
        return list(arguments)  # Hydra says what is wrong
    varied = (override.key_or_group for override in parsed.values() if override.is_sweep_override())
    swept = {f"{FILLS.get(group, group).replace('/', '.')}." for group in varied}
    return [
        line.replace("=", "=choice(", 1) + ")"
        if line in parsed
        and not parsed[line].is_sweep_override()
        and parsed[line].key_or_group.startswith(tuple(swept))
        else line
        for line in arguments
    ]


def _key_hints(keys: Sequence[str], overrides: dict[str, str], options: dict[str, list[str]]) -> list[str]:
    choices = [
        f"{key}={value}"
        for key, value in overrides.items()
        if key in options and ("," not in value or value[0] == "[")
    ]
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            config = hydra.compose("config", choices)
    except HydraException:
        return []
    known = dict.fromkeys(options) | plain_unresolved(config)
    found = []
    for key in (key for key in keys if key not in dict(leaves(known))):
        group = key.split(".", 1)[0]
        near = nearest_key(key, known)
        if group in options and known[group] is None:
            choices = [name for name in options[group] if name != "none"]
            found.append(f"'{key}' needs an option of its group, such as '{group}={choices[0]}'.")
        elif near and near != key:
            found.append(f"Did you mean '{near}' instead of '{key}'?")
        elif near is None and (choices := _options_with(key, options)):
            found.append(f"'{key}' needs an option of its group that has it: '{group}={choices[0]}'.")
    return found


def _options_with(key: str, options: dict[str, list[str]]) -> list[str]:
    """Return the options of the key's group that have its field, as `miner=offline_hard` has `miner.search`."""
    group, _, field = key.partition(".")
    found = []
    for name in options.get(group, []):
        node = yaml.safe_load((CONF / group / f"{name}.yaml").read_text(encoding="utf-8")) or {}
        own = node.get(group)
        if field in node or (isinstance(own, dict) and field in own):
            found.append(name)
    return found
