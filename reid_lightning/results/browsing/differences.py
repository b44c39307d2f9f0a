"""What differs between two runs beside their numbers: settings, data and code."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reid_lightning.config.plain_file import read_mapping
from reid_lightning.config.schema import changes_result, repetitions
from reid_lightning.errors import printable
from reid_lightning.results.summary import METRICS

FIRST = ("seed", "data", "loss")
"""Keys whose differences are named in the sentence and stand first in the list."""
SHOWN = 30
LONGEST = 120
"""Rows of the list, and characters of a value."""


@dataclass(frozen=True)
class Differences:
    """What differs, in words and as a list.

    Attributes:
        sentence: What to make of it.
        rows: Key, value of the first run and of the second; empty where one has no such key.
        more: Rows that are left out.
    """

    sentence: str
    rows: list[tuple[str, str, str]]
    more: int = 0


def differences(first: Path, second: Path) -> Differences:
    """Return what differs between two runs, by the settings and the counts in their folders.

    Settings of the machine and of the place count for nothing: they change no result.
    """
    configs = [read_mapping(folder / "config.yaml") for folder in (first, second)]
    counts = [_counts(folder) for folder in (first, second)]
    rows = (
        [row for row in _differing(configs[0], configs[1]) if changes_result(row[0])] if all(configs) else []
    )
    seeds = {row[1:] for row in rows if row[0] in repetitions()}
    rows = [
        row for row in rows if row[0] in repetitions() or not (row[0].endswith("seed") and row[1:] in seeds)
    ]
    rows += [
        (key, *values)
        for key in counts[0]
        if "" not in (values := (counts[0][key], counts[1][key])) and values[0] != values[1]
    ]
    rows.sort(key=lambda row: (_place(row[0]), row[0]))
    return Differences(
        _sentence(rows, all(configs)), [_short(row) for row in rows[:SHOWN]], max(0, len(rows) - SHOWN)
    )


def _counts(folder: Path) -> dict[str, str]:
    """Return how many images a run had, which people it counted and by which version, as far as known."""
    numbers = read_mapping(folder / METRICS)
    data, people = (
        found if isinstance(found := numbers.get(name), dict) else {} for name in ("data", "people")
    )
    return {
        "data: images": str(data.get("images", "")),
        "data: people in training": str(people.get("train", "")),
        "data: people in the test": str(people.get("test", "")),
        "version of reid-lightning": str(numbers.get("version", "")),
    }


def _differing(
    first: Mapping[str, Any], second: Mapping[str, Any], above: str = ""
) -> Iterator[tuple[str, str, str]]:
    """Yield key and both values wherever two trees of settings differ, a changed option as a whole.

    Examples:
        >>> list(_differing({"loss": {"triplet": {"margin": 0.3}}, "lr": 1}, {"loss": {"circle": {}}, "lr": 2}))
        [('loss', 'triplet', 'circle'), ('lr', '1', '2')]
        >>> list(_differing({"neck": {"_target_": "a.B", "x": 1}}, {"neck": {"_target_": "a.C"}}))
        [('neck', 'B', 'C')]
    """
    first, second = ({str(k): v for k, v in side.items() if v is not None} for side in (first, second))
    targets = first.get("_target_"), second.get("_target_")
    if targets[0] != targets[1]:
        yield above or "_target_", _target(targets[0]), _target(targets[1])
        return
    own = [[key for key in a if key not in b] for a, b in ((first, second), (second, first))]
    if above and any(
        isinstance(side[key], Mapping)
        for side, keys in zip((first, second), own, strict=True)
        for key in keys
    ):
        yield above, ", ".join(own[0]), ", ".join(own[1])
        own = [[], []]
    for key in sorted({*first, *second}):
        name = f"{above}.{key}" if above else key
        a, b = first.get(key), second.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            yield from _differing(a, b, name)
        elif (key in first and key in second and a != b) or key in own[0] or key in own[1]:
            yield name, _text(a), _text(b)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return _target(value["_target_"]) if "_target_" in value else ", ".join(map(str, value))
    return "" if value is None else str(value)


def _target(name: Any) -> str:
    return str(name or "").rsplit(".", 1)[-1]


def _place(key: str) -> int:
    return next((place for place, name in enumerate(FIRST) if _is_of(key, name)), len(FIRST))


def _is_of(key: str, name: str) -> bool:
    return key == name or key.startswith((f"{name}.", f"{name}:"))


def _short(row: tuple[str, str, str]) -> tuple[str, str, str]:
    key, first, second = (
        text if len(text := printable(one)) <= LONGEST else f"{text[:LONGEST]} ..." for one in row
    )
    return key, first, second


def _sentence(rows: list[tuple[str, str, str]], known: bool) -> str:
    if not known:
        return "What differs between the runs is not known: config.yaml of one of them is missing or damaged."
    if not rows:
        return "No setting that changes a result differs; the machine or the code may."
    if all(key in repetitions() for key, _, _ in rows):
        return "Only the seed differs: what stands here is how much two trainings of one setting differ by chance."
    named = [name for name in FIRST if any(_is_of(key, name) for key, _, _ in rows)]
    others = sum(_place(key) == len(FIRST) for key, _, _ in rows)
    listed = [f"the {name}" for name in named] + (
        [f"{others} other {'setting' if others == 1 else 'settings'}"] if others else []
    )
    said = listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} and {listed[-1]}"
    if len(rows) == 1:
        return f"The runs differ in {said if named else rows[0][0]} alone."
    return f"The runs differ in {said}: the difference of the mAP is that of all of these together."
