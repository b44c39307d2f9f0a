"""Enrol people by their images, and name the people of others: what `reid enrol` and `reid identify` do."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from reid_lightning.errors import InputError
from reid_lightning.experiments.quiet import quiet
from reid_lightning.files import atomic_path
from reid_lightning.inference.embed import Embedder, list_images
from reid_lightning.reporting.ranked_lists import RankedImage, RankedList, ranked_lists
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

    Args:
        checkpoint: A checkpoint file written by a run.
        images: A folder with a folder per person, or a table with columns `path` and `person_id`.
        people: The `.npz` file.
        overrides: Hydra overrides of the checkpoint's config.
        name: Whom all images show; then `images` may be any folder or a single image.
        trust: Packages of your own that the checkpoint's config may name; their code is run.

    Raises:
        InputError: An image is enrolled already, or the file holds vectors of another model.
    """
    quiet()
    table = list_images(images, name, people=True)
    embedder = Embedder(checkpoint, overrides, trust)
    if people.exists():
        enrolment = Enrolment.load(people)
        _check_model(enrolment, embedder, people)
    else:
        enrolment = Enrolment(embedder.protocol.distance, embedder.mark)
    paths = [str(Path(path).absolute()) for path in table["path"]]
    enrolment.add(embedder(paths), table["person_id"].tolist(), paths)
    enrolment.save(people)
    _say(
        f"enrolled {_counted(len(paths), table['person_id'].nunique())}; "
        f"{people} holds {_counted(len(enrolment), len(enrolment.people))}"
    )
    return enrolment


def forget(people: Path, name: str) -> None:
    """Remove a person from a file of enrolled people.

    Raises:
        InputError: Nobody of this name is enrolled.
    """
    enrolment = Enrolment.load(people)
    gone = enrolment.remove(name)
    enrolment.save(people)
    _say(
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
        InputError: The file holds vectors of another model, there are no images, or k or the threshold is too small.
    """
    if k < 1:
        raise InputError(f"--k {k} lets no image vote; give 1 or more.")
    if threshold is not None and threshold < 0:
        raise InputError(f"--threshold {threshold} is no distance: give 0 or more, or leave it out.")
    quiet()
    paths = list_images(images)["path"].tolist()
    enrolment = Enrolment.load(people, search)
    embedder = Embedder(checkpoint, overrides, trust)
    _check_model(enrolment, embedder, people)
    found = enrolment.identify(embedder(paths), k, threshold)
    answers = _answers(paths, found)
    if output is None:
        sys.stdout.writelines(json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers)
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
    with atomic_path(output) as temporary:
        if output.suffix.lower() == ".csv":
            rows = []
            for answer in answers:
                best = answer["candidates"][0]
                rows.append(
                    {
                        "image": answer["image"],
                        "name": answer["name"],
                        "candidate": best["name"],
                        "score": best["score"],
                        "distance": best["distance"],
                        "nearest": best["image"],
                    }
                )
            pd.DataFrame(rows).to_csv(temporary, index=False)
        else:
            lines = (json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers)
            temporary.write_text("".join(lines), encoding="utf-8")


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


def _say(text: str) -> None:
    Console(stderr=True).print(text, highlight=False, soft_wrap=True)
