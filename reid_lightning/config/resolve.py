"""From a composed Hydra config to plain data and to objects."""

import difflib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from reid_lightning.config.keys import KEYS
from reid_lightning.config.schema import optional
from reid_lightning.errors import InputError

PACKAGE = Path(__file__).resolve().parents[1]
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"

OBJECT_CALLS = ("_target_", "_partial_", "_args_", "_convert_", "_recursive_")

# `${if_set:${backbone.weights},7,0}` is 7 where weights are given and 0 where they are null.
OmegaConf.register_new_resolver(
    "if_set", lambda value, then, otherwise: otherwise if value is None else then, replace=True
)


def plain(config: Any) -> Any:
    """Return an OmegaConf node as resolved dictionaries, lists and scalars.

    Checkpoints and loggers get plain containers: a DictConfig in a checkpoint cannot be loaded safely.

    Raises:
        InputError: A value that has no default (`???`) was not given.
    """
    from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException

    if not OmegaConf.is_config(config):
        return config
    try:
        resolved = OmegaConf.to_container(config, resolve=True)
        missing = [key for key, value in leaves(resolved) if value == "???" and key not in optional()]
    except InterpolationToMissingValueError:
        missing = [key for key, value in leaves(plain_unresolved(config)) if value == "???"]
    except OmegaConfBaseException as error:
        if refusal := _refusal(plain_unresolved(config)):
            raise InputError(refusal) from error
        where = f"{error.full_key}: " if error.full_key else ""
        raise InputError(f"{where}{str(error).splitlines()[0]}") from error
    if missing:
        raise InputError(f"{missing[0]} is not set; give it on the command line as {missing[0]}=...")
    return resolved


def _refusal(config: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the first value that its key does not allow: others may refer to a part of it.

    Examples:
        >>> _refusal({"seed": "abc"})
        'seed must be a whole number >= 0 and <= 4294967295, got abc'
    """
    given = dict(leaves(config))
    for row in KEYS:
        value = given.get(row.name)
        if row.takes is None or value is None or "${" in str(value):
            continue
        if refusal := row.takes.refusal(row.name, value):
            return refusal
    return None


def quoted(value: object) -> str:
    r"""Quote a value for Hydra's override grammar.

    Examples:
        >>> quoted("multirun/loss=a,b's")
        "'multirun/loss=a,b\\'s'"
    """
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", str(value))
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)
    return f"'{escaped}'"


def plain_unresolved(config: Any) -> dict[str, Any]:
    """Return a composed config as plain containers with its interpolations and `???` left as they stand."""
    return OmegaConf.to_container(config, resolve=False)  # type: ignore[return-value]


def instantiate(node: Any, key: str = "", /, **arguments: Any) -> Any:
    """Build what a config node names; what it refuses is reported with the config's key in front.

    Args:
        node: A config node with `_target_` (or containing such nodes), or None.
        key: Where the node stands in the config; a message of what is built gets it in front.
        **arguments: Completes or replaces the node's own arguments.

    Raises:
        InputError: The target cannot be found, an argument is unknown, or the object refuses its arguments (a ValueError).
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate as hydra_instantiate

    try:
        built = hydra_instantiate(node, _convert_="all", **arguments)
        return Keyed.of(key, built) if key and isinstance(built, partial) else built
    except InstantiationException as error:
        cause: BaseException | None = error
        while cause is not None and not (
            isinstance(cause, TypeError | ValueError) or _is_of_lightning(cause)
        ):
            cause = cause.__cause__
        if isinstance(cause, InputError):
            raise cause from error
        sentence, _, inside = " ".join(str(error).split()).partition(" full_key: ")
        where = ".".join(filter(None, (key, _place(node, inside))))
        raise _with_key(where, cause or sentence) from error


def _is_of_lightning(error: BaseException) -> bool:
    """Return whether Lightning refuses a setting; its class is not imported for that."""
    return type(error).__name__ == "MisconfigurationException"


def _place(node: Any, written: str) -> str:
    """Return a key within a node as an override names it; Hydra writes `transforms0` for `transforms[0]`.

    Examples:
        >>> _place({"transforms": [{"p": 2}], "layer4": {"p": 2}}, "transforms0"), _place({"layer4": {}}, "layer4")
        ('transforms[0]', 'layer4')
    """
    steps = []
    for step in filter(None, written.split(".")):
        name, position = re.fullmatch(r"(.*?)(\d*)", step).groups()  # type: ignore[union-attr]
        inside = node if isinstance(node, Mapping) else {}
        in_list = step not in inside and name in inside
        steps.append(f"{name}[{position}]" if in_list else step)
        node = inside[name][int(position)] if in_list else inside.get(step)
    return ".".join(steps)


class Keyed(partial[Any]):
    """A partial of a config, which is completed later; what is refused then is reported with the config's key in front."""

    key: str

    @classmethod
    def of(cls, key: str, unfinished: Any) -> "Keyed":
        """Return a partial that knows its key."""
        keyed = cls(unfinished)
        keyed.key = key
        return keyed

    def __call__(self, /, *arguments: Any, **keywords: Any) -> Any:
        """Complete it."""
        with of_key(self.key):
            return super().__call__(*arguments, **keywords)


@contextmanager
def of_key(key: str) -> Iterator[None]:
    """Tell what a class refuses within the block with the config's key in front, as `instantiate` does."""
    try:
        yield
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise _with_key(key, error) from error


def _with_key(key: str, error: object) -> InputError:
    """Return a class's own sentence, which begins with the name of an argument or not, with the config's key in front.

    Examples:
        >>> _with_key("loss.triplet", ValueError("margin must be >= 0, got -1"))
        InputError('loss.triplet.margin must be >= 0, got -1')
        >>> _with_key("loss.triplet", ValueError("it is Monday"))
        InputError('loss.triplet: it is Monday')
    """
    message = " ".join(str(error).split())
    names_argument = re.match(r"[a-z_][\w.]* (must|names) ", message)
    return InputError(f"{key}{'.' if names_argument else ': '}{message}" if key else message)


def class_of(node: Any) -> Any:
    """Return what a config node would build; None where there is no such thing, which its building reports better."""
    from hydra.utils import get_object

    try:
        return get_object(node["_target_"]) if node else None
    except Exception:
        return None


def says(node: Any, fact: str, otherwise: Any = False) -> Any:
    """Return what the class of a config node says of itself in its `spec`, or as an attribute."""
    declaring = class_of(node)
    spec = getattr(declaring, "spec", None)
    return getattr(spec if hasattr(spec, fact) else declaring, fact, otherwise)


def nodes(config: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the key and the content of every mapping in a plain config, the outer ones first."""
    if isinstance(config, Mapping):
        yield path, config
        for key, value in config.items():
            yield from nodes(value, f"{path}.{key}" if path else str(key))
    elif isinstance(config, list | tuple):
        for position, value in enumerate(config):
            yield from nodes(value, f"{path}[{position}]")


def targets(config: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield (config key, `_target_`) for every object that a plain config would build."""
    if isinstance(config, Mapping):
        for key, value in config.items():
            where = f"{path}.{key}" if path else str(key)
            if key == "_target_":
                yield where, str(value)
            else:
                yield from targets(value, where)
    elif isinstance(config, list | tuple):
        for position, value in enumerate(config):
            yield from targets(value, f"{path}[{position}]")


def leaves(config: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of every key of a plain config, groups of keys included."""
    if isinstance(config, Mapping):
        for key, value in config.items():
            where = f"{path}.{key}" if path else str(key)
            yield where, value
            yield from leaves(value, where)


def nearest_key(wrong: str, config: Any) -> str | None:
    """Return the config key closest to a misspelled one, or None when nothing is near.

    Examples:
        >>> nearest_key("loss.triplet.margn", {"loss": {"triplet": {"margin": 0.3}}})
        'loss.triplet.margin'
        >>> nearest_key("loss.margin", {"loss": {"triplet": {"margin": 0.3}}})
        'loss.triplet.margin'
    """
    known = [key for key, _ in leaves(config) if key.rsplit(".", 1)[-1] not in OBJECT_CALLS]
    same_leaf = [key for key in known if key.rsplit(".", 1)[-1] == wrong.rsplit(".", 1)[-1]]
    found = difflib.get_close_matches(wrong, same_leaf, 1, 0.3) or difflib.get_close_matches(
        wrong, known, 1, 0.6
    )
    return found[0] if found else None
