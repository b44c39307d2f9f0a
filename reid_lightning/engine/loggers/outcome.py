"""What a run gives its loggers at its end, as one value, and how each kind of logger takes it.

`record` is the one door: a logger of another package joins by `@record.register(ItsClass)`. One that cannot go on with the
curves of a run that is continued gets them again by `log_earlier`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import singledispatch
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger

from reid_lightning.reporting.tables import Curve, Table


@dataclass(frozen=True)
class Outcome:
    """What a run has found.

    Attributes:
        numbers: Of the summary, by name; mappings and intervals become names with slashes (`flat`).
        notes: Sentences by name.
        pictures: Finished picture files by name.
        tables: By name.
        curves: By name.
        model: The checkpoint with its card beside it; None for none.
    """

    numbers: Mapping[str, Any] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    pictures: Mapping[str, Path] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    model: Path | None = None


@singledispatch
def record(logger: Logger, outcome: Outcome) -> None:
    """Give a run's outcome to a logger; one that nobody has registered takes the numbers.

    Args:
        logger: Of the run.
        outcome: What it has found, or a part of it.
    """
    numbers = {name: float(value) for name, value in flat(outcome.numbers) if isinstance(value, int | float)}
    if numbers:
        logger.log_metrics(numbers)
        logger.save()  # the trainer has closed its loggers


@singledispatch
def log_earlier(logger: Logger, rows: Sequence[tuple[int, Mapping[str, float]]]) -> None:
    """Give a logger the curves of the epochs before a run was continued, where it has lost them; most have them still.

    Args:
        logger: Of the run.
        rows: Step and values by name, oldest first.
    """


def record_all(loggers: Sequence[Logger], outcome: Outcome) -> None:
    """Give a run's outcome to all of its loggers."""
    for logger in loggers:
        record(logger, outcome)


def flat(numbers: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield numbers and texts by a name with slashes; a pair is an interval.

    Examples:
        >>> dict(flat({"cost": {"gflops": 1.5}, "interval": {"test": [0.1, 0.2]}, "protocol": "cosine"}))
        {'cost/gflops': 1.5, 'interval/test/low': 0.1, 'interval/test/high': 0.2, 'protocol': 'cosine'}
    """
    for name, value in numbers.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}/")
        elif isinstance(value, list | tuple) and len(value) == 2:
            yield from (
                (f"{prefix}{name}/{end}", bound) for end, bound in zip(("low", "high"), value, strict=True)
            )
        elif isinstance(value, str | int | float):
            yield f"{prefix}{name}", value
