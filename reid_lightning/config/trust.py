"""What may be built from a config that comes from a file: a stranger may have written it, and building runs what it names.

Only the exact names that `conf/` has at the same place pass, so that a data reader never passes as a backbone. Whoever
trusts a package lets classes and functions pass that are defined in it.
"""

import functools
import inspect
import pydoc
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from typing import Any

import yaml

from reid_lightning.config.resolve import CONF, nodes, targets
from reid_lightning.errors import InputError

# Packages that this one is made of: a `_target_` of any other is the user's own.
LIBRARIES = (
    "reid_lightning",
    "lightning",
    "torch",
    "torchvision",
    "timm",
    "albumentations",
    "pytorch_metric_learning",
    "torchmetrics",
)
# Libraries have functions and classes that load files or run code, so only classes of these kinds can be trusted.
_KINDS = (
    "torch.nn.modules.module.Module",
    "albumentations.core.transforms_interface.BasicTransform",
    "albumentations.core.composition.BaseCompose",
    "reid_lightning.systems.task.Report",
)
CALLED = "the checkpoint's config"
_OPEN = ("tasks", "reports", "data.sources", "loss", "callbacks", "logger")  # their keys are free names
_SAME = {"test_transform": "augmentation"}  # built from the same classes
_INSTRUCTIONS: dict[str, tuple[Any, ...]] = {
    "_partial_": (True, False),
    "_convert_": ("all",),
}  # as in `conf/`
_LARGEST, _DEEPEST = 100_000, 30  # values and levels of a config


def check_plain(config: Any, where: str = CALLED) -> None:
    """Refuse what no config of a run holds: anything but text, numbers, lists and mappings, and interpolations.

    An interpolation is resolved when something is built, so that a name could change after its check.

    Args:
        config: Of a file, not looked at before.
        where: What it is called in messages.

    Raises:
        InputError: Names the first place.
    """
    count = 0
    open_nodes: list[tuple[str, int, Any]] = [("", 0, config)]
    while open_nodes:
        key, depth, value = open_nodes.pop()
        count += 1
        if depth > _DEEPEST or count > _LARGEST:
            raise InputError(f"{where} is nested too deeply or too large")
        if isinstance(value, Mapping):
            items: list[tuple[Any, Any]] = list(value.items())
            names = [name for name, _ in items if not isinstance(name, str | int | float | None)]
            if names:
                raise InputError(f"{where} has a key that is neither text nor a number at {key or 'its top'}")
            open_nodes += [(str(name), depth + 1, name) for name, _ in items if isinstance(name, str)]
            open_nodes += [(f"{key}.{name}" if key else str(name), depth + 1, item) for name, item in items]
        elif isinstance(value, list | tuple):
            open_nodes += [(f"{key}[{place}]", depth + 1, item) for place, item in enumerate(value)]
        elif isinstance(value, str):
            if "${" in value:
                raise InputError(f"{where} holds an interpolation at {key!r}: {value!r}")
        elif not isinstance(value, int | float | None):
            raise InputError(f"{where} holds a {type(value).__name__} at {key!r}")


def check_trust(config: Mapping[str, Any], trust: Sequence[str] = (), where: str = CALLED) -> None:
    """Refuse a config from a file if it names what `conf/` does not name there and no trusted package defines.

    Nothing is imported but trusted packages.

    Args:
        config: Plain containers; what is not to be built has been removed.
        trust: Packages that the user trusts.
        where: What the config is called in messages.

    Raises:
        InputError: Names what is refused, where it stands, and the packages that would have to be trusted.
    """
    untrusted: dict[str, list[str]] = {}
    for key, node in nodes(config):
        for instruction, value in node.items():
            if not re.fullmatch(r"_\w+_", str(instruction)) or instruction == "_target_":
                continue
            if value not in _INSTRUCTIONS.get(instruction, ()):
                raise InputError(
                    f"{where} has {instruction}={value!r} at {key}, which no config of a run has"
                )
        if "_target_" not in node:
            continue
        target = node["_target_"]
        if not isinstance(target, str) or not all(map(str.isidentifier, target.split("."))):
            raise InputError(f"{where} has _target_={target!r} at {key}, which is not a name in Python")
        if target in _named_by_conf().get(_place(key), ()):
            continue
        package = next((name for name in trust if target.startswith(f"{name}.")), None)
        root = target.partition(".")[0]
        if root in sys.stdlib_module_names:
            raise InputError(f"{where} names {target} at {key}, which is not a part of any model")
        if package is None:
            untrusted.setdefault(root, []).append(f"{target} at {key}")
        else:
            _check_own_name(target, package, key, where)
    if untrusted:
        named = ", ".join(each for several in untrusted.values() for each in several)
        options = " ".join(f"--trust {root}" for root in untrusted)
        raise InputError(
            f"{where} names {named}, which is not a part of reid-lightning: pass {options} (in Python "
            f"trust={list(untrusted)}) only if you know where the file comes from"
        )


def _check_own_name(target: str, package: str, key: str, where: str) -> None:
    """Refuse a name in a trusted package that stands for something else, such as a module that the package imports."""
    try:
        found = pydoc.locate(target)
    except pydoc.ErrorDuringImport as error:
        raise InputError(f"{where} names {target} at {key}, which cannot be imported: {error}") from error
    if found is None:
        raise InputError(
            f"{where} names {target} at {key}, which cannot be found; correct PYTHONPATH, or use the package's version of "
            "the training"
        )
    module = str(getattr(found, "__module__", None))
    defined = module == package or module.startswith(f"{package}.")
    root = package.partition(".")[0]
    if root in LIBRARIES or root in _dependencies():
        parents = found.__mro__ if isinstance(found, type) else ()
        fits = any(f"{parent.__module__}.{parent.__qualname__}" in _KINDS for parent in parents)
    else:
        fits = inspect.isclass(found) or inspect.isfunction(found)
    if not (defined and fits):
        raise InputError(
            f"{where} names {target} at {key}, which is not a class or function that {package} defines for a model"
        )


def _place(key: str) -> str:
    """Return a key without positions in lists and without the names that a user is free to choose.

    Examples:
        >>> _place("test_transform.transforms[3]"), _place("tasks.mine"), _place("data.sources.market1501.x")
        ('augmentation.transforms', 'tasks.*', 'data.sources.*.x')
    """
    key = re.sub(r"\[\d+\]", "", key)
    for mapping in _OPEN:
        if key.startswith(f"{mapping}."):
            _, dot, rest = key[len(mapping) + 1 :].partition(".")
            return f"{mapping}.*{dot}{rest}"
    first, dot, rest = key.partition(".")
    return f"{_SAME.get(first, first)}{dot}{rest}"


@functools.cache
def _dependencies() -> frozenset[str]:
    """Return the modules of all packages that this one needs, directly or not, with and without extras.

    They load files and run programs under many names.
    """
    needed: set[str] = set()
    waiting = ["reid-lightning"]
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in needed:
            continue
        needed.add(name)
        with suppress(metadata.PackageNotFoundError):  # an extra that is not installed
            waiting += [re.split(r"[^\w.-]", line)[0] for line in metadata.requires(name) or ()]
    owners = metadata.packages_distributions().items()
    return frozenset(
        module
        for module, names in owners
        if needed & {re.sub(r"[-_.]+", "-", name).lower() for name in names}
    ) - {"reid_lightning"}


@functools.cache
def _named_by_conf() -> Mapping[str, frozenset[str]]:
    """Return the targets that the options of `conf/` name, by their place in the config."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C where PyYAML has it: ten times as fast
    named: dict[str, set[str]] = {}
    for file in sorted(CONF.rglob("*.yaml")):
        group = file.parent.relative_to(CONF)
        text = file.read_text(encoding="utf-8")
        if "_target_" not in text:
            continue
        header = re.search(r"^# @package (\S+)", text, re.MULTILINE)
        package = header[1] if header else ".".join(group.parts)
        content = yaml.load(text, loader)
        for key, target in targets(content, "" if package == "_global_" else package):
            named.setdefault(_place(key.rpartition(".")[0]), set()).add(target)
    return {place: frozenset(names) for place, names in named.items()}
