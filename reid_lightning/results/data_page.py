"""The page of a data set: what a run would see, before it is trained on."""

import hashlib
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
from reid_lightning.folders import replaced
from reid_lightning.reporting.render import write_page
from reid_lightning.reporting.strips import write_strip
from reid_lightning.results.data_charts import attribute_table, camera_table, charts, pair_table

PAGE = "index.html"
FILES = "index_files"
"""Folder beside the page."""
SHEET = "people.js"
PEOPLE, FOUND = "people", "found"
"""What it holds: what the page's script reads, and folders of thumbnails."""
NOBODIES = 16  # distractors that are shown
SAMPLE = 4  # people of the validation that are shown
_CELL = 48  # width of a cell, pixels

Advance = Callable[[int], object]


@dataclass(frozen=True)
class Validation:
    """What validation will be.

    Attributes:
        sentence: The result as a sentence, or the reason if there is none.
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
    """Write `index.html`, and beside it a folder of thumbnails and of what the page's script reads.

    Both take the place of those of an earlier page when they are whole.

    Args:
        folder: Receives the page.
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
    with replaced(folder / FILES, SHEET) as part:
        _write(folder, part, table, schema, facts, findings, validation, image_size, command, advance)


def _write(
    folder: Path,
    part: Path,
    table: pd.DataFrame,
    schema: AttributeSchema,
    facts: ImageFacts,
    findings: Sequence[Finding],
    validation: Validation,
    image_size: Sequence[int],
    command: str,
    advance: Advance,
) -> None:
    """Write the page of `write_data_page`, and what stands beside it into `part`."""
    people = choose_people(table, facts)
    for name in (PEOPLE, FOUND):
        (part / name).mkdir()
    paths = table["path"].tolist()
    sheet = _write_people(part, people, table, validation, paths, advance)
    said = json.dumps(sheet, separators=(",", ":"))
    mark = hashlib.blake2b(said.encode("ascii"), digest_size=8).hexdigest()
    (part / SHEET).write_text(f'const PEOPLE = {said};\nconst MARK = "{mark}";\n', encoding="ascii")
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
        findings=_shown(part, findings, facts, paths),
        validation=validation,
        sample=[person for person in sheet if person["role"] == "validation"][:SAMPLE],
        shown=len(sheet),
        most=MOST_PEOPLE,
        distractors=len(nobodies),
        nobodies=_nobodies(part, nobodies, facts, paths),
        script=f"{FILES}/{SHEET}",
        mark=mark,
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


def _write_people(
    part: Path,
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
        width, height = write_strip([paths[row] for row in person.rows], part / file)
        held = person.name in validation.people
        splits = {"train" if held is False and split[row] == "val" else split[row] for row in person.rows}
        role = "validation" if held else "test" if splits & {"query", "gallery"} else "training"
        return {
            "name": printable(person.name),
            "role": role,
            "images": person.images,
            "file": f"{FILES}/{file}",
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
    part: Path, findings: Iterable[Finding], facts: ImageFacts, paths: Sequence[str]
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
                width, _ = write_strip([paths[row] for row in readable], part / file, 128)
                number += 1
            examples.append(
                {
                    "file": file and f"{FILES}/{file}",
                    "width": width * len(readable),
                    "text": printable(example.text),
                    "paths": [printable(paths[row]) for row in example.rows],
                }
            )
        shown.append({"finding": finding, "examples": examples})
    return shown


def _nobodies(part: Path, rows: np.ndarray, facts: ImageFacts, paths: Sequence[str]) -> list[str]:
    """Write some distractors, evenly spaced, and return the files."""
    readable = [int(row) for row in rows if int(row) not in facts.damaged]
    chosen = readable[:: -(-len(readable) // NOBODIES) or 1]
    files = [f"{FOUND}/{9000 + place}.jpg" for place in range(len(chosen))]
    for row, file in zip(chosen, files, strict=True):
        write_strip([paths[row]], part / file, cell=_CELL)
    return [f"{FILES}/{file}" for file in files]


def _printable(value: Any) -> Any:
    """Return the same with every text printable."""
    if isinstance(value, dict):
        return {name: _printable(inside) for name, inside in value.items()}
    if isinstance(value, list):
        return [_printable(inside) for inside in value]
    return printable(value) if isinstance(value, str) else value


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
