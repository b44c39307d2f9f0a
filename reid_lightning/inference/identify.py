"""Enrol people by their images, and name the people of others: what `reid enrol` and `reid identify` do."""

import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from reid_lightning.errors import InputError
from reid_lightning.experiments.quiet import quiet
from reid_lightning.files import atomic_path, require_output
from reid_lightning.inference.embed import VECTORS, Embedder, list_images
from reid_lightning.inference.options import require_choice, require_option
from reid_lightning.reporting.cells import write_csv
from reid_lightning.reporting.ranked_lists import RankedImage, RankedList, ranked_lists, require_sheet
from reid_lightning.reporting.terminal import json_line, say
from reid_lightning.retrieval.identification import Enrolment, Identification
from reid_lightning.retrieval.neighbour_index import IndexKind

QUERIES_SHOWN, CANDIDATES_SHOWN = 20, 5
UNKNOWN = "unknown"


def enrol(
    checkpoint: Path,
    images: Path,
    people: Path,
    overrides: Sequence[str] = (),
    name: str | None = None,
    trust: Sequence[str] = (),
) -> Enrolment:
    """Add people to a file of enrolled people, which is made if it is not there.

    Other commands may change the file meanwhile: the people are added to what it holds when their images have been
    embedded, so that of a person who is removed in the meantime only the images of this command are enrolled.

    Args:
        checkpoint: A checkpoint file written by a run, or the folder of a saved model.
        images: A folder with a folder per person, or a table with columns `path` and `person_id`.
        people: The `.npz` file.
        overrides: Hydra overrides of the checkpoint's config.
        name: Whom all images show; then `images` may be any folder or a single image.
        trust: Packages of your own that the checkpoint's config may name; their code is run.

    Raises:
        InputError: An image is enrolled already, the name is empty, or the file holds vectors of another model or cannot
            be written.
    """
    require_option("--name", name is None or bool(name.strip()), "not be empty", repr(name))
    quiet()
    table = list_images(images, name, people=True)
    before = Enrolment.load(people) if os.path.exists(people) else None
    require_output(people, [] if before else VECTORS)
    embedder = Embedder(checkpoint, overrides, trust)
    if before is not None:
        _check_model(before, embedder, people)
    paths = [str(Path(path).absolute()) for path in table["path"]]
    vectors = embedder(paths)
    with Enrolment.changing(people, Enrolment(embedder.protocol.distance, embedder.mark)) as enrolment:
        _check_model(enrolment, embedder, people)
        enrolment.add(vectors, table["person_id"].tolist(), paths)
    say(
        f"enrolled {_counted(len(paths), table['person_id'].nunique())}; "
        f"{people} holds {_counted(len(enrolment), len(enrolment.people))}"
    )
    return enrolment


def forget(people: Path, name: str) -> None:
    """Remove a person from a file of enrolled people, whatever other commands do with it at the same time.

    Raises:
        InputError: Nobody of this name is enrolled, or the file cannot be written.
    """
    with Enrolment.changing(people) as enrolment:
        gone = enrolment.remove(name)
    say(
        f"removed {gone} image{'s' * (gone > 1)} of {name}; "
        f"{people} holds {_counted(len(enrolment), len(enrolment.people))}"
    )


def identify(
    checkpoint: Path,
    people: Path,
    images: Path,
    overrides: Sequence[str] = (),
    k: int = 5,
    threshold: float | None = None,
    search: IndexKind = "exact",
    output: Path | None = None,
    sheet: Path | None = None,
    trust: Sequence[str] = (),
) -> Identification:
    """Name the people of images, a line each, and draw them beside their candidates.

    Args:
        checkpoint: The checkpoint that the people were enrolled with.
        people: The `.npz` file of enrolled people.
        images: An image, a folder, or a table with a column `path`.
        overrides: Hydra overrides of the checkpoint's config.
        k: Nearest enrolled images that vote.
        threshold: Largest distance at which a person is known; None names everybody.
        search: How neighbours are found, see `neighbour_index.build_index`.
        output: A `.csv` file, or any other for JSON lines; None prints JSON lines.
        sheet: Picture of the first queries with their candidates.
        trust: Packages of your own that the checkpoint's config may name; their code is run.

    Raises:
        InputError: The file holds vectors of another model, there are no images, an option is out of range, or an output
            cannot be written.
    """
    require_option("--k", k >= 1, "be 1 or more", k)
    fits = threshold is None or (threshold >= 0 and math.isfinite(threshold))
    require_option("--threshold", fits, "be a number from 0 on", threshold)
    require_choice("--search", search, get_args(IndexKind))
    quiet()
    if output is not None:
        require_output(output)
    if sheet is not None:
        require_sheet(sheet)
    paths = list_images(images)["path"].tolist()
    enrolment = Enrolment.load(people, search)
    embedder = Embedder(checkpoint, overrides, trust)
    _check_model(enrolment, embedder, people)
    found = enrolment.identify(embedder(paths), k, threshold)
    answers = _answers(paths, found)
    if output is None:
        sys.stdout.writelines(json_line(answer) + "\n" for answer in answers)
    else:
        _write(answers, output)
    if sheet is not None:
        ranked_lists(_lists(answers[:QUERIES_SHOWN]), sheet)
    return found


def _check_model(enrolment: Enrolment, embedder: Embedder, people: Path) -> None:
    if enrolment.model != embedder.mark:
        raise InputError(
            f"{people} was written with another checkpoint, or with vectors taken otherwise (evaluation.feature, flip, "
            "data.image_size); use the same, or enrol the people again into a new file."
        )
    if enrolment.distance != embedder.protocol.distance:
        raise InputError(
            f"{people} compares by evaluation.distance={enrolment.distance}, not {embedder.protocol.distance}; choose "
            "that, or enrol the people again into a new file."
        )


def _answers(paths: Sequence[str], found: Identification) -> list[dict[str, Any]]:
    """Return, for each image, its name (None: unknown) and the candidates, best first."""
    candidates = found.candidates
    answers = []
    for row, (path, name) in enumerate(zip(paths, found.names, strict=True)):
        columns = (candidates.people, candidates.scores, candidates.distances, found.nearest_images)
        lines = zip(*(column[row].tolist() for column in columns), strict=True)
        several = [
            {
                "name": found.people[person],
                "score": round(score, 4),
                "distance": round(distance, 6),
                "image": found.images[nearest],
            }
            for person, score, distance, nearest in lines
            if person >= 0
        ]
        answers.append({"image": path, "name": name, "candidates": several})
    return answers


def _write(answers: Sequence[dict[str, Any]], output: Path) -> None:
    if output.suffix.lower() == ".csv":
        rows = []
        for answer in answers:
            best = answer["candidates"][0] if answer["candidates"] else {}
            rows.append(
                {
                    "image": answer["image"],
                    "name": answer["name"],
                    "candidate": best.get("name"),
                    "score": best.get("score"),
                    "distance": best.get("distance"),
                    "nearest": best.get("image"),
                }
            )
        columns = {name: pd.Series([row[name] for row in rows]) for name in ("score", "distance")}
        texts = {name: pd.Series([row[name] for row in rows], dtype=object) for name in rows[0]}
        write_csv(pd.DataFrame(texts | columns), output)
    else:
        with atomic_path(output) as temporary:
            temporary.write_text("".join(json_line(answer) + "\n" for answer in answers), encoding="utf-8")


def _lists(answers: Sequence[dict[str, Any]]) -> list[RankedList]:
    """Return the sheet's lines: the chosen candidate is green, the others are grey."""
    lists = []
    for answer in answers:
        images = [
            RankedImage(
                Path(candidate["image"]),
                True if place == 0 and answer["name"] is not None else None,
                candidate["distance"],
                f"{candidate['name']} {100 * candidate['score']:.0f} %",
            )
            for place, candidate in enumerate(answer["candidates"][:CANDIDATES_SHOWN])
        ]
        label = answer["name"] or UNKNOWN
        lists.append(
            RankedList(Path(answer["image"]), Path(answer["image"]).stem, None, tuple(images), label)
        )
    return lists


def _counted(images: int, people: int) -> str:
    return f"{images} image{'s' * (images != 1)} of {people} {'person' if people == 1 else 'people'}"
