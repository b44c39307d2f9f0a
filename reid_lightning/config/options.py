"""The groups of the config and their options, each with the sentence that its file begins with.

It reads the first lines of YAML files and imports nothing that the options build, so that it answers at once.
"""

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from omegaconf import OmegaConf

from reid_lightning.config.resolve import CONF
from reid_lightning.config.schema import groups as described
from reid_lightning.errors import InputError

_SENTENCE = re.compile(r".+?[.?!](?=\s+[A-Z\"]|\s+[\w.]+=|\s+python |\s*$)")
_RUN_SETTING = re.compile(
    r"^(\w+): ([^\s$#]+) +# (.+)$", re.MULTILINE
)  # values that follow from others are left out
_WILD = set("*?[")
HELP_FLAGS = {"--help", "-h"}


@dataclass(frozen=True)
class Option:
    """An option of a group: `GROUP=NAME` on the command line.

    Attributes:
        name: Its file below the group's folder, as `kiel/mildnet` of `experiment`.
        says: What it is, in a sentence.
    """

    name: str
    says: str


def groups() -> dict[str, str]:
    """Return the groups that have options, with what they are."""
    return {name: says for name, says in described().items() if (CONF / name).is_dir()}


def options(group: str, pattern: str | None = None) -> list[Option]:
    """Return the options of a group, nested ones included.

    Args:
        group: A group, or a folder below one, such as `experiment/kiel/network`.
        pattern: Those whose names match, as a shell would (`*ibn*`); None: all.

    Raises:
        InputError: There is no such group, or no option matches.

    Examples:
        >>> [option.name for option in options("backbone", "*ibn*")]
        ['osnet_ibn_x1_0', 'resnet50_ibn_a']
    """
    folder = CONF / group
    if not group.strip("/") or not os.path.isdir(folder):
        near = _nearest(group, list(groups()))
        raise InputError(f"there is no group {group}{near} `reid list` shows all groups.")
    found = {str(file.relative_to(folder).with_suffix("")): file for file in sorted(folder.rglob("*.yaml"))}
    chosen = [name for name in found if pattern is None or fnmatchcase(name, pattern)]
    if not chosen and pattern is not None:
        near = _nearest(pattern, list(found))
        raise InputError(f"{group} has no option {pattern}{near} `reid list {group}` shows all options.")
    return [Option(name, sentence_of(found[name])) for name in chosen]


def matching(pattern: str) -> list[Option]:
    """Return the options of all groups whose names match, as `GROUP=NAME`.

    Examples:
        >>> [option.name for option in matching("*hermans*")]
        ['optimizer=adam_hermans']
    """
    return [
        Option(f"{group}={option.name}", option.says)
        for group in groups()
        for option in options(group)
        if fnmatchcase(option.name, pattern)
    ]


def sentence_of(file: Path) -> str:
    """Return the first sentence of the comment that a YAML file begins with; empty if there is none."""
    lines = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("# @package"):
            continue
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# ").rstrip())
    found = _SENTENCE.match(" ".join(lines))
    return found[0] if found else ""


def listing(group: str | None = None, pattern: str | None = None) -> str:
    """Return what `reid list GROUP PATTERN` shows: a line per group, or per option of a group.

    Args:
        group: A group; `timm` for the models of timm; a pattern for options of all groups; None for the groups.
        pattern: See `options`.

    Raises:
        InputError: There is no such group, or nothing matches.
    """
    if group is None:
        return f"{help_text()}\n\n`reid list GROUP` shows the options of a group, `reid list GROUP '*PATTERN*'` some."
    if group == "timm":
        return "\n".join(timm_models(pattern))
    if not _WILD & set(group):
        chosen = default_options().get(group, "").split(", ")
        shown = _lines(options(group, pattern), chosen)
        if group == "backbone":
            shown += "\n\nbackbone=timm backbone.name=NAME takes any model of timm: `reid list timm '*vit*'`."
        return shown
    found = matching(group)
    if not found:
        raise InputError(f"no option of any group is like {group}; `reid list` shows the groups")
    return _lines(found)


@cache  # every job of a sweep asks
def help_text() -> str:
    """Return a line per group, as `train.py --help` and `reid list` show them."""
    chosen = default_options()
    return "\n".join(
        f"  {name}: {says} ({len(options(name))}{f', default {chosen[name]}' if name in chosen else ''})"
        for name, says in sorted(groups().items())
    )


@cache
def default_options() -> dict[str, str]:
    """Return the option of each group in a run without overrides; groups of which it has none are left out.

    They are those of `conf/config.yaml`, and those that its data choose instead.

    Examples:
        >>> default_options()["backbone"], default_options()["pooling"]
        ('resnet10_light', 'avg')
    """
    found = _chosen("config.yaml")
    for name in found["data"].split(", "):
        found |= _chosen(f"data/{name}.yaml")
    return found


def _chosen(file: str) -> dict[str, str]:
    """Return the options that the `defaults` of a file of `conf/` choose, by group; several are separated by commas."""
    found = {}
    for entry in OmegaConf.load(CONF / file).defaults:
        for key, chosen in entry.items() if isinstance(entry, Mapping) else ():
            group = str(key).removeprefix("override ").removeprefix("/").partition("@")[0]
            if chosen is not None and group != "hydra/help":
                found[group] = str(chosen) if isinstance(chosen, str) else ", ".join(chosen)
    return found


@cache
def settings_text() -> str:
    """Return a line per setting of the run itself: its default, and the comment beside it in `conf/config.yaml`."""
    text = (CONF / "config.yaml").read_text(encoding="utf-8")
    return "\n".join(f"  {name}={value}: {says}" for name, value, says in _RUN_SETTING.findall(text))


# Of conf/hydra/help. A launcher that pickles resolvers (Ray) needs functions with names, which these call.
OmegaConf.register_new_resolver("groups", lambda: help_text(), replace=True)
OmegaConf.register_new_resolver("run_settings", lambda: settings_text(), replace=True)


def run_help(command: str = "python train.py") -> str:
    """Return what `train.py --help` shows: the template of conf/hydra/help, without the settings of the groups.

    Hydra would list each group several times for it, which takes more than a second.

    Args:
        command: How the user has called it, for the examples.
    """
    shown = {"hydra": {"help": OmegaConf.load(CONF / "hydra" / "help" / "reid.yaml")}}
    return str(OmegaConf.create(shown).hydra.help.template).replace("python train.py", command)


def timm_models(pattern: str | None = None) -> list[str]:
    """Return the names of timm's models that match; timm is imported here alone.

    Raises:
        InputError: No name matches.
    """
    import timm

    found = timm.list_models(pattern or "*")
    if not found:
        near = _nearest(str(pattern), timm.list_models())
        raise InputError(f"timm has no model like {pattern}{near}")
    return list(found)


def _lines(options_: list[Option], chosen: list[str] | None = None) -> str:
    width = max(len(option.name) for option in options_)
    return "\n".join(
        f"  {option.name:<{width}}  {option.says}{' (default)' if option.name in (chosen or []) else ''}".rstrip()
        for option in options_
    )


def _nearest(wrong: str, known: list[str]) -> str:
    near = difflib.get_close_matches(wrong.strip("*"), known, 1, 0.6)
    return f"; did you mean {near[0]}?" if near else "."
