"""Vectors of images in a file, with what is known of each image: what one command writes and another reads."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid_lightning.distances import Distance
from reid_lightning.errors import InputError
from reid_lightning.files import atomic_path

Strings = NDArray[np.str_]
RENAMED = {"distance": "metric"}  # arrays of files that earlier versions wrote


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Vectors of images, a row each, and what the table said of them."""

    vectors: Tensor
    """(N, D) float32, as the protocol compares them."""
    paths: Strings
    """(N,) image files; of a tracklet its first."""
    people: Strings
    """(N,) identities, as `source/person_id`."""
    cameras: Strings
    """(N,) cameras, "" where unknown."""
    is_query: NDArray[np.bool_]
    """(N,); everything else is the gallery."""
    distractor: NDArray[np.bool_]
    """(N,), nobody's images."""
    distance: Distance = "cosine"

    def save(self, path: str | Path) -> None:
        """Write one `.npz` file, whole or not at all."""
        with atomic_path(path) as temporary, temporary.open("wb") as handle:
            np.savez(
                handle,
                **{**vars(self), "vectors": self.vectors.cpu().numpy(), "distance": np.array(self.distance)},
            )

    @classmethod
    def load(cls, path: str | Path) -> "Embeddings":
        """Read what `save` wrote.

        Raises:
            InputError: The file is absent or is not one of embeddings.
        """
        found = read_arrays(path, list(cls.__annotations__), "embeddings", "reid evaluate --embeddings FILE")
        vectors = torch.from_numpy(found.pop("vectors"))
        return cls(vectors, distance=str(found.pop("distance")), **found)  # type: ignore[arg-type]

    def select(self, rows: NDArray[np.generic]) -> "Embeddings":
        """Return some rows, by a mask or by positions."""
        return Embeddings(
            self.vectors[torch.tensor(rows)],
            self.paths[rows],
            self.people[rows],
            self.cameras[rows],
            self.is_query[rows],
            self.distractor[rows],
            self.distance,
        )

    def codes(self) -> tuple[Tensor, Tensor]:
        """Return people and cameras as (N,) int64 codes, -1 for an unknown camera."""
        people = np.unique(self.people, return_inverse=True)[1]
        cameras = np.unique(self.cameras, return_inverse=True)[1]
        return torch.from_numpy(people), torch.from_numpy(np.where(self.cameras == "", -1, cameras))


def read_arrays(
    path: str | Path, names: Sequence[str], content: str, command: str
) -> dict[str, NDArray[np.generic]]:
    """Return named arrays of an `.npz` file, running nothing that it may hold.

    Args:
        path: The file.
        names: The arrays.
        content: What the file should hold, for the message.
        command: What writes such a file, likewise.

    Raises:
        InputError: The file is absent, is no `.npz` file, or lacks an array.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no file {path} of {content}; write one with `{command}`.")
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            return {name: file[_stored(name, file)] for name in names}
    except (KeyError, ValueError, TypeError, OSError, EOFError, BadZipFile) as error:
        raise InputError(f"{path} is not a file of {content}; write one with `{command}`.") from error


def _stored(name: str, stored: Container[str]) -> str:
    """Return the name of an array in a file, which earlier versions may have called otherwise."""
    return name if name in stored else RENAMED.get(name, name)
