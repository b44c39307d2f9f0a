"""Who is this: the nearest images of enrolled people vote, and people are enrolled without training (HiQo 2019)."""

import os
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from reid_lightning.arguments import as_choice, as_number, as_path, as_text, as_texts, as_whole, shown
from reid_lightning.data.cells import is_one_line
from reid_lightning.distances import Distance
from reid_lightning.errors import InputError
from reid_lightning.files import file_lock, require_output
from reid_lightning.retrieval.calibration import Calibration
from reid_lightning.retrieval.enrolled import (
    PerPerson,
    nearest_images,
    person_means,
    refuse_duplicates,
    same_images,
)
from reid_lightning.retrieval.identified import Identification
from reid_lightning.retrieval.known_within import known_within
from reid_lightning.retrieval.neighbour_index import IndexKind, NeighbourIndex, build_index, check_index_kind
from reid_lightning.retrieval.people_file import PeopleFile, read_people, write_people
from reid_lightning.retrieval.voting import Weighting, vote


class Enrolment:
    """People who can be identified: vectors of their images, to which people are added without any training.

    Args:
        distance: How vectors are compared: "cosine", "euclidean" or "sqeuclidean".
        model: Mark of the model that the vectors come from, which a file keeps; "" where it is not known.
        search: How neighbors are found, see `neighbour_index.build_index`.
        calibration: What the model's distances mean; it travels in the file. None where that is not known.

    Raises:
        InputError: The distance is unknown, the calibration is of another one, or the search cannot be had.

    Examples:
        >>> enrolment = Enrolment()
        >>> enrolment.add([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]], ["Ada", "Ada", "Bo"])
        >>> enrolment.identify([[1.0, 0.2], [-1.0, 0.1]], k=3, threshold=0.5).names
        ['Ada', None]
        >>> enrolment.add([[-1.0, 0.0]], ["Cy"])
        >>> enrolment.identify([[-1.0, 0.1]], k=1, threshold=0.5).names
        ['Cy']
    """

    def __init__(
        self,
        distance: Distance = "cosine",
        model: str = "",
        search: IndexKind = "exact",
        calibration: Calibration | None = None,
    ) -> None:
        as_choice(distance, "distance", get_args(Distance))
        as_text(model, "The mark of the model")
        check_index_kind(search)
        if calibration is not None and not isinstance(calibration, Calibration):
            raise InputError(f"The calibration must be that of a model, got {shown(calibration)}.")
        if calibration is not None and calibration.distance != distance:
            raise InputError(
                f"The calibration is of the distance {calibration.distance} and not of {distance}; leave it out."
            )
        self.distance, self.model, self.search, self.calibration = distance, model, search, calibration
        self._indices: dict[PerPerson, NeighbourIndex] = {}  # of the vectors as they are
        self.vectors = torch.empty(0, 0)
        """(N, D) float32, one an enrolled image."""
        self.names: list[str] = []
        """(N,) whom each image shows."""
        self.images: list[str] = []
        """(N,) what each image is called, "" where it has no name."""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def people(self) -> tuple[str, ...]:
        """The people enrolled, in the order in which they came."""
        return tuple(dict.fromkeys(self.names))

    def add(
        self,
        vectors: Tensor | Sequence[Sequence[float]],
        names: Sequence[str],
        images: Sequence[str] | None = None,
    ) -> None:
        """Enrol images of new people, or more images of those enrolled; all of them or, on an error, none.

        Args:
            vectors: (n, D).
            names: (n,) whom each image shows; the ways to encode an accent are one (Unicode NFC).
            images: (n,) what each is called, such as its file.

        Raises:
            InputError: A vector has another length than those enrolled or is not finite, a name is empty, lengths
                differ, or an image is enrolled already (by its name or its very vector).
        """
        rows = self._table(vectors)
        names = as_texts(names, "The names of people")
        labels = [""] * len(rows) if images is None else as_texts(images, "The names of images")
        if not len(names) == len(labels) == len(rows):
            raise InputError(
                f"{len(rows)} vectors come with {len(names)} names and {len(labels)} image names; give one each."
            )
        for row, name in enumerate(names):
            if not name.strip():
                raise InputError(f"Row {row} of the people to enrol has no name; give every image a person.")
            if not is_one_line(name):
                raise InputError(
                    f"Row {row} of the people to enrol has a name with a line break or a NUL "
                    f"({name[:60]!r}); write it in one line."
                )
        all_vectors = torch.cat([self.vectors, rows]) if len(self) else rows.clone()
        all_names = [*self.names, *(unicodedata.normalize("NFC", name) for name in names)]
        all_images = [*self.images, *labels]
        refuse_duplicates(all_vectors, all_names, all_images)
        self.vectors, self.names, self.images = all_vectors, all_names, all_images
        self._indices.clear()

    def remove(self, name: str) -> int:
        """Forget a person and return how many images that were.

        Raises:
            InputError: Nobody of this name is enrolled.
        """
        name = unicodedata.normalize("NFC", as_text(name, "The name of a person"))
        keep = [row for row, other in enumerate(self.names) if other != name]
        gone = len(self) - len(keep)
        if not gone:
            raise InputError(f"{name} is not enrolled; {self._who()}")
        self.vectors = self.vectors[keep]
        self.names = [self.names[row] for row in keep]
        self.images = [self.images[row] for row in keep]
        self._indices.clear()
        return gone

    def identify(
        self,
        vectors: Tensor | Sequence[Sequence[float]],
        k: int = 5,
        threshold: float | None = None,
        weighting: Weighting = "similarity",
        *,
        false_accepts: float | None = None,
        per_person: PerPerson = "all",
    ) -> Identification:
        """Name the person of each query by the votes of its nearest enrolled images (see `vote`).

        A query that is an enrolled image itself is named after it: no other image votes.

        Args:
            vectors: (Q, D).
            k: Nearest images that vote; cut to the number enrolled.
            threshold: Largest distance of the best candidate's nearest image at which the query is known; None takes that
                of `false_accepts`.
            weighting: "similarity" or "uniform".
            false_accepts: Share of strangers who may be taken for somebody; 1 names every query. None: `FALSE_ACCEPTS`
                where the people are calibrated, and 1 otherwise.
            per_person: "all": every vector is compared. "mean": the mean of a person's vectors alone, see `person_means`;
                then distances, and the threshold, are those to the mean.

        Raises:
            InputError: Nobody is enrolled, the vectors have another length than those enrolled or are not finite, k is below
                1, a choice is unknown, or the rate is out of range, given beside a threshold, or needs a calibration.
        """
        if not len(self):
            raise InputError("Nobody is enrolled; add people before you identify queries.")
        as_choice(per_person, "per_person", get_args(PerPerson))
        k = as_whole(k, "k", 1)
        measured = True
        if threshold is None:
            threshold, measured = self.known_within(false_accepts, per_person)
        elif false_accepts is not None:
            raise InputError("Give a false accept rate or a threshold, not both.")
        elif not as_number(threshold, "A threshold") >= 0:  # NaN as well
            raise InputError(f"A threshold must be a distance from 0 on, got {threshold}.")
        queries = self._table(vectors)
        shown = self._shown()
        indices, distances = self._index(per_person).nearest(queries, k)
        there, places = indices >= 0, indices.clamp(min=0)
        if per_person == "all":
            same = there[:, 0] & same_images(queries, self.vectors[places[:, 0]], self.distance)
            found = vote(
                torch.where(there, shown[places], -1), distances, self.distance, weighting, first_decides=same
            )
            rows = torch.where(found.places >= 0, indices.gather(1, found.places.clamp(min=0)), -1)
            pairs = found.distances
        else:
            found = vote(indices, distances, self.distance, weighting)
            rows, pairs = nearest_images(queries, found.people, self.vectors, shown, self.distance)
            same = same_images(queries, self.vectors[rows[:, 0]], self.distance)
        probabilities = None
        if self.calibration is not None:
            near = torch.where(
                found.people >= 0, pairs.double(), 0
            )  # of no candidate the distance is infinite
            stated = torch.from_numpy(self.calibration.probability(near.numpy()))
            probabilities = torch.where(found.people >= 0, stated, 0)
        best = found.distances[:, 0]
        known = best.isfinite() if threshold is None else best <= threshold
        return Identification(
            self.people, found, known, tuple(self.images), rows, same, probabilities, threshold, measured
        )

    def known_within(
        self, false_accepts: float | None = None, per_person: PerPerson = "all"
    ) -> tuple[float | None, bool]:
        """Return the largest distance at which a query is known, see `known_within.known_within`.

        Raises:
            InputError: The rate is out of range, or needs a calibration that these people lack.
        """
        as_choice(per_person, "per_person", get_args(PerPerson))
        people = len(self.people)
        images = len(self) / max(1, people)
        return known_within(self.calibration, people, images, false_accepts, per_person)

    def save(self, path: str | Path) -> None:
        """Write everything to one `.npz` file atomically."""
        write_people(
            as_path(path, "The file of enrolled people"),
            PeopleFile(self.vectors, self.names, self.images, self.distance, self.model, self.calibration),
        )

    @classmethod
    def load(cls, path: str | Path, search: IndexKind = "exact") -> "Enrolment":
        """Read what `save` wrote, to be searched in any way.

        Raises:
            InputError: The file is absent or is not one of enrolled people.
        """
        check_index_kind(search)
        path = as_path(path, "The file of enrolled people")
        found = read_people(path)
        try:
            enrolment = cls(found.distance, found.model, search, found.calibration)
            if len(found.names):
                enrolment.add(found.vectors, found.names, found.images)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        return enrolment

    @classmethod
    @contextmanager
    def changing(cls, path: str | Path, new: "Enrolment | None" = None) -> Iterator["Enrolment"]:
        """Yield the people of a file as it is now, and write them back where the block succeeds.

        Other processes that change the file wait meanwhile, so that no change is lost: of a person who is enrolled by
        one process and removed by another, the later change holds. A process that is killed leaves the file as it was.

        Args:
            path: The file. Behind a link, the file that the link leads to is written.
            new: Nobody, or the people of a file that is not there yet; None requires the file.

        Raises:
            InputError: The file is not one of enrolled people, or cannot be written.

        Examples:
            >>> import tempfile
            >>> file = Path(tempfile.mkdtemp()) / "people.npz"
            >>> with Enrolment.changing(file, Enrolment()) as people:
            ...     people.add([[1.0, 0.0]], ["Ada"])
            >>> Enrolment.load(file).people
            ('Ada',)
        """
        path = as_path(path, "The file of enrolled people")
        path = Path(os.path.realpath(path)) if os.path.islink(path) else path
        if new is None and not path.is_file():
            cls.load(path)  # which says what is there instead
        require_output(path)
        waiting = f"waiting for another process that changes {path}"
        with file_lock(path.with_name(f".{path.name}.lock"), waiting):
            people = cls.load(path) if new is None or os.path.lexists(path) else new
            yield people
            people.save(path)

    def _shown(self) -> Tensor:
        """Return (N,) int64 the place in `people` of each image's person."""
        number = {name: place for place, name in enumerate(self.people)}
        return torch.tensor([number[name] for name in self.names])

    def _index(self, per_person: PerPerson) -> NeighbourIndex:
        """Return what finds the nearest images, or the people whose means are nearest; it is built once."""
        if per_person not in self._indices:
            vectors = self.vectors
            if per_person == "mean":
                vectors = person_means(vectors, self._shown(), self.distance)
            self._indices[per_person] = build_index(vectors, self.distance, self.search)
        return self._indices[per_person]

    def _table(self, vectors: Tensor | Sequence[Sequence[float]]) -> Tensor:
        """Return vectors as (n, D) float32 on the CPU, checked against those enrolled."""
        try:
            rows = torch.as_tensor(vectors).detach()
            if rows.is_complex():
                raise TypeError
            rows = rows.float().cpu()
        except (
            TypeError,
            ValueError,
            RuntimeError,
            OverflowError,
        ):  # also NumPy's text and rows of unequal lengths
            raise InputError(
                f"Vectors must be a table of numbers with a row per image, got {shown(vectors)}."
            ) from None
        if rows.ndim != 2:
            raise InputError(
                f"Vectors have the shape {tuple(rows.shape)}; give a table with a row per image."
            )
        if len(self) and rows.shape[1] != self.vectors.shape[1]:
            raise InputError(
                f"Vectors of {rows.shape[1]} numbers do not fit those enrolled, of {self.vectors.shape[1]}; embed both "
                "with the same model."
            )
        if not rows.isfinite().all():
            bad = int(rows.isfinite().all(dim=1).logical_not().nonzero()[0])
            raise InputError(
                f"Vector {bad} is not finite; the model has diverged, or a cast to half precision overflowed."
            )
        return rows

    def _who(self) -> str:
        people = self.people
        return (
            f"enrolled are {', '.join(people[:5])}{' and others' if len(people) > 5 else ''}."
            if people
            else "nobody is."
        )
