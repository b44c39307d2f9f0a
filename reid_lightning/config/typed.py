"""Whether the values of a config are what they may be, before anything is built from it.

Two tables say it: the rows of `schema.py`, for what a key allows, and the annotations of the classes that the config names,
for the types of their arguments.
"""

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType, NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from reid_lightning.config.keys import KEYS
from reid_lightning.config.resolve import class_of, nodes
from reid_lightning.config.values import Values, is_number, is_whole, one_of, written
from reid_lightning.errors import InputError

_OBJECT_CALLS = {  # which Hydra reads of a node
    "_partial_": Values("true or false", lambda value: isinstance(value, bool)),
    "_recursive_": Values("true or false", lambda value: isinstance(value, bool)),
    "_convert_": one_of("none", "partial", "object", "all"),
}
ANNOTATED = ("reid_lightning", "lightning", "torch")  # packages whose annotations are exact


def check_values(
    config: Mapping[str, Any], groups: Collection[str] | None = None, unbuilt: Collection[str] = ()
) -> None:
    """Refuse values that their keys do not allow, names of classes that do not exist, and arguments of a wrong type.

    Args:
        config: Plain containers.
        groups: Keys on top that are looked at; None: all.
        unbuilt: Those of them whose classes are not built, and are left alone.

    Raises:
        InputError: Names the key, what it must be, and what it is.
    """
    looked_at = {key: value for key, value in config.items() if groups is None or key in groups}
    _check_rows(looked_at, groups)
    for key, node in nodes(looked_at):
        if "_target_" not in node or key.split(".", 1)[0] in unbuilt:
            continue
        for call, takes in _OBJECT_CALLS.items():
            if call in node and (refusal := takes.refusal(f"{key}.{call}", node[call])):
                raise InputError(refusal)
        target = _target(f"{key}._target_", node)
        if target is not None and str(node["_target_"]).split(".", 1)[0] in ANNOTATED:
            _check_arguments(key, node, target)


def _check_rows(config: Mapping[str, Any], groups: Collection[str] | None) -> None:
    for row in sorted(KEYS, key=lambda key: "*" in key.name):  # what was written before what follows from it
        top = "." not in row.name and not row.bundle and "/" not in row.name
        if row.takes is None or (groups is not None and row.name.split(".", 1)[0] not in groups):
            continue
        found = list(_values_of(config, row.name.split(".")))
        if top and not found and not row.takes.holds(None):
            way_out = f"choose an option ({row.name}=...)" if row.group else f"set {row.name}=..."
            raise InputError(f"{row.name} is missing, and no run can do without it; {way_out}")
        for key, value in found:
            if refusal := row.takes.refusal(key, value):
                raise InputError(refusal)


def _values_of(node: Any, steps: list[str], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the keys of a plain config that a name with `*` stands for, with their values."""
    if not steps:
        yield path, node
        return
    for name in node if isinstance(node, Mapping) else ():
        if fnmatchcase(str(name), steps[0]) and not (steps[0] == "*" and str(name).startswith("_")):
            yield from _values_of(node[name], steps[1:], f"{path}.{name}" if path else str(name))


def _target(key: str, node: Mapping[str, Any]) -> Any:
    """Return what a node names; None where its package is not installed, which its building says better.

    Raises:
        InputError: There is nothing of this name; says the nearest one.
    """
    name = node["_target_"]
    if not isinstance(name, str) or not name.strip("."):
        raise InputError(f"{key} must be the dotted name of a class or function, got {written(name)}")
    if (found := class_of(node)) is not None:
        return found
    reached, rest = _reached(name)
    if reached is None:
        if isinstance(rest, Exception):  # the package is there, or another one that it needs is not
            return None
        raise InputError(
            f"{key}={name} cannot be imported, because there is no package {name.split('.', 1)[0]}; correct the name, or "
            "set PYTHONPATH"
        )
    within = ".".join(name.split(".")[: name.count(".") + 1 - len(rest)])
    near = difflib.get_close_matches(rest[0], _names(reached), 1, 0.5)
    said = f"; did you mean {'.'.join([within, near[0], *rest[1:]])}?" if near else "; correct the name"
    raise InputError(f"{key}={name} cannot be imported, because {within} has no {rest[0]}{said}")


def _reached(name: str) -> tuple[Any, Any]:
    """Return the last part of a dotted name that exists, and the names that follow it."""
    first, *steps = name.split(".")
    try:
        reached: Any = importlib.import_module(first)
    except ModuleNotFoundError as error:
        return None, (error if error.name != first else steps)
    except Exception as error:
        return None, error
    path = first
    for position, step in enumerate(steps):
        path = f"{path}.{step}"
        if hasattr(reached, step):
            reached = getattr(reached, step)
            continue
        try:
            reached = importlib.import_module(path)
        except ModuleNotFoundError as error:
            if error.name is not None and not path.startswith(error.name):
                return None, error
            return reached, steps[position:]
        except Exception as error:
            return None, error
    return None, ImportError(name)


def _names(within: Any) -> list[str]:
    below = pkgutil.iter_modules(getattr(within, "__path__", [])) if isinstance(within, ModuleType) else ()
    return [*(name for name in dir(within) if name[0] != "_"), *(module.name for module in below)]


def _check_arguments(key: str, node: Mapping[str, Any], target: Any) -> None:
    for name, hint in _annotations(target).items():
        if name in node and not _fits(node[name], hint):
            raise InputError(f"{key}.{name} must be {_said(hint)}, got {written(node[name])}")


def _annotations(target: Any) -> dict[str, Any]:
    """Return the types of a class's or function's arguments, by name; empty where they cannot be read."""
    try:
        function = target.__init__ if inspect.isclass(target) else target
        return {name: hint for name, hint in get_type_hints(function).items() if name != "return"}
    except Exception:
        return {}


def _fits(value: Any, hint: Any) -> bool:
    """Return whether a plain value is of a type; true where the type is not one of plain values."""
    if isinstance(value, Mapping) and "_target_" in value:
        return True
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is Annotated:
        return _fits(value, parts[0])
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in parts)
    if hint in _PLAIN:
        return _PLAIN[hint][1](value)
    if not inspect.isclass(origin or hint):
        return True
    container = origin or hint
    if container is tuple and parts and parts[-1] is not ...:
        return isinstance(value, list | tuple) and len(value) == len(parts) and all(map(_fits, value, parts))
    if issubclass(container, Mapping):
        return isinstance(value, Mapping)
    if issubclass(container, Iterable) and container not in (object,):
        return isinstance(value, list | tuple) and all(
            _fits(item, part) for item in value for part in parts[:1]
        )
    return container is object or not isinstance(value, bool | int | float | str | NoneType | list | tuple)


_PLAIN: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    bool: ("true or false", lambda value: isinstance(value, bool) or (is_whole(value) and value in (0, 1))),
    int: ("a whole number", is_whole),
    float: ("a finite number", is_number),
    str: ("text", lambda value: isinstance(value, str)),
    Path: ("a path", lambda value: isinstance(value, str)),
    NoneType: ("null", lambda value: value is None),
    None: ("null", lambda value: value is None),
    Any: ("anything", lambda value: True),
}


def _said(hint: Any) -> str:
    """Return a type in words.

    Examples:
        >>> _said(float | None), _said(list[int]), _said(Literal["mean", "sum"])
        ('a finite number or null', 'a list, each item a whole number', 'mean or sum')
    """
    *others, last = dict.fromkeys(_words(hint))
    return f"{', '.join(others)} or {last}" if others else last


def _words(hint: Any) -> list[str]:
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return [word for part in parts for word in _words(part)]
    if origin is Literal:
        return [written(one) for one in parts]
    return [_words_of_one(hint, origin, parts)]


def _words_of_one(hint: Any, origin: Any, parts: tuple[Any, ...]) -> str:
    if origin is Annotated:
        return _said(parts[0])
    if hint in _PLAIN:
        return _PLAIN[hint][0]
    container = origin or hint
    if inspect.isclass(container) and issubclass(container, Mapping):
        return "a mapping {NAME: VALUE}"
    if inspect.isclass(container) and issubclass(container, Iterable):
        if container is tuple and parts and parts[-1] is not ...:
            return f"a list of {len(parts)} items"
        return f"a list, each item {_said(parts[0])}" if parts else "a list"
    return "a node with a _target_"
