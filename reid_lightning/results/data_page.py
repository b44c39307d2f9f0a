"""The page of a data set: what a run would see, before it is trained on."""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reid_lightning.data.attributes import AttributeSchema
from reid_lightning.data.findings import Finding
from reid_lightning.data.image_facts import ImageFacts
from reid_lightning.data.overview import overview
from reid_lightning.data.people_sheet import MOST_PEOPLE, Shown, choose_people
from reid_lightning.data.published import compare_published
from reid_lightning.data.table import describe_protocols, describe_table, identity_keys
from reid_lightning.data.table_checks import remarks
from reid_lightning.errors import printable
from reid_lightning.files import atomic_path, writing
from reid_lightning.reporting.render import write_page
from reid_lightning.reporting.strips import write_strip
from reid_lightning.results.data_charts import attribute_table, camera_table, charts, pair_table

PAGE = "index.html"
PEOPLE, FOUND = "people", "found"
"""Folders of thumbnails beside the page."""
NOBODIES = 16  # distractors that are shown
SAMPLE = 4  # people of the validation that are shown
_CELL = 48  # width of a cell, pixels

Advance = Callable[[int], object]


@dataclass(frozen=True)
class Validation:
    """What validation will be.

    Attributes:
        sentence: In words, the reason where there is none.
        people: Their `source/person_id`.
        numbers: What is counted, by its name.
    """

    sentence: str
    people: frozenset[str] = frozenset()
    numbers: tuple[tuple[str, int], ...] = ()


def write_data_page(
    folder: Path,
    table: pd.DataFrame,
    schema: AttributeSchema,
    facts: ImageFacts,
    findings: Sequence[Finding],
    validation: Validation,
    image_size: Sequence[int],
    command: str,
    advance: Advance = lambda pictures: None,
) -> None:
    """Write `index.html`, `people.js` and thumbnails into a folder.

    Args:
        folder: Receives the page; thumbnails of an earlier page are removed.
        table: Sources put together, N rows.
        schema: The attributes.
        facts: Of the same rows.
        findings: As `data.findings.find` returns them.
        validation: As the data module holds it out.
        image_size: Height and width that a run resizes to.
        command: That makes the page again.
        advance: Told how many more people's thumbnails are written.

    Raises:
        InputError: The folder cannot be written.
    """
    people = choose_people(table, facts)
    for name in (PEOPLE, FOUND):
        _empty(folder / name)
    paths = table["path"].tolist()
    sheet = _write_people(folder, people, table, validation, paths, advance)
    with writing(folder / "people.js"), atomic_path(folder / "people.js") as temporary:
        temporary.write_text(
            f"const PEOPLE = {json.dumps(sheet, separators=(',', ':'))};\n", encoding="utf-8"
        )
    seen = overview(table, schema)
    sources = [str(source) for source in table["source"].unique()]
    nobodies = np.flatnonzero(table["distractor"].to_numpy(bool))
    write_page(
        "data.html.j2",
        folder / PAGE,
        title=f"Data: {printable(', '.join(sources))}",
        command=printable(command),
        sources=[_source(table[table["source"] == source], source) for source in sources],
        remarks=[printable(sentence) for sentence in remarks(table)],
        images=len(table),
        people=identity_keys(table[~table["distractor"]]).nunique(),
        charts=charts(seen, facts, image_size),
        image_size=list(image_size),
        cameras=_printable(camera_table(seen, len(sources) == 1)),
        pairs=_printable(pair_table(seen, len(sources) == 1)),
        attributes=_printable(attribute_table(seen)),
        tracklets=len(seen.tracklets),
        findings=_shown(folder, findings, facts, paths),
        validation=validation,
        sample=[person for person in sheet if person["role"] == "validation"][:SAMPLE],
        shown=len(sheet),
        most=MOST_PEOPLE,
        distractors=len(nobodies),
        nobodies=_nobodies(folder, nobodies, facts, paths),
    )


def _source(rows: pd.DataFrame, source: str) -> dict[str, Any]:
    counts = describe_table(rows)
    return {
        "name": printable("; ".join(describe_protocols(rows)) or source),
        "columns": list(counts.columns),
        "rows": [
            (split, [int(value) for value in row])
            for split, row in zip(counts.index, counts.to_numpy(), strict=True)
        ],
        "compared": compare_published(rows, source),
    }


def _empty(folder: Path) -> None:
    """Make a folder, or remove the numbered thumbnails of an earlier page from it."""
    with writing(folder / "0.jpg"):
        folder.mkdir(parents=True, exist_ok=True)
        for file in folder.glob("*.jpg"):
            if file.stem.isdigit() and not file.is_dir():
                file.unlink()


def _write_people(
    folder: Path,
    people: Sequence[Shown],
    table: pd.DataFrame,
    validation: Validation,
    paths: Sequence[str],
    advance: Advance,
) -> list[dict[str, Any]]:
    """Write a strip for each person and return what the page's script reads."""
    split, camera = table["split"].to_numpy(object), table["camera_id"].fillna("").to_numpy(object)

    def write(place: int) -> dict[str, Any]:
        person = people[place]
        file = f"{PEOPLE}/{place:05}.jpg"
        width, height = write_strip([paths[row] for row in person.rows], folder / file)
        held = person.name in validation.people
        splits = {"train" if held is False and split[row] == "val" else split[row] for row in person.rows}
        role = "validation" if held else "test" if splits & {"query", "gallery"} else "training"
        return {
            "name": printable(person.name),
            "role": role,
            "images": person.images,
            "file": file,
            "size": [width * len(person.rows), height],
            "cameras": [printable(camera[row]) for row in person.rows],
            "alike": person.alike,
        }

    found = []
    with ThreadPoolExecutor(_cores()) as pool:
        for entry in pool.map(write, range(len(people))):
            found.append(entry)
            advance(1)
    return found


def _shown(
    folder: Path, findings: Iterable[Finding], facts: ImageFacts, paths: Sequence[str]
) -> list[dict[str, Any]]:
    """Write the thumbnails of findings."""
    shown, number = [], 0
    for finding in findings:
        examples = []
        for example in finding.examples:
            readable = [row for row in example.rows if row not in facts.damaged]
            file, width = "", 0
            if readable:
                file = f"{FOUND}/{number:04}.jpg"
                width, _ = write_strip([paths[row] for row in readable], folder / file, 128)
                number += 1
            examples.append(
                {
                    "file": file,
                    "width": width * len(readable),
                    "text": printable(example.text),
                    "paths": [printable(paths[row]) for row in example.rows],
                }
            )
        shown.append({"finding": finding, "examples": examples})
    return shown


def _nobodies(folder: Path, rows: np.ndarray, facts: ImageFacts, paths: Sequence[str]) -> list[str]:
    """Write some distractors, evenly spaced, and return the files."""
    readable = [int(row) for row in rows if int(row) not in facts.damaged]
    chosen = readable[:: -(-len(readable) // NOBODIES) or 1]
    files = [f"{FOUND}/{9000 + place}.jpg" for place in range(len(chosen))]
    for row, file in zip(chosen, files, strict=True):
        write_strip([paths[row]], folder / file, cell=_CELL)
    return files


def _printable(value: Any) -> Any:
    """Return the same with every text printable."""
    if isinstance(value, dict):
        return {name: _printable(inside) for name, inside in value.items()}
    if isinstance(value, list):
        return [_printable(inside) for inside in value]
    return printable(value) if isinstance(value, str) else value


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
