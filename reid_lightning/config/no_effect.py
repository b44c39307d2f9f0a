"""Settings that have no effect in a run, and why.

Three things make a setting idle: what it belongs to says so itself (`config/declared.py`), nothing refers to a key that
only interpolations read, or whom it serves is not there (a miner without a loss that reads its triplets).
"""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf

from reid_lightning.config.declared import unread_by
from reid_lightning.config.resolve import (
    CONF,
    class_of,
    leaves,
    plain,
    plain_unresolved,
    says,
)
from reid_lightning.config.schema import hints, is_known
from reid_lightning.config.trust import LIBRARIES
from reid_lightning.errors import InputError

log = logging.getLogger("reid_lightning")

_REFERENCE = re.compile(r"\$\{(?:oc\.select:)?([A-Za-z_][\w.]*)")


@dataclass(frozen=True)
class Idle:
    """A setting without effect.

    Attributes:
        key: Its dotted name; all keys below it have none either.
        why: Completes "KEY has no effect: ...".
        cause: The one key below it that has an effect: the weight that makes the others idle.
    """

    key: str
    why: str
    cause: str | None = None

    def covers(self, key: str) -> bool:
        """Return whether it speaks of a key."""
        return key != self.cause and (key == self.key or key.startswith(f"{self.key}."))

    def __str__(self) -> str:
        """Return the sentence that a run says."""
        return f"{self.key} has no effect: {self.why}"


def without_effect(config: Any) -> list[Idle]:
    """Return the settings of a config that change nothing in its run.

    Args:
        config: The composed config. Of plain containers, whose interpolations are gone, what only these read is not told.

    Raises:
        InputError: The config cannot be resolved.
    """
    raw: Mapping[str, Any] | None = None
    if OmegaConf.is_config(config):
        raw = plain_unresolved(config)
        for node in ("hydra", "logger"):
            raw.pop(node, None)
        raw["output_dir"] = "."
        config = plain(OmegaConf.create(dict(raw)))
    found = [*_declared(config), *_weightless(config), *_never_applied(config), *_unserved(config)]
    if raw is not None:
        found += _unreferenced(raw)
    return list({idle.key: idle for idle in found}.values())


def _declared(config: Mapping[str, Any]) -> Iterator[Idle]:
    """Yield what the classes that a config names say they do not read."""
    for path, node in _objects(config):
        if str(node["_target_"]).split(".", 1)[0] in set(LIBRARIES) - {"reid_lightning"}:
            continue  # they declare nothing
        target = class_of(node)
        for unread in unread_by(target, node) if target is not None else ():
            if unread.is_group and config.get(unread.name):
                yield Idle(unread.name, f"{unread.why} ({_choice(path, node)})")
            elif unread.name in node:
                conditions = ", ".join(f"{path}.{name}={_text(node.get(name))}" for name in unread.when)
                yield Idle(f"{path}.{unread.name}", f"{unread.why} ({conditions})")


def _weightless(config: Mapping[str, Any]) -> Iterator[Idle]:
    """Yield the terms of the training whose weight is 0."""
    terms = {f"loss.{name}": node for name, node in (config.get("loss") or {}).items()}
    terms["classifier"] = config.get("classifier") or {}
    for key, node in terms.items():
        if node.get("weight", 1) == 0:
            yield Idle(key, f"{key}.weight is 0", f"{key}.weight")


def _never_applied(config: Mapping[str, Any]) -> Iterator[Idle]:
    """Yield changes of images whose probability is 0."""
    for group in ("augmentation", "test_transform"):
        for position, node in enumerate((config.get(group) or {}).get("transforms") or ()):
            if node.get("p") == 0:
                key = f"{group}.transforms.{position}"
                yield Idle(key, f"{key}.p is 0", f"{key}.p")


def _unserved(config: Mapping[str, Any]) -> Iterator[Idle]:
    """Yield miners whose triplets no loss reads, and what concerns metric losses where there are none."""
    losses: Mapping[str, Any] = config.get("loss") or {}
    own = [name for name, node in losses.items() if says(node, "forms_own_pairs")]
    for name in own:
        if losses[name].get("miner"):
            yield Idle(f"loss.{name}.miner", f"loss={name} forms its own pairs from the whole batch")
    if not losses:
        yield Idle("across_ranks", "there is no metric loss")
    if not (config.get("memory") or {}).get("size"):
        for name in ("warmup", "weight"):
            yield Idle(f"memory.{name}", "memory.size is 0")
    if not config.get("miner") or says(config["miner"], "needs_triplets"):
        return  # an offline miner brings the batches, which every loss sees
    readers = [name for name, node in losses.items() if name not in own and "miner" not in node]
    if not losses:
        yield Idle("miner", "there is no metric loss")
    elif not readers:
        others = [name for name in losses if name not in own]
        why = f"{_list(own)} {_form(own)} from the whole batch" if own else ""
        why += " and " if own and others else ""
        why += (
            f"{_list(others)} {'has a miner of its' if len(others) == 1 else 'have miners of their'} own"
            if others
            else ""
        )
        yield Idle("miner", why)


def _form(losses: Sequence[str]) -> str:
    return "forms its own pairs" if len(losses) == 1 else "form their own pairs"


def _unreferenced(raw: Mapping[str, Any]) -> Iterator[Idle]:
    """Yield keys that only interpolations read, where none does."""
    referred = set(_references(raw))
    known = dict(leaves(raw))
    for key in hints():
        if known.get(key, "???") != "???" and key not in referred:
            yield Idle(key, "no other setting of this run refers to it")
    for key in raw:
        if not is_known(key) and not any(other == key or other.startswith(f"{key}.") for other in referred):
            yield Idle(key, "nothing reads a key of this name")


def _references(node: Any) -> Iterator[str]:
    """Yield the keys that a config's interpolations name."""
    if isinstance(node, str):
        yield from _REFERENCE.findall(node)
    elif isinstance(node, Mapping):
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def _objects(node: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the dotted name and the node of everything that a config builds."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield path, node
        for key, value in node.items():
            yield from _objects(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for position, value in enumerate(node):
            yield from _objects(value, f"{path}.{position}")


def told(idle: Iterable[Idle], config: Any, overrides: Sequence[str] = ()) -> list[Idle]:
    """Return those settings without effect that somebody has chosen: by an override, or in a file.

    Args:
        idle: As `without_effect` returns them.
        config: The composed config.
        overrides: The overrides of the run. A setting that none of them names counts where the default config has
            another value; a hint of the data (`data.weights`), which every data set has, does not.
    """
    idle = list(idle)
    named = [key_of(line) for line in overrides]
    chosen = [one for one in idle if any(one.covers(key) for key in named)]
    others = [one for one in idle if one not in chosen and one.key not in hints()]
    if others:
        usual, own = (
            dict(leaves(plain_unresolved(each))) for each in (_defaults(), OmegaConf.create(config))
        )
        for one in others:
            own_values, usual_values = _values(own, one), _values(usual, one)
            if own_values != usual_values and (usual_values or "." not in one.key):
                chosen.append(one)
    return chosen


def _values(values: Mapping[str, Any], idle: Idle) -> dict[str, Any]:
    """Return the single values that somebody may have chosen in vain."""
    return {
        key: value for key, value in values.items() if idle.covers(key) and not isinstance(value, Mapping)
    }


_composed: dict[
    str, Any
] = {}  # the default config by the folders that it is composed from: jobs of a sweep have it in common


def _defaults() -> Any:
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    if not GlobalHydra.instance().is_initialized():
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            return _defaults()
    folders = str(GlobalHydra.instance().config_loader().get_search_path())
    if folders not in _composed:
        _composed[folders] = hydra.compose("config")
    return _composed[folders]


def key_of(override: str) -> str:
    """Return the key that an override sets.

    Examples:
        >>> key_of("pooling=gem"), key_of("+loss.triplet.margin=1"), key_of("miner@loss.triplet.miner=none")
        ('pooling', 'loss.triplet.margin', 'loss.triplet.miner')
    """
    return override.partition("=")[0].lstrip("+~").rpartition("@")[2]


def say_without_effect(config: Any, overrides: Sequence[str] = ()) -> None:
    """Log a line for every chosen setting that has no effect in a run."""
    try:
        idle = without_effect(config)
    except InputError:
        return  # the run says it
    for one in told(idle, config, overrides):
        log.warning("%s", one)


def _choice(path: str, node: Mapping[str, Any]) -> str:
    return f"{path} is {str(node['_target_']).rsplit('.', 1)[-1]}"


def _text(value: Any) -> str:
    return {None: "null", True: "true", False: "false"}.get(value, str(value))


def _list(losses: Sequence[str]) -> str:
    return " and ".join(f"loss={name}" for name in losses)
