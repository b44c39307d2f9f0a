"""The numbers of a run."""

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from reid_lightning.errors import InputError
from reid_lightning.files import read_own

METRICS = "metrics.json"
LARGEST = 10**15  # whole number of a run


@dataclass
class Stopwatch:
    """Seconds spent in each stage of a job, in their order."""

    seconds: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the body's time to a stage."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


@dataclass(frozen=True)
class RunResult:
    """The numbers of a run.

    Attributes:
        score: Validation mAP of the chosen checkpoint (or what `callbacks.best.monitor` names), which a sweep optimizes;
            None without validation.
        validation: Numbers of the chosen checkpoint's own validation, by name, as fractions.
        test: Numbers of the test set, seen once.
        protocol: How the data was split and the evaluation protocol, in one line.
        cost: Throughput, memory, parameters, GFLOPs of an image and seconds per stage.
        people: How many the training (validation among them) and the queries show.
        data: How many images there are, were left out, and occur twice in which way.
        intervals: Lower and upper end of the 95 % interval of the mAP over people, by stage, where there is one.
        note: Why there are no numbers of a test, in a sentence; empty where there are, or where there was no test.
        epoch: Epochs that the chosen checkpoint was trained for; None where none was chosen.
        reports: Scores of tasks and reports, by their name; those without any are left out.
    """

    score: float | None
    validation: dict[str, float]
    test: dict[str, float]
    protocol: str
    cost: dict[str, Any]
    people: dict[str, int] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    intervals: dict[str, list[float]] = field(default_factory=dict)
    note: str = ""
    epoch: int | None = None
    reports: dict[str, dict[str, float]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain containers, a key of its own for each report: the content of `metrics.json`."""
        written = asdict(self)
        for name in ("note", "epoch"):
            if written[name] in ("", None):
                del written[name]
        return written | written.pop("reports")

    @classmethod
    def read(cls, folder: Path) -> "RunResult":
        """Return the numbers of a run's folder.

        Raises:
            InputError: `metrics.json` is missing or is not one of ours.
        """
        file = folder / METRICS
        try:
            content = json.loads(read_own(file))
            known = {name: content[name] for name in ("score", "validation", "test", "protocol", "cost")}
            optional = {
                name: content[name]
                for name in ("people", "data", "intervals", "note", "epoch")
                if name in content
            }
            _check(known | optional)
        except OSError as error:
            raise InputError(f"{file} cannot be read: name the folder of a finished run.") from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(
                f"{file} does not hold the numbers of a run: name the folder of a finished run."
            ) from error
        others = content.keys() - known.keys() - optional.keys() - {"version"}
        reports = {
            name: content[name] for name in content if name in others and isinstance(content[name], dict)
        }
        return cls(**known, **optional, reports=reports)


def _check(content: Mapping[str, Any]) -> None:
    """Refuse what a run has not written.

    Raises:
        ValueError: A value is of another kind, or no number that is as small as any of a run.
        KeyError: One is missing.
    """
    cost = content["cost"]
    _require(_is_number(content["score"]) or content["score"] is None)
    _require(isinstance(content["protocol"], str) and isinstance(content.get("note", ""), str))
    epoch = content.get("epoch")
    _require(epoch is None or isinstance(epoch, int))
    for values in (content["validation"], content["test"], cost["seconds"], content.get("people", {})):
        _require(isinstance(values, dict) and all(map(_is_number, values.values())))
    for values in (content["validation"], content["test"]):
        _require(all(math.isfinite(value) for name, value in values.items() if name.startswith("queries")))
    _require(isinstance(content.get("data", {}), dict) and _is_number(cost["parameters"]))
    _require(
        all(_is_number(value) for name, value in cost.items() if name != "seconds" and value is not None)
    )
    for pair in content.get("intervals", {}).values():
        _require(isinstance(pair, list) and len(pair) == 2 and all(map(_is_number, pair)))


def _require(holds: bool) -> None:
    if not holds:
        raise ValueError


def _is_number(value: Any) -> bool:
    """Tell whether a value is a number: also none (NaN) and infinity, which JSON of Python knows, and no huge one."""
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < LARGEST)
