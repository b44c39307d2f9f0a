"""Answers of a command: printed as JSON lines, or written as JSON lines or CSV."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from reid_lightning.errors import InputError
from reid_lightning.files import atomic_path, require_output
from reid_lightning.reporting.cells import write_csv
from reid_lightning.reporting.terminal import json_line

_OTHER_FORMATS = (".xlsx", ".xls", ".ods", ".parquet", ".tsv", ".npz", ".png", ".jpg")


def counted(count: int, one: str) -> str:
    """Return a number of things in words.

    Examples:
        >>> counted(1, "image"), counted(2000, "group")
        ('1 image', '2,000 groups')
    """
    return f"{count:,} {one}{'s' * (count != 1)}"


def short_path(path: str) -> str:
    """Return a file's path from the current folder where it lies in it: a whole path breaks over many lines."""
    return path.removeprefix(f"{Path.cwd()}{os.sep}")


def is_csv(output: Path | None) -> bool:
    """Tell whether answers are written as CSV."""
    return output is not None and output.suffix.lower() == ".csv"


def require_answers(output: Path) -> None:
    """Refuse an output that cannot be written, or whose ending promises another format than CSV and JSON lines.

    Raises:
        InputError: It is one of these.
    """
    if output.suffix.lower() in _OTHER_FORMATS:
        raise InputError(
            f"{output} cannot be written as {output.suffix}: answers are CSV or JSON lines, so name a file that ends in "
            ".csv or .jsonl."
        )
    require_output(output)


def write_answers(answers: Sequence[Mapping[str, Any]], output: Path | None) -> None:
    """Write answers atomically.

    Args:
        answers: All with the same keys; for CSV no value is a list or a mapping.
        output: A `.csv` file, or any other for JSON lines; None prints JSON lines.

    Raises:
        InputError: The file cannot be written.
    """
    if output is None:
        sys.stdout.writelines(json_line(answer) + "\n" for answer in answers)
    elif is_csv(output):
        write_csv(as_table(answers), output)
    else:
        with atomic_path(output) as temporary:
            temporary.write_text("".join(json_line(answer) + "\n" for answer in answers), encoding="utf-8")


def as_table(answers: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return answers as a table, in which text may be any bytes that a file's name may hold."""
    columns = {}
    for name in answers[0]:
        values = [answer[name] for answer in answers]
        is_number = any(type(value) in (int, float) for value in values)
        columns[name] = pd.Series(values) if is_number else pd.Series(values, dtype=object)
    return pd.DataFrame(columns)
