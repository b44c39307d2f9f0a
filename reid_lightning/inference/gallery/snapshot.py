"""A gallery as it is at one moment: its manifest and its open segments."""

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid_lightning.errors import InputError
from reid_lightning.inference.gallery.attributes import probability_matrix
from reid_lightning.inference.gallery.columns import PROBABILITIES, full
from reid_lightning.inference.gallery.conditions import Condition
from reid_lightning.inference.gallery.manifest import Manifest, SegmentEntry
from reid_lightning.inference.gallery.segments import Segment

TRIES = 20  # of opening files that other processes replace meanwhile


class Snapshot:
    """What a reader sees, whatever writers do meanwhile.

    Positions count the rows of all segments, removed ones included.
    """

    def __init__(self, manifest: Manifest, segments: list[Segment]) -> None:
        self.manifest, self.segments = manifest, segments
        self._index: Any = None

    @classmethod
    def open(cls, folder: Path, before: "Snapshot | None" = None) -> "Snapshot":
        """Open a gallery's files.

        Args:
            folder: The gallery.
            before: An earlier snapshot, whose open segments are taken over.

        Raises:
            InputError: It is not a gallery, or a file is missing, damaged or foreign.
        """
        known = {} if before is None else {segment.entry.number: segment for segment in before.segments}
        manifest = Manifest.read(folder)
        for _ in range(TRIES):
            try:
                return cls(manifest, [_opened(folder, manifest, entry, known) for entry in manifest.segments])
            except FileNotFoundError as error:
                again = Manifest.read(folder)
                if again.change == manifest.change:
                    raise InputError(
                        f"{error.filename} is missing, although the gallery's manifest names it; restore it from a copy, or "
                        "build the gallery again from its images."
                    ) from error
                manifest = again
        raise InputError(f"{folder} is changed by other processes faster than it can be opened; try again.")

    def __len__(self) -> int:
        return sum(entry.rows - entry.removed for entry in self.manifest.segments)

    @cached_property
    def table(self) -> pa.Table:
        """What is known of every position, in the columns of the gallery."""
        kinds = self.manifest.kinds
        if not self.segments:
            return full(pa.table({"id": pa.array([], pa.int64())}), kinds)
        return pa.concat_tables([full(segment.table, kinds) for segment in self.segments])

    @cached_property
    def ids(self) -> NDArray[np.int64]:
        """The id of every position, ascending."""
        ids: NDArray[np.int64] = self.table["id"].to_numpy()
        if (np.diff(ids) <= 0).any():
            raise InputError("The segments of the gallery do not belong together: restore it from a copy.")
        return ids

    @cached_property
    def alive(self) -> NDArray[np.bool_]:
        """Which positions have not been removed."""
        parts = [
            np.ones(segment.entry.rows, bool) if segment.alive is None else segment.alive
            for segment in self.segments
        ]
        return np.concatenate(parts) if parts else np.zeros(0, bool)

    @cached_property
    def probabilities(self) -> Tensor:
        """(N, C) float32 of every position and class of the attributes, zeros where an image has none.

        Raises:
            InputError: The gallery holds no attributes, or they are damaged.
        """
        schema = self.manifest.attributes
        if schema is None:
            raise InputError("The gallery holds no attributes.")
        return torch.from_numpy(probability_matrix(self.table[PROBABILITIES], schema.num_outputs))

    def matching(self, condition: Condition | None) -> NDArray[np.bool_]:
        """Return which positions are there and fulfill a condition."""
        if condition is None:
            return self.alive
        return self.alive & condition.mask(self.table)

    def vectors(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the (n, D) vectors at some positions in float32."""
        found = np.empty((len(positions), self.manifest.dimension), np.float32)
        start = 0
        for segment in self.segments:
            here = (positions >= start) & (positions < start + segment.entry.rows)
            found[here] = segment.vectors[positions[here] - start]
            start += segment.entry.rows
        return found

    def opened_index(self, read: Callable[[], Any]) -> Any:
        """Return the gallery's index, which is read once."""
        if self._index is None:
            self._index = read()
        return self._index

    def positions_of(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where ids lie; -1 where there is no such image, or it has been removed."""
        if not len(self.ids):
            return np.full(ids.shape, -1)
        places = np.searchsorted(self.ids, ids).clip(max=len(self.ids) - 1)
        there = (self.ids[places] == ids) & self.alive[places]
        return np.where(there, places, -1)


def _opened(folder: Path, manifest: Manifest, entry: SegmentEntry, known: Mapping[int, Any]) -> Segment:
    before = known.get(entry.number)
    if before is not None and before.entry == entry:
        return before
    return Segment(folder, manifest, entry)
