"""The command line before Hydra reads it."""

import os
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from reid_lightning.config.options import matching
from reid_lightning.config.resolve import CONF, quoted
from reid_lightning.config.schema import raw_keys
from reid_lightning.config.suggest import FILLS, hints
from reid_lightning.errors import InputError


def is_sweep(arguments: Sequence[str]) -> bool:
    """Return whether a command line runs several jobs."""
    return bool({"-m", "--multirun"} & set(arguments))


def check_flags(arguments: Sequence[str]) -> None:
    """Refuse a command line with flags that do not exist, such as `--epochs 5`.

    Raises:
        InputError: Says how settings are written, and which one may be meant.
    """
    parser = get_args_parser()
    parser.error = _refuse_flags  # type: ignore[method-assign]
    parser.parse_args(list(arguments))


def _refuse_flags(message: str) -> NoReturn:
    wrong = re.search(r"unrecognized arguments: (\S+)", message)
    if wrong is None:
        raise InputError(f"the command line cannot be read: {message}; see --hydra-help")
    name, _, value = wrong[1].lstrip("-").partition("=")
    near = hints([f"{name.replace('-', '_')}={value}"])
    said = near[0].partition("; ")[2] if near else f"{name}=..."
    raise InputError(f"there is no flag {wrong[1]}; settings are written KEY=VALUE without dashes: {said}")


def readable(arguments: Sequence[str]) -> list[str]:
    """Return a command line that Hydra reads as it is meant: paths and patterns are quoted for it.

    `/data/a=b` is no value in Hydra's grammar, and `2024_01` is the number 202401. What is read as the text that it is stays
    as it is; so do quoted values, null, interpolations and, in a sweep, several values.

    Args:
        arguments: The command line without the program, or overrides alone.

    Raises:
        InputError: An argument is not a setting, its value cannot be read, or what is chosen of a group is not an option.

    Examples:
        >>> readable(["data.root=/data/a=b", "data.root=2024_01", "data.root=/data/market", "seed=1"])
        ["data.root='/data/a=b'", "data.root='2024_01'", 'data.root=/data/market', 'seed=1']
    """
    flags = {*get_args_parser().parse_known_args(list(arguments))[0].overrides}
    return [_readable(line, is_sweep(arguments)) if line in flags else line for line in arguments]


def _readable(line: str, sweep: bool) -> str:
    key, equals, value = line.partition("=")
    is_raw = any(fnmatchcase(key.lstrip("+"), raw) for raw in raw_keys())
    as_text = f"{key}={quoted(value)}" if is_raw and equals and _is_open(value) else line
    try:
        parsed = OverridesParser.create().parse_override(line)
    except HydraException:
        if as_text != line and not (sweep and "," in value):
            return as_text
        raise InputError(_unreadable(line)) from None
    if parsed.is_sweep_override():
        return line if sweep else as_text
    group = parsed.key_or_group
    if (
        equals
        and os.path.isdir(CONF / group)
        and not isinstance(parsed.value(), str | list)
        and key[0] != "~"
    ):
        nothing = f"; {group}=none is for nothing" if (CONF / group / "none.yaml").is_file() else ""
        raise InputError(f"{line} does not choose an option; `reid list {group}` shows all{nothing}")
    return line if parsed.value() == value else as_text


def _is_open(value: str) -> bool:
    """Return whether a value is written without quotes, and stands for itself."""
    return value not in ("", "null", "???") and value[0] not in "'\"" and "${" not in value


def _unreadable(override: str) -> str:
    """Return the sentence for an override that is outside Hydra's grammar."""
    key, equals, value = override.partition("=")
    if not equals:
        if os.path.isdir(CONF / override) and re.fullmatch(r"[\w/-]+", override):
            return (
                f"{override!r} is not a setting: write {override}=NAME without spaces around =; "
                f"`reid list {override}` shows all"
            )
        near = [option.name for option in matching(override)] if re.fullmatch(r"[\w/-]+", override) else []
        example = near[0] if near else "trainer.max_epochs=20"
        return f"{override!r} is not a setting: write KEY=VALUE, such as {example}, without spaces around ="
    if not re.fullmatch(r"[+~]{0,2}[\w./@:-]+", key):
        return f"{override!r} is not a setting: {key!r} cannot be the name of a key; write KEY=VALUE"
    quotes = "'" if '"' in value else '"'
    escaped = value.strip("'\"")
    return (
        f"{override} cannot be read; put the value into quotes of its own: '{key}={quotes}{escaped}{quotes}'"
    )


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
    if not is_sweep(arguments):
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
