"""Who is this: the nearest images of enrolled people vote, and people are enrolled without training (HiQo 2019)."""

import os
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from reid_lightning.distances import Distance
from reid_lightning.errors import InputError
from reid_lightning.files import atomic_path, file_lock, require_output
from reid_lightning.retrieval.embeddings import read_arrays
from reid_lightning.retrieval.neighbour_index import IndexKind, NeighbourIndex, build_index, check_index_kind
from reid_lightning.retrieval.voting import Candidates, Weighting, vote

FORMS = {"vectors": ("f", 2), "names": ("U", 1), "images": ("U", 1), "distance": ("U", 0), "model": ("U", 0)}


@dataclass(frozen=True, eq=False)
class Identification:
    """Who each query is, of the people enrolled."""

    people: tuple[str, ...]
    """Names of all people enrolled."""
    candidates: Candidates
    """Their numbers are places in `people`."""
    known: Tensor
    """(Q,) bool: whether the best candidate's nearest image lies within the threshold."""
    images: tuple[str, ...]
    """What the enrolled images are called."""
    nearest_images: Tensor
    """(Q, n) int64 row of each candidate's nearest image in `images`, -1 where there is no more."""

    @property
    def names(self) -> list[str | None]:
        """The best name of each query; None where it is unknown."""
        best = self.candidates.people[:, 0].tolist()
        return [
            self.people[person] if known else None
            for person, known in zip(best, self.known.tolist(), strict=True)
        ]


class Enrolment:
    """People who can be identified: vectors of their images, to which people are added without any training.

    Args:
        distance: How vectors are compared: "cosine", "euclidean" or "sqeuclidean".
        model: Mark of the model that the vectors come from, which a file keeps; "" where it is not known.
        search: How neighbours are found, see `neighbour_index.build_index`.

    Examples:
        >>> enrolment = Enrolment()
        >>> enrolment.add([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]], ["Ada", "Ada", "Bo"])
        >>> enrolment.identify([[1.0, 0.2], [-1.0, 0.1]], k=3, threshold=0.5).names
        ['Ada', None]
        >>> enrolment.add([[-1.0, 0.0]], ["Cy"])
        >>> enrolment.identify([[-1.0, 0.1]], k=1, threshold=0.5).names
        ['Cy']
    """

    def __init__(self, distance: Distance = "cosine", model: str = "", search: IndexKind = "exact") -> None:
        if distance not in get_args(Distance):
            raise InputError(
                f"Distance '{distance}' is unknown; choose one of {', '.join(get_args(Distance))}."
            )
        check_index_kind(search)
        self.distance, self.model, self.search = distance, model, search
        self._index: NeighbourIndex | None = None  # of the vectors as they are
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
        labels = [""] * len(rows) if images is None else list(images)
        if not len(names) == len(labels) == len(rows):
            raise InputError(
                f"{len(rows)} vectors come with {len(names)} names and {len(labels)} image names; give one each."
            )
        for row, name in enumerate(names):
            if not name.strip():
                raise InputError(f"Row {row} of the people to enrol has no name; give every image a person.")
        all_vectors = torch.cat([self.vectors, rows]) if len(self) else rows.clone()
        all_names = [*self.names, *(unicodedata.normalize("NFC", name) for name in names)]
        all_images = [*self.images, *labels]
        _refuse_duplicates(all_vectors, all_names, all_images)
        self.vectors, self.names, self.images, self._index = all_vectors, all_names, all_images, None

    def remove(self, name: str) -> int:
        """Forget a person and return how many images that were.

        Raises:
            InputError: Nobody of this name is enrolled.
        """
        name = unicodedata.normalize("NFC", name)
        keep = [row for row, other in enumerate(self.names) if other != name]
        gone = len(self) - len(keep)
        if not gone:
            raise InputError(f"{name} is not enrolled; {self._who()}.")
        self.vectors = self.vectors[keep]
        self.names = [self.names[row] for row in keep]
        self.images = [self.images[row] for row in keep]
        self._index = None
        return gone

    def identify(
        self,
        vectors: Tensor | Sequence[Sequence[float]],
        k: int = 5,
        threshold: float | None = None,
        weighting: Weighting = "similarity",
    ) -> Identification:
        """Name the person of each query by the votes of its nearest enrolled images (see `vote`).

        Args:
            vectors: (Q, D).
            k: Nearest images that vote; cut to the number enrolled.
            threshold: Largest distance of the best candidate's nearest image at which the query is known; None names
                every query.
            weighting: "similarity" or "uniform".

        Raises:
            InputError: Nobody is enrolled, the vectors have another length than those enrolled or are not finite, or k
                is below 1.
        """
        if not len(self):
            raise InputError("Nobody is enrolled; add people before you identify queries.")
        queries = self._table(vectors)
        people = self.people
        number = {name: place for place, name in enumerate(people)}
        shown = torch.tensor([number[name] for name in self.names])
        if self._index is None:
            self._index = build_index(self.vectors, self.distance, self.search)
        indices, distances = self._index.nearest(queries, k)
        voters = torch.where(indices >= 0, shown[indices], -1)
        found = vote(voters, distances, self.distance, weighting)
        best = found.distances[:, 0]
        known = best.isfinite() if threshold is None else best <= threshold
        rows = torch.where(found.places >= 0, indices.gather(1, found.places.clamp(min=0)), -1)
        return Identification(people, found, known, tuple(self.images), rows)

    def save(self, path: str | Path) -> None:
        """Write everything to one `.npz` file, whole or not at all."""
        with atomic_path(path) as temporary, temporary.open("wb") as handle:
            np.savez(
                handle,
                vectors=self.vectors.numpy(),
                names=np.array(self.names, dtype=np.str_),
                images=np.array(self.images, dtype=np.str_),
                distance=np.array(self.distance),
                model=np.array(self.model),
            )

    @classmethod
    def load(cls, path: str | Path, search: IndexKind = "exact") -> "Enrolment":
        """Read what `save` wrote, to be searched in any way.

        Raises:
            InputError: The file is absent or is not one of enrolled people.
        """
        check_index_kind(search)
        found = read_arrays(path, FORMS, "enrolled people", "reid enrol")
        try:
            enrolment = cls(str(found["distance"]), str(found["model"]), search)  # type: ignore[arg-type]
            names = [str(name) for name in found["names"]]
            if len(names):
                images = [str(image) for image in found["images"]]
                enrolment.add(torch.from_numpy(found["vectors"]), names, images)
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
        path = Path(os.path.realpath(path)) if os.path.islink(path) else Path(path)
        if new is None and not path.is_file():
            cls.load(path)  # which says what is there instead
        require_output(path)
        waiting = f"waiting for another process that changes {path}"
        with file_lock(path.with_name(f".{path.name}.lock"), waiting):
            people = cls.load(path) if new is None or os.path.lexists(path) else new
            yield people
            people.save(path)

    def _table(self, vectors: Tensor | Sequence[Sequence[float]]) -> Tensor:
        """Return vectors as (n, D) float32 on the CPU, checked against those enrolled."""
        rows = torch.as_tensor(vectors).detach().float().cpu()
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
            f"enrolled are {', '.join(people[:5])}{' ...' if len(people) > 5 else ''}"
            if people
            else "nobody is"
        )


def _refuse_duplicates(vectors: Tensor, names: Sequence[str], images: Sequence[str]) -> None:
    """Raise where an image stands twice: it would vote twice, or for two people."""
    keys: dict[bytes | str, int] = {}
    for row, (vector, image) in enumerate(zip(vectors.numpy(), images, strict=True)):
        for key in (vector.tobytes(), *([image] if image else [])):
            other = keys.setdefault(key, row)
            if other != row:
                raise InputError(
                    f"{image or f'Image {row}'} of {names[row]} is enrolled already, as "
                    f"{images[other] or f'image {other}'} of {names[other]}; leave it out, or remove {names[other]} first."
                )
