"""The gallery of a server: read as it is now by many requests, changed by one thread."""

import copy
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from reid_lightning.errors import InputError
from reid_lightning.inference.gallery.attributes import Wish, agreements
from reid_lightning.inference.gallery.columns import PROBABILITIES
from reid_lightning.inference.gallery.filters import parse_condition
from reid_lightning.inference.gallery.gallery import Gallery
from reid_lightning.inference.gallery.search import Hits
from reid_lightning.inference.serve.batching import Batcher
from reid_lightning.inference.serve.pictures import Pictures
from reid_lightning.inference.serve.problems import Problem, without_place
from reid_lightning.inference.serve.writing import Enrol, Enrolled, Forget, Writer

MOST_SEARCHES, MOST_CHANGES = 64, 256  # in a batch
HIDDEN = ("path", PROBABILITIES)  # columns that no client sees: where files lie, and a long list


@dataclass(frozen=True)
class Question:
    """A search.

    Attributes:
        embedded: (D,) of the picture; None: attributes alone are searched for.
        looks: (C,) attributes of the picture.
        top: Length of the list.
        where: A condition, checked by `People.check`.
        like: Attributes in words, likewise.
        explain: Whether each answer says which attributes it shares.
    """

    embedded: Tensor | None
    looks: Tensor | None
    top: int
    where: str | None
    like: str | None
    explain: bool

    @property
    def kind(self) -> tuple[str | None, str | None, bool, bool]:
        """What questions share that one search answers."""
        return self.where, self.like, self.embedded is None, self.explain


@dataclass(frozen=True)
class Found:
    """Answers to a question.

    Attributes:
        rows: `rank`, `distance`, `id`, `known` (columns by name), `agrees` and `differs` (None where not asked for).
        how: How they were found.
        images: In the gallery.
    """

    rows: list[dict[str, Any]]
    how: str
    images: int


class People:
    """A gallery that many requests share.

    Args:
        address: The gallery.
        fingerprint: Of the model.
        preprocessing: Of the model, in one line.
        read_only: Whether nothing of it is touched.
        seen: Called with the kind ("search", "change") and the size of every batch.

    Raises:
        InputError: It is not a gallery, or one of another model.
    """

    def __init__(
        self,
        address: Path | str,
        fingerprint: str,
        preprocessing: str,
        read_only: bool = False,
        seen: Callable[[str, int], None] = lambda kind, size: None,
    ) -> None:
        self._model = (fingerprint, preprocessing)
        self._reader, self._lock = Gallery(address), threading.Lock()
        self._state: object = None
        self.address = self._reader.address
        self.pictures = Pictures(self._reader.folder if self._reader.in_folder else None)
        self._reader.require_model(*self._model)
        writer = Writer(Gallery(address), self._model, self.pictures)
        if not read_only:
            writer.sweep()
        self._searches: Batcher[Question, Found] = Batcher(
            "search", self._answer, MOST_SEARCHES, seen=lambda size: seen("search", size)
        )
        self._changes: Batcher[Enrol | Forget, Enrolled | int] = Batcher(
            "gallery", writer.work, MOST_CHANGES, seen=lambda size: seen("change", size)
        )

    def view(self) -> Gallery:
        """Return the gallery as it is now, whoever has changed it; it stays so while it is used.

        Raises:
            Problem: It is gone, damaged, or was embedded again with another model.
        """
        try:
            state = self._reader.store.state()
            with self._lock:
                if state != self._state:
                    self._reader.refresh()
                    self._reader.require_model(*self._model)
                    self._state = state
                return copy.copy(self._reader)
        except (InputError, OSError) as error:
            said = getattr(error, "strerror", None) or without_place(error, self.address)
            raise Problem(503, f"The gallery cannot be used now: {said}", retry_after=10) from error

    def check(self, where: str | None, like: str | None) -> None:
        """Refuse a condition or attributes that cannot be read.

        Raises:
            Problem: They cannot.
        """
        view = self.view()
        columns = {name: kind for name, kind in view.manifest.asked.items() if name not in HIDDEN}
        try:
            if where is not None:
                parse_condition(where, columns, "where")
            if like is not None:
                view.wish(like)
        except InputError as error:
            raise Problem(422, without_place(error, self.address)) from error

    async def search(self, question: Question) -> Found:
        """Return the answers to a question; questions of several requests are searched for together."""
        return await self._searches(question)

    async def enrol(self, row: Enrol) -> Enrolled:
        """Add an image; it is on the disk on return."""
        done = await self._changes(row)
        assert isinstance(done, Enrolled)
        return done

    async def forget(self, person: str | None, image: int | None) -> int:
        """Remove a person, or an image; return how many images are gone from the disk."""
        done = await self._changes(Forget(person, image))
        assert isinstance(done, int)
        return done

    def counted(self, after: str | None, limit: int) -> tuple[list[tuple[str, int]], bool]:
        """Return people with the number of their images in the order of their names, and whether there are more.

        Args:
            after: Those whose names come after this one; None: from the first on.
            limit: How many at most.
        """
        names = self.view().arrow(columns=["person_id"])["person_id"].drop_null()
        if after is not None:
            names = names.filter(pc.greater(names, pa.scalar(after)))
        counts = {each["values"]: each["counts"] for each in names.value_counts().to_pylist()}
        first = sorted(counts, key=lambda name: name.encode())[: limit + 1]
        return [(name, counts[name]) for name in first[:limit]], len(first) > limit

    def thumbnail(self, image: int) -> bytes | None:
        """Return an image by its id as a small JPEG; None if there is none, or its file cannot be read."""
        try:
            path = self.view().rows([image])["path"].iloc[0]
        except InputError:
            return None
        return self.pictures.thumbnail(path) if isinstance(path, str) else None

    def close(self) -> None:
        """Finish what waits, and end the threads."""
        self._searches.close()
        self._changes.close()

    def _answer(self, questions: Sequence[Question]) -> list[Found | Exception]:
        """Search once for all questions of one kind."""
        found: list[Found | Exception | None] = [None] * len(questions)
        view = self.view()
        for kind in dict.fromkeys(question.kind for question in questions):
            places = [place for place, question in enumerate(questions) if question.kind == kind]
            try:
                answers: Sequence[Found | Exception] = self._together(
                    view, [questions[place] for place in places]
                )
            except InputError as error:  # the gallery has changed since `check`
                said = without_place(error, self.address)
                answers = [Problem(503, said, retry_after=1)] * len(places)
            for place, answer in zip(places, answers, strict=True):
                found[place] = answer
        assert all(answer is not None for answer in found)
        return [answer for answer in found if answer is not None]

    def _together(self, view: Gallery, questions: Sequence[Question]) -> list[Found]:
        first, top = questions[0], max(question.top for question in questions)
        wish = None if first.like is None else view.wish(first.like)
        vectors = None
        if first.embedded is not None:
            vectors = torch.stack(
                [question.embedded for question in questions if question.embedded is not None]
            )
        hits = view.search(vectors, top, first.where, like=wish)
        if vectors is None:  # one list answers all
            same = np.zeros(len(questions), np.int64)
            hits = Hits(hits.ids[same], hits.distances[same], hits.how)
        tops = np.asarray([question.top for question in questions])
        shown = (hits.ids >= 0) & (np.arange(hits.ids.shape[1]) < tops[:, None])
        table = view.looks(hits.ids[shown])
        told = _told(table, questions, shown, view, wish)
        rows = table.drop_columns([name for name in HIDDEN if name in table.column_names]).to_pylist()
        answers: list[list[dict[str, Any]]] = [[] for _ in questions]
        places = zip(*shown.nonzero(), strict=True)
        for (query, rank), row, distance, (agrees, differs) in zip(
            places, rows, hits.distances[shown].tolist(), told, strict=True
        ):
            answers[query].append(
                {
                    "rank": int(rank) + 1,
                    "distance": distance,
                    "id": row.pop("id"),
                    "known": row,
                    "agrees": agrees,
                    "differs": differs,
                }
            )
        return [Found(rows, hits.how, len(view)) for rows in answers]


def _told(
    table: pa.Table, questions: Sequence[Question], shown: Any, view: Gallery, wish: Wish | None
) -> Sequence[tuple[str | None, str | None]]:
    """Say of each answer which attributes it has and has not, where that is asked for and known."""
    schema = view.manifest.attributes
    if questions[0].explain and schema is not None:
        if wish is not None:
            return wish.told(table)
        looks = [question.looks for question in questions if question.looks is not None]
        if len(looks) == len(questions):
            return agreements(torch.stack(looks)[shown.nonzero()[0]], table, schema)
    return [(None, None)] * len(table)
