"""Segments written anew without removed vectors, small ones joined."""

from collections.abc import Iterator
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


def compacted(folder: Path, snapshot: Snapshot) -> dict[str, Any] | None:
    """Write new segments in place of those that hold removed vectors, and of neighbors that fit into one.

    Args:
        folder: The gallery, which the caller holds for changes.
        snapshot: Its state.

    Returns:
        The values of the manifest that change; None: nothing is to be done.
    """
    manifest = snapshot.manifest
    number = manifest.next_segment
    entries: list[SegmentEntry] = []
    for group in _groups(snapshot.segments):
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
