"""Vectors of images in a file, with what is known of each image: what one command writes and another reads."""

import math
import struct
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid_lightning.distances import Distance
from reid_lightning.errors import InputError
from reid_lightning.files import atomic_path

Strings = NDArray[np.str_]
FORMS = {
    "vectors": ("f", 2),
    "paths": ("U", 1),
    "people": ("U", 1),
    "cameras": ("U", 1),
    "is_query": ("b", 1),
    "distractor": ("b", 1),
    "distance": ("U", 0),
}
RENAMED = {"distance": "metric"}  # arrays of files that earlier versions wrote
EXPANSION, LEAST = 100, 1 << 26  # a file may expand to so many times its size and this, in bytes
WIDEST = {"f": 8}  # bytes of a value that PyTorch takes
_HEADERS: dict[tuple[int, int], Any] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
# What zipfile and numpy raise at damaged, encrypted, oddly compressed and foreign files.
_NOT_ONE_OF_OURS = (
    OSError, ValueError, KeyError, TypeError, RuntimeError, OverflowError, MemoryError, EOFError, BadZipFile, zlib.error,
    struct.error,
)  # fmt: skip


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
        """Write one `.npz` file atomically."""
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
        found = read_arrays(path, FORMS, "embeddings", "reid evaluate --embeddings FILE")
        vectors, distance = torch.from_numpy(found.pop("vectors")), str(found.pop("distance"))
        vectors = vectors.float() if vectors.dtype == torch.float16 else vectors
        if distance not in get_args(Distance):
            raise InputError(
                f"{path} compares by the distance {distance}, which is not one of {', '.join(get_args(Distance))}; write it "
                "again with `reid evaluate --embeddings FILE`."
            )
        return cls(vectors, distance=distance, **found)  # type: ignore[arg-type]

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
    path: str | Path,
    forms: Mapping[str, tuple[str, int]],
    content: str,
    command: str,
    optional: Mapping[str, tuple[str, int]] | None = None,
) -> dict[str, NDArray[Any]]:
    """Return named arrays of an `.npz` file, running nothing that it may hold.

    What the file says of its arrays is compared with what it holds before anything is read, so that a small file cannot
    ask for much memory.

    Args:
        path: The file.
        forms: For each array the kind of its values ("f" floats, "U" text, "b" yes or no) and its number of dimensions.
            The first dimension is the same for all arrays that have one.
        content: What the file should hold, for the message.
        command: What writes such a file, likewise.
        optional: Arrays that earlier versions did not write; they are left out of the result where the file lacks them.

    Raises:
        InputError: The file is absent, is not an `.npz` file, or an array is missing, has another form or is not finite.
    """
    path = Path(path)
    if not path.is_file():
        what = f"{path} is not a file" if path.exists() else f"There is no file {path}"
        raise InputError(f"{what} of {content}; write one with `{command}`.")
    try:
        with path.open("rb") as handle, ZipFile(handle) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > EXPANSION * path.stat().st_size + LEAST:
                raise ValueError("its arrays are compressed more than vectors can be")
            present = {
                name: form for name, form in (optional or {}).items() if f"{name}.npy" in archive.NameToInfo
            }
            wanted = {**forms, **present}
            arrays = {name: _read_array(archive, name, *form) for name, form in wanted.items()}
    except PermissionError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; change its permissions.") from error
    except _NOT_ONE_OF_OURS as error:
        reason = " ".join(str(error).split()).rstrip(".")[:200]
        raise InputError(
            f"{path} is not a file of {content} ({reason}); write one with `{command}`."
        ) from error
    lengths = {name: len(array) for name, array in arrays.items() if array.ndim}
    first = next(iter(lengths))
    for name, length in lengths.items():
        if length != lengths[first]:
            raise InputError(
                f"{path} is not a file of {content} ({lengths[first]} {first} and {length} {name}); write one with "
                f"`{command}`."
            )
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            row = int(np.argwhere(~np.isfinite(array))[0][0])
            raise InputError(
                f"{path}: row {row} of its {name} is not finite; write it again with `{command}`."
            )
    return arrays


def _read_array(archive: ZipFile, name: str, kind: str, dimensions: int) -> NDArray[Any]:
    """Return one array of an archive after a look at its header.

    Raises:
        ValueError: It is missing, has another form than is wanted, or another size than its header says.
    """
    entries = archive.NameToInfo
    entry = next((entries[f"{n}.npy"] for n in (name, RENAMED.get(name)) if f"{n}.npy" in entries), None)
    if entry is None:
        raise ValueError(f"it has no array {name}")
    with archive.open(entry) as member:
        version = np.lib.format.read_magic(member)
        read_header = _HEADERS.get(version)
        if read_header is None:
            raise ValueError(f"the array {name} has an unknown format")
        shape, _, dtype = read_header(member)
        size = math.prod(shape) * dtype.itemsize
        if (
            dtype.kind != kind
            or len(shape) != dimensions
            or dtype.itemsize > WIDEST.get(kind, dtype.itemsize)
        ):
            raise ValueError(f"the array {name} has the form {tuple(shape)} of {dtype}")
        if member.tell() + size != entry.file_size:
            raise ValueError(f"the array {name} is cut off")
    with archive.open(entry) as member:
        array: NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
    array = np.ascontiguousarray(array, dtype.newbyteorder("=")).reshape(shape)
    if (
        kind == "U"
        and dtype.itemsize
        and array.size
        and array.reshape(-1).view(np.uint32).max() > sys.maxunicode
    ):
        raise ValueError(f"the array {name} holds numbers that are no letters")
    return array
