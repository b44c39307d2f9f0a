"""What a model card says, as plain values: they lie beside the checkpoint, and travel with a saved model."""

import importlib.metadata
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from reid_lightning import __version__
from reid_lightning.config.plain_file import read_mapping, read_plain
from reid_lightning.data.table import camera_keys, identity_keys
from reid_lightning.errors import printable
from reid_lightning.files import atomic_path
from reid_lightning.models.network import ReIDNetwork

FACTS = "card.json"
_PACKAGES = ("torch", "lightning", "timm", "torchvision", "albumentations")
_HUGE = 1e12  # no number of a card; neither is one that is not finite


@dataclass(frozen=True)
class CardFacts:
    """What a card says beyond the config.

    Attributes:
        checkpoint: Name of the file that the numbers are of.
        finished: Whether the run has ended; before that, the numbers are those of the best validation so far.
        command: Overrides that the run was started with; empty where they are not known.
        choices: Chosen option of each group.
        data: A row for each source and split: `source`, `split`, `images`, `identities`, `cameras`.
        protocol: How the numbers were taken, in one line.
        validation: Numbers of the checkpoint's own validation, as fractions.
        test: Numbers of the test set.
        intervals: The 95 % interval of the mAP, by stage.
        reports: Numbers of tasks and reports, by name.
        lines: What tasks and reports say of their numbers, as "title: numbers".
        cost: Parameters, GFLOPs, images a second and seconds per stage, as far as known.
        versions: Version of each package.
    """

    checkpoint: str = ""
    finished: bool = False
    command: list[str] = field(default_factory=list)
    choices: dict[str, str] = field(default_factory=dict)
    data: list[dict[str, Any]] = field(default_factory=list)
    protocol: str = ""
    validation: dict[str, float] = field(default_factory=dict)
    test: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, list[float]] = field(default_factory=dict)
    reports: dict[str, dict[str, float]] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    cost: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return plain containers."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Any) -> "CardFacts":
        """Return the facts of a file, which anybody may have written: what does not fit is left out.

        Examples:
            >>> facts = CardFacts.from_dict({"protocol": 3, "finished": True, "x": 1, "test": {"mAP": "high", "rank1": 1}})
            >>> facts.protocol, facts.finished, facts.test
            ('', True, {'rank1': 1})
        """
        content = content if isinstance(content, Mapping) else {}
        default = cls()
        kept: dict[str, Any] = {}
        for one in fields(cls):
            value = content.get(one.name)
            if type(value) is type(getattr(default, one.name)):
                kept[one.name] = value
        return cls(
            **kept
            | {
                "command": [item for item in kept.get("command", []) if isinstance(item, str)],
                "lines": [item for item in kept.get("lines", []) if isinstance(item, str)],
                "choices": _of_text(kept.get("choices")),
                "versions": _of_text(kept.get("versions")),
                "data": [row for row in kept.get("data", []) if isinstance(row, dict)],
                "validation": _numbers(kept.get("validation")),
                "test": _numbers(kept.get("test")),
                "intervals": {
                    name: pair
                    for name, pair in kept.get("intervals", {}).items()
                    if isinstance(pair, list) and len(pair) == 2 and all(map(_is_number, pair))
                },
                "reports": {name: _numbers(scores) for name, scores in kept.get("reports", {}).items()},
                "cost": _numbers(kept.get("cost"))
                | {"seconds": _numbers(kept.get("cost", {}).get("seconds"))},
            }
        )


def write_facts(facts: CardFacts, folder: Path) -> None:
    """Write facts beside the checkpoint that they are of."""
    with atomic_path(folder / FACTS) as temporary:
        temporary.write_text(json.dumps(facts.as_dict(), indent=2) + "\n", encoding="utf-8")


def read_facts(file: Path) -> CardFacts:
    """Return the facts of a file; empty ones where it is missing, too large or damaged."""
    content = read_mapping(file)
    return CardFacts.from_dict(content) if content else CardFacts()


def facts_beside(checkpoint: Path, entry: Mapping[str, Any]) -> CardFacts:
    """Return the facts of a checkpoint: those beside it if they are its own, and what it says itself otherwise.

    Args:
        checkpoint: The file, or the folder of a saved model.
        entry: Its entry of ours.
    """
    if entry.get("card"):
        return CardFacts.from_dict(entry["card"])
    validation = _numbers(entry.get("validation"))
    facts = read_facts(checkpoint.parent / FACTS)
    if facts.checkpoint == checkpoint.name and facts.validation == (validation or facts.validation):
        return facts  # and not of a file that has been replaced since
    interval = entry.get("validation_interval")
    return CardFacts.from_dict(
        {
            "checkpoint": checkpoint.name,
            "validation": validation,
            "intervals": {"validation": interval} if interval else {},
            "versions": {"reid-lightning": str(entry.get("version"))},
        }
    )


def versions() -> dict[str, str]:
    """Return the versions of what a model is trained with."""
    found = {"reid-lightning": __version__}
    for package in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def counts(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return images, identities and cameras of every source and split of a table; distractors count as images."""
    rows = []
    for (source, split), part in table.groupby(["source", "split"], sort=False, observed=True):
        rows.append(
            {
                "source": str(source),
                "split": str(split),
                "images": len(part),
                "identities": int(identity_keys(part[~part["distractor"]]).nunique()),
                "cameras": int(camera_keys(part).nunique()),
            }
        )
    return rows


def of_hydra(output_dir: Path) -> tuple[list[str], dict[str, str]]:
    """Return the overrides of a run and the chosen options, from what Hydra has written into the run's folder."""
    folder, command, choices = output_dir / ".hydra", [], {}
    read = read_plain(folder / "overrides.yaml")
    if isinstance(read, list):
        command = [without_place(item) for item in read if isinstance(item, str)]
    with suppress(AttributeError, KeyError, TypeError, OSError):
        status = os.stat(folder / "hydra.yaml")
        content = _read_once(folder / "hydra.yaml", status.st_mtime_ns, status.st_size)
        chosen = content["hydra"]["runtime"]["choices"]
        listed = {name: ", ".join(map(str, o)) if isinstance(o, list) else o for name, o in chosen.items()}
        choices = {
            name: option for name, option in listed.items() if not name.startswith("hydra/") and option
        }
    return command, _of_text(choices)


@lru_cache(maxsize=1)
def _read_once(file: Path, written: int, size: int) -> dict[str, Any]:
    """Return what a file holds, which is read once for all cards and pages of a run."""
    return read_mapping(file)


def without_place(override: str) -> str:
    """Leave a folder of this machine out of an override.

    Examples:
        >>> without_place("data.root=/home/me/market"), without_place("optimizer.lr=1e-3")
        ('data.root=DIR', 'optimizer.lr=1e-3')
    """
    key, equals, value = override.partition("=")
    return f"{key}=DIR" if equals and value.strip("'\"").startswith(("/", "~")) else printable(override)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _HUGE


def _numbers(values: Any) -> dict[str, Any]:
    items = values.items() if isinstance(values, Mapping) else ()
    return {str(name): value for name, value in items if _is_number(value)}


def _of_text(values: Any) -> dict[str, str]:
    items = values.items() if isinstance(values, Mapping) else ()
    return {str(name): value for name, value in items if isinstance(value, str)}


def feed_of(network: ReIDNetwork) -> dict[str, Any]:
    """Return how images come into a network: mean and deviation of the pixels, and how files are resized."""
    feed: Any = getattr(network, "feed", None)
    if feed is not None:
        return feed.as_dict()
    normalize = network.normalize
    return {
        "mean": normalize.mean.flatten().tolist(),
        "std": normalize.std.flatten().tolist(),
        "interpolation": "area",
    }
