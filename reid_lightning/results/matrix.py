"""Numbers of several models on several data sets: terminal, CSV, JSON, pictures and page."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from reid_lightning import __version__
from reid_lightning.files import atomic_path
from reid_lightning.reporting.cells import write_csv
from reid_lightning.reporting.matrix_charts import Timed, heat_map, map_over_latency
from reid_lightning.reporting.matrix_page import write_matrix_page
from reid_lightning.reporting.terminal import as_it_is, say


@dataclass(frozen=True)
class ModelCost:
    """What a model costs.

    Attributes:
        model: Its name.
        path: Its file or folder.
        parameters: Of the network; None where it could not be loaded, as what follows.
        megabytes: Size of the file.
        image_size: Height and width in pixels.
        milliseconds: For the vector of one image, without decoding.
        images_per_second: In batches of 32.
        device: Where that was measured.
    """

    model: str
    path: str
    parameters: int | None = None
    megabytes: float | None = None
    image_size: tuple[int, int] | None = None
    milliseconds: float | None = None
    images_per_second: float | None = None
    device: str = ""


@dataclass(frozen=True)
class Cell:
    """A model on a data set.

    Attributes:
        model: The model's name.
        data: The data set's.
        folder: Where its own results lie, below that of the comparison.
        scores: Numbers of the test, as fractions; empty where it failed or has no identities.
        interval: The 95 % interval of the mAP over people.
        protocol: How the numbers were taken.
        error: Why it failed; empty where it did not.
        note: Why there are no scores although it did not fail.
    """

    model: str
    data: str
    folder: str
    scores: dict[str, float] = field(default_factory=dict)
    interval: list[float] | None = None
    protocol: str = ""
    error: str = ""
    note: str = ""


def write_matrix(
    costs: Sequence[ModelCost], cells: Sequence[Cell], overrides: Sequence[str], output_dir: Path
) -> None:
    """Print the table, and write `matrix.csv`, `matrix.json`, the pictures and `report.html`.

    Args:
        costs: A value per model.
        cells: A value per model and data set.
        overrides: Of all evaluations.
        output_dir: The folder of the comparison.
    """
    by_model = {cost.model: cost for cost in costs}
    content = {
        "version": __version__,
        "overrides": list(overrides),
        "models": [asdict(cost) for cost in costs],
        "cells": [asdict(cell) for cell in cells],
    }
    with atomic_path(output_dir / "matrix.json") as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    write_csv(pd.DataFrame([_row(cell, by_model[cell.model]) for cell in cells]), output_dir / "matrix.csv")
    timed = _draw(costs, cells, output_dir)
    sets = list(dict.fromkeys(cell.data for cell in cells))
    values = {(cell.model, cell.data): cell.scores["mAP"] for cell in cells if cell.scores}
    write_matrix_page(
        output_dir / "report.html",
        title=_title(costs, cells),
        head=_HEAD,
        rows=[_shown(cell, by_model[cell.model]) for cell in cells],
        links=[cell.folder if cell.scores or cell.note else "" for cell in cells],
        notes=_notes(cells),
        facts=_facts(costs, cells, overrides),
        sets=sets,
        heat=[(cost.model, [values.get((cost.model, data)) for data in sets]) for cost in costs]
        if values
        else [],
        timed=timed,
    )
    _print(cells, by_model, output_dir)


def _row(cell: Cell, cost: ModelCost) -> dict[str, Any]:
    low, high = cell.interval or (None, None)
    return {
        "model": cell.model,
        "data": cell.data,
        "mAP": cell.scores.get("mAP"),
        "mAP_low": low,
        "mAP_high": high,
        **{name: value for name, value in cell.scores.items() if name != "mAP"},
        "ms_per_image": cost.milliseconds,
        "images_per_second": cost.images_per_second,
        "parameters": cost.parameters,
        "megabytes": cost.megabytes,
        "device": cost.device,
        "checkpoint": cost.path,
        "folder": cell.folder,
        "protocol": cell.protocol,
        "failed": cell.error or cell.note,
    }


_HEAD = (
    "model", "data", "mAP", "95 % interval", "Rank-1", "ms per image", "images/s at 32", "parameters", "file",
)  # fmt: skip


def _shown(cell: Cell, cost: ModelCost) -> tuple[str, ...]:
    """Return a row as a reader sees it."""
    if cell.scores:
        pair = cell.interval
        interval = f"{100 * pair[0]:.1f} to {100 * pair[1]:.1f}" if pair else ""
        numbers = [f"{100 * cell.scores['mAP']:.1f}", interval, _percent(cell.scores, "rank1")]
    else:
        numbers = ["no identities" if cell.note else "failed", "", ""]
    costs = [
        "" if value is None else f"{value:{form}}{unit}"
        for value, form, unit in (
            (cost.milliseconds, ".1f", ""),
            (cost.images_per_second, ",.0f", ""),
            (None if cost.parameters is None else cost.parameters / 1e6, ".2f", " M"),
            (cost.megabytes, ".1f", " MB"),
        )
    ]
    return (cell.model, cell.data, *numbers, *costs)


def _percent(scores: Mapping[str, float], name: str) -> str:
    return f"{100 * scores[name]:.1f}" if name in scores else ""


def _notes(cells: Sequence[Cell]) -> list[str]:
    """Return a sentence for every pair without scores."""
    failed = [f"{cell.model} on {cell.data} failed: {cell.error}" for cell in cells if cell.error]
    return failed + [f"{cell.model} on {cell.data}: {cell.note}" for cell in cells if cell.note]


def _facts(costs: Sequence[ModelCost], cells: Sequence[Cell], overrides: Sequence[str]) -> dict[str, str]:
    facts = {}
    for cell in cells:
        if cell.protocol:
            same = [
                other.model for other in cells if (other.data, other.protocol) == (cell.data, cell.protocol)
            ]
            facts[f"{', '.join(same)} on {cell.data}"] = cell.protocol
    if devices := sorted({cost.device for cost in costs if cost.device}):
        facts["Times on"] = f"{'; '.join(devices)}; the vector alone, without reading and decoding images"
    if overrides:
        facts["Settings"] = " ".join(overrides)
    return facts | {cost.model: cost.path for cost in costs}


def _title(costs: Sequence[ModelCost], cells: Sequence[Cell]) -> str:
    sets = list(dict.fromkeys(cell.data for cell in cells))
    models = f"{len(costs)} models" if len(costs) > 1 else costs[0].model
    return f"{models} on {f'{len(sets)} data sets' if len(sets) > 1 else sets[0]}"


def _draw(costs: Sequence[ModelCost], cells: Sequence[Cell], output_dir: Path) -> list[Timed]:
    """Draw the pictures, and return the points of mAP over time where several models have some."""
    models, sets = [cost.model for cost in costs], list(dict.fromkeys(cell.data for cell in cells))
    scored = [cell for cell in cells if cell.scores]
    if not scored:
        return []
    values = {(cell.model, cell.data): cell.scores["mAP"] for cell in scored}
    file = output_dir / "heat_map.png"
    heat_map(models, sets, values, file)
    times = {cost.model: cost.milliseconds for cost in costs}
    timed = [
        Timed(cell.model, cell.data, time, cell.scores["mAP"], cell.interval)
        for cell in scored
        if (time := times[cell.model]) is not None
    ]
    if len({point.model for point in timed}) < 2:
        return []
    map_over_latency(timed, output_dir / "map_over_latency.png")
    return timed


def _print(cells: Sequence[Cell], costs: Mapping[str, ModelCost], output_dir: Path) -> None:
    shown = [_shown(cell, costs[cell.model]) for cell in cells]
    console = Console()
    for columns, rows in (
        (slice(0, 5), shown),
        (slice(5, None), {row[0]: row for row in shown}.values()),  # of each model once
    ):
        table = Table(show_edge=False, pad_edge=False)
        for place, name in enumerate(_columns(_HEAD, columns)):
            words = name in _HEAD[:2]
            table.add_column(name, justify="left" if words else "right", overflow="fold", no_wrap=place > 1)
        for row in rows:
            table.add_row(*map(as_it_is, _columns(row, columns)))
        console.print()
        console.print(table)
    for note in _notes(cells):
        say(note, console=console)
    say(f"report: {output_dir / 'report.html'}", console=console)


def _columns(row: Sequence[str], columns: slice) -> list[str]:
    """Return some columns of a row, the model's name before them."""
    return [*row[columns]] if not columns.start else [row[0], *row[columns]]
