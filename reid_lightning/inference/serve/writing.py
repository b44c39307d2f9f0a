"""Changes of a served gallery, done by one thread: those that wait are written together, and small segments are joined."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reid_lightning.errors import InputError
from reid_lightning.inference.gallery.columns import OWN, PROBABILITIES, to_arrow
from reid_lightning.inference.gallery.gallery import Gallery
from reid_lightning.inference.serve.pictures import Kept, Pictures
from reid_lightning.inference.serve.problems import Problem, without_place


@dataclass(frozen=True, eq=False)
class Enrol:
    """An image that is to be added.

    Attributes:
        vector: (D,).
        looks: (C,) probabilities of its attributes; None where the model answers none.
        picture: That is kept; None: none is.
        known: What is known of it, by column, checked by `checked_row`.
    """

    vector: NDArray[np.float32]
    looks: NDArray[np.float32] | None
    picture: Kept | None
    known: dict[str, Any]


@dataclass(frozen=True)
class Enrolled:
    """An image in the gallery.

    Attributes:
        id: Its own.
        already: Whether it was there before.
    """

    id: int
    already: bool


@dataclass(frozen=True)
class Forget:
    """What is to be removed: all images of a person, or one by its id."""

    person: str | None
    image: int | None


def checked_row(known: dict[str, Any], gallery: Gallery) -> dict[str, Any]:
    """Return what is known of an image as the gallery holds it.

    Raises:
        Problem: A column is not one of the gallery's, a cell does not fit it, or the person has no name.
    """
    columns = [name for name in gallery.manifest.asked if name not in (*OWN, "path")]
    if unknown := [name for name in known if name not in columns]:
        raise Problem(
            422,
            f"{unknown[0]} is not a column that this gallery takes; its columns are {', '.join(columns)}.",
        )
    try:
        table, _ = to_arrow(pd.DataFrame([known], dtype=object), gallery.manifest.kinds, "The request")
    except InputError as error:
        raise Problem(422, without_place(error, gallery.address)) from error
    row: dict[str, Any] = table.to_pylist()[0]
    if not row["person_id"]:
        raise Problem(422, "person_id must name a person, and -1 or an empty name stands for nobody.")
    return {name: value for name, value in row.items() if value is not None}


class Writer:
    """Changes a gallery; only one thread uses it.

    Args:
        gallery: That it alone uses.
        model: Fingerprint and preprocessing of the model.
        pictures: Where enrolled pictures lie.
    """

    def __init__(self, gallery: Gallery, model: tuple[str, str], pictures: Pictures) -> None:
        self._gallery, self._model, self._pictures = gallery, model, pictures

    def sweep(self) -> None:
        """Remove pictures without a row: of forgotten people, or written by a server that was killed before the row."""
        if self._pictures.is_there:
            with self._pictures.changing():
                self._gallery.refresh()
                self._pictures.sweep(self._gallery.arrow(columns=["path"])["path"].to_pylist())

    def work(self, items: Sequence[Enrol | Forget]) -> list[Enrolled | int | Exception]:
        """Do changes in their order; neighbors that add images are written as one segment."""
        done: list[Enrolled | int | Exception] = []
        run: list[Enrol] = []
        for item in (*items, None):
            if isinstance(item, Enrol):
                run.append(item)
                continue
            done += self._added(run)
            run = []
            if item is not None:
                done.append(self._tried(lambda item=item: self._forget(item)))
        return done

    def _added(self, rows: list[Enrol]) -> Sequence[Enrolled | Exception]:
        """Add images together, or one by one where that fails."""
        if not rows:
            return []
        found = self._tried(lambda: self._add(rows))
        if not isinstance(found, Exception):
            return found
        return [found] if len(rows) == 1 else [self._added([row])[0] for row in rows]

    def _tried(self, work: Any) -> Any:
        try:
            return work()
        except Problem as problem:
            return problem
        except (InputError, OSError) as error:
            said = getattr(error, "strerror", None) or without_place(error, self._gallery.address)
            return Problem(503, f"The gallery cannot be changed now: {said}", retry_after=10)

    def _add(self, rows: list[Enrol]) -> list[Enrolled | Exception]:
        """Add images in one change. A picture that is there already keeps its row."""
        pictures = [row.picture for row in rows if row.picture is not None]
        if len(pictures) < len(rows):  # all or none are kept
            return [Enrolled(number, False) for number in self._write(rows, [None] * len(rows))]
        with self._pictures.changing():
            self._gallery.refresh()
            paths = [str(self._pictures.path(picture.name)) for picture in pictures]
            there = self._there(paths)
            fresh = {
                path: row for path, row in reversed([*zip(paths, rows, strict=True)]) if path not in there
            }
            for picture in pictures:
                self._pictures.write(picture)
            if fresh:
                numbers = self._write([*fresh.values()], [*fresh])
                for (path, row), number in zip(fresh.items(), numbers, strict=True):
                    there[path] = (number, row.known["person_id"])
        answers: list[Enrolled | Exception] = []
        for path, row in zip(paths, rows, strict=True):
            number, person = there[path]
            if person == row.known["person_id"]:
                answers.append(Enrolled(number, path not in fresh))
            else:
                said = f"The picture is enrolled already, as another person (id {number}): forget that image first."
                answers.append(Problem(409, said))
            fresh.pop(path, None)
        return answers

    def _there(self, paths: Sequence[str]) -> dict[str, tuple[int, str | None]]:
        """Return id and person of those pictures that the gallery has."""
        found = self._gallery.arrow(f"path in ({', '.join(map(quoted, paths))})", ["path", "id", "person_id"])
        columns = (found[name].to_pylist() for name in ("path", "id", "person_id"))
        return {path: (number, person) for path, number, person in zip(*columns, strict=True)}

    def _write(self, rows: Sequence[Enrol], paths: Sequence[str | None]) -> list[int]:
        """Write a segment, and return the ids; the vectors of another model do not stay."""
        cells = [row.known | {"path": path} for row, path in zip(rows, paths, strict=True)]
        if self._gallery.manifest.attributes is not None:
            for cell, row in zip(cells, rows, strict=True):
                cell[PROBABILITIES] = row.looks
        table = pd.DataFrame(cells, dtype=object)
        ids = self._gallery.add(np.stack([row.vector for row in rows]), table).tolist()
        try:
            self._gallery.require_model(*self._model)
        except InputError:
            self._gallery.remove(ids=ids)
            raise
        self._gallery.join_small()
        return [int(number) for number in ids]

    def _forget(self, item: Forget) -> int:
        self._gallery.refresh()
        condition = f"id = {item.image}" if item.person is None else f"person_id = {quoted(item.person)}"
        if not len(self._gallery.arrow(condition, ["id"])):
            what = f"with the id {item.image}" if item.person is None else f"of {item.person}"
            raise Problem(404, f"The gallery holds no image {what}.")
        count = self._gallery.remove(where=condition)
        self.sweep()
        return count


def quoted(text: str) -> str:
    """Return text as a value of a condition.

    Examples:
        >>> print(quoted('a "b"'))
        "a \\"b\\""
    """
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'
