"""Segments written again without removed vectors, small ones joined."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reid_lightning.inference.gallery.columns import full
from reid_lightning.inference.gallery.manifest import SegmentEntry
from reid_lightning.inference.gallery.segments import COPIED_ROWS, Segment, write_segment
from reid_lightning.inference.gallery.snapshot import Snapshot

LARGEST = 1 << 18  # vectors of segments that are joined
MOST_SMALL = 64  # segments of less than half of that, from which on single additions join some


def compacted(folder: Path, snapshot: Snapshot, first: int = 0) -> dict[str, Any] | None:
    """Write new segments in place of those that hold removed vectors, and of neighbors that fit into one.

    Args:
        folder: The gallery, which the caller holds for changes.
        snapshot: Its state.
        first: Place of the first segment that is looked at; those before stay as they are.

    Returns:
        The values of the manifest that change; None: nothing is to be done.
    """
    manifest = snapshot.manifest
    number = manifest.next_segment
    entries: list[SegmentEntry] = [segment.entry for segment in snapshot.segments[:first]]
    for group in _groups(snapshot.segments[first:]):
        if len(group) == 1 and not group[0].entry.removed:
            entries.append(group[0].entry)
            continue
        rows = sum(_left(segment) for segment in group)
        if rows:
            tables = [
                full(segment.table, manifest.kinds).filter(pa.array(_alive(segment))) for segment in group
            ]
            parts = (part for segment in group for part in _parts(segment))
            entries.append(write_segment(folder, manifest, number, parts, rows, pa.concat_tables(tables)))
            number += 1
    if number == manifest.next_segment and len(entries) == len(manifest.segments):
        return None
    return {"segments": tuple(entries), "next_segment": number}


def has_many_small(entries: Sequence[SegmentEntry]) -> bool:
    """Tell whether there are so many small segments that some should be joined."""
    return sum(entry.rows < LARGEST // 2 for entry in entries) > MOST_SMALL


def tail(entries: Sequence[SegmentEntry]) -> int:
    """Return the place of the first of the last segments that are worth joining: none has more rows than those after it.

    A row is therefore written again only into a segment of at least twice the size: as often as the gallery has doubled.

    Examples:
        >>> tail([SegmentEntry(number, rows, 0, 0, {}) for number, rows in enumerate([500, 3, 1, 1, 1])])
        1
    """
    rows, first = max(1, entries[-1].rows if entries else 1), len(entries)
    while first and entries[first - 1].rows <= rows:
        first -= 1
        rows = sum(entry.rows for entry in entries[first:])
    return first


def _groups(segments: list[Segment]) -> Iterator[list[Segment]]:
    """Yield neighbors that become one segment."""
    group: list[Segment] = []
    for segment in segments:
        if group and sum(_left(other) for other in group) + _left(segment) > LARGEST:
            yield group
            group = []
        group.append(segment)
    if group:
        yield group


def _left(segment: Segment) -> int:
    return segment.entry.rows - segment.entry.removed


def _alive(segment: Segment) -> NDArray[np.bool_]:
    return np.ones(segment.entry.rows, bool) if segment.alive is None else segment.alive


def _parts(segment: Segment) -> Iterator[NDArray[Any]]:
    alive = _alive(segment)
    for start in range(0, segment.entry.rows, COPIED_ROWS):
        rows = slice(start, start + COPIED_ROWS)
        yield segment.vectors[rows][alive[rows]]
