"""What the command line refuses, in one sentence that names the nearest that there is."""

import difflib
import re
from typing import Any

from reid_lightning.config.resolve import CONF

_EXTRA = re.compile(r"unexpected extra arguments?(?:\(s\))? \(([\w.+~/@-]+=[^\s)]*)")
_COMMAND = re.compile(r"No such command '(.*?)'")


def sentence(error: Any) -> str:
    """Return one of typer's usage errors with the way out; empty where typer has shown the help already."""
    said = " ".join(error.format_message().split()).rstrip(".")
    if not said:
        return ""
    context = error.ctx
    place = context.command_path if context else "reid"
    shows = f"`{place} --help` shows what there is"
    if (found := _COMMAND.match(said)) and context is not None:
        near = _nearest_command(found[1], context)
        return f"there is no command {found[1]}; " + (f"did you mean {near}?" if near else shows)
    if (found := _EXTRA.search(said)) and "overrides" not in _arguments(context):
        return f"`{place}` takes no settings, and {found[1]} was given: leave it out"
    option = str(getattr(error, "option_name", ""))
    name = option.lstrip("-")
    if "." in name or (name and (CONF / name).is_dir()):
        return f"there is no option {option}; settings are written without dashes, as {name}=VALUE"
    arguments = _arguments(context)
    is_override = difflib.get_close_matches(option, ["--override"], 1, 0.9)
    if is_override and arguments & {"overrides", "arguments", "images"}:
        return f"there is no option {option} of `{place}`; settings are written without it, as KEY=VALUE after the arguments"
    if option in ("--model", "--checkpoint") and "checkpoint" in arguments:
        return f"there is no option {option} of `{place}`; the model is its first argument: {place} CHECKPOINT ..."
    if hasattr(error, "possibilities"):
        params = context.command.params if context else []
        options = (one for one in params if one.param_type_name == "option" and not one.hidden)
        known = [each for one in options for each in one.opts]
        near = _nearest(option, [*known, "--help"])
        return f"there is no option {option}; " + (f"did you mean {near}?" if near else shows)
    return f"{said}; {shows}"


def _arguments(context: Any) -> set[str]:
    """Return the names of a command's arguments, which are given by place."""
    if context is None:
        return set()
    return {one.name for one in context.command.params if one.param_type_name == "argument"}


def _nearest_command(name: str, context: Any) -> str | None:
    """Return the command of a group that is nearest to a name; else one of another group that has the very name."""
    if near := _nearest(name, list(context.command.commands)):
        return near
    root = context.find_root().command
    if name in root.commands:
        return f"reid {name}"
    groups = ((group, getattr(command, "commands", {})) for group, command in root.commands.items())
    return next((f"{group} {name}" for group, commands in groups if name in commands), None)


def _nearest(name: str, known: list[str]) -> str | None:
    """Return the nearest of some names, None where none is near.

    Examples:
        >>> _nearest("serch", ["search", "save"]), _nearest("xyzzy", ["search"])
        ('search', None)
    """
    return next(iter(difflib.get_close_matches(name, known, 1)), None)
