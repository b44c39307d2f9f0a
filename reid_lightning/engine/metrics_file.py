"""`metrics.csv`: a row per logged step, which a kill or a full disk leaves readable."""

import csv
import io
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from reid_lightning.files import atomic_path, writing


class MetricsFile(Logger):
    """Appends a row at once for whatever is logged; a new column rewrites the file beside its place.

    Lightning's logger empties the file before it writes a new header, and deletes the rows of an earlier run.

    Args:
        folder: The run's folder.
        epochs: Rows of so many epochs stay, those of the checkpoint that the run continues from; what came after it is
            trained, validated and tested again. 0 keeps none.
    """

    def __init__(self, folder: str | Path, epochs: int = 0) -> None:
        super().__init__()
        self.file = Path(folder) / "metrics.csv"
        self._columns: list[str] = []
        self._begin(epochs)

    @property
    def name(self) -> str:
        """No name: the run's folder has one."""
        return ""

    @property
    def version(self) -> str:
        """No version: a folder holds one run."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run's folder."""
        return str(self.file.parent)

    def earlier(self) -> list[tuple[int, dict[str, float]]]:
        """Return the rows of the epochs that a continued run has trained before: step, and values by name."""
        return [
            (
                int(row["step"]),
                {name: float(value) for name, value in row.items() if value and name != "step"},
            )
            for row in _rows(self.file)
            if row.get("step")
        ]

    @rank_zero_only
    def _begin(self, epochs: int) -> None:
        rows = _of_training(_rows(self.file), epochs)
        self._columns = sorted({name for row in rows for name, value in row.items() if value})
        if rows:
            self._write(rows)
        else:
            self.file.unlink(missing_ok=True)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: `config.yaml` has them."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Append a row.

        Args:
            metrics: Values by name.
            step: Optimizer steps before this one.

        Raises:
            InputError: The disk is full, or the folder cannot be written to.
        """
        row = {name: value.item() if isinstance(value, Tensor) else value for name, value in metrics.items()}
        row["step"] = step
        new = row.keys() - set(self._columns)
        if new:
            self._columns = sorted(new.union(self._columns))
            self._write([*_rows(self.file), row])
            return
        with writing(self.file), self.file.open("a", newline="", encoding="utf-8") as file:
            file.write(self._text([row]))

    def _write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        with atomic_path(self.file) as temporary:
            temporary.write_text(
                self._text([dict(zip(self._columns, self._columns, strict=True)), *rows]),
                encoding="utf-8",
                newline="",
            )

    def _text(self, rows: Sequence[Mapping[str, Any]]) -> str:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._columns, extrasaction="ignore")
        writer.writerows(rows)
        return text.getvalue()


def _rows(file: Path) -> list[dict[str, str]]:
    """Return the rows of a file; a last one without its end, which was being written, is left out."""
    if not file.is_file():
        return []
    text = file.read_bytes().decode(errors="replace")
    whole = text[: text.rfind("\n") + 1]
    rows = csv.DictReader(io.StringIO(whole, newline=""))
    return [row for row in rows if None not in row and None not in row.values()]


def _of_training(rows: Sequence[Mapping[str, str]], epochs: int) -> list[Mapping[str, str]]:
    """Return the rows of the first epochs of training, without those of a test."""
    kept: list[Mapping[str, str]] = []
    for row in rows:
        if float(row.get("epoch") or 0) >= epochs:
            break
        kept.append(row)
    return [row for row in kept if not any(value and name.startswith("test/") for name, value in row.items())]
