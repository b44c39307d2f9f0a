"""What a run leaves: numbers with their protocol, per-query results, pictures and a page."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning import Trainer
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.table import Table

from reid_lightning import __version__
from reid_lightning.data.datamodule import ReIDDataModule
from reid_lightning.files import atomic_path
from reid_lightning.training.callbacks import Cost
from reid_lightning.training.module import ReIDModule


@dataclass
class Stopwatch:
    """Seconds spent in each stage of a job, in their order."""

    seconds: dict[str, float] = field(default_factory=dict)

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
        score: Validation mAP of the chosen checkpoint, which a sweep optimises; None without validation.
        validation: Numbers of the best validation, by name, as fractions.
        test: Numbers of the test set, seen once.
        protocol: The evaluation protocol in one line.
        cost: Throughput, memory, parameters and seconds per stage.
    """

    score: float | None
    validation: dict[str, float]
    test: dict[str, float]
    protocol: str
    cost: dict[str, Any]


@rank_zero_only
def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")
