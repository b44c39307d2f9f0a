"""MARS (Zheng et al., "MARS: A Video Benchmark for Large-Scale Person Re-Identification", ECCV 2016)."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reid_lightning.data.readers.image_files import ENDING
from reid_lightning.data.readers.layout import find_folder, in_split_order, read_lines, read_mat
from reid_lightning.data.table import validate_table
from reid_lightning.errors import InputError, require

INFO = {
    "train names": "info/train_name.txt",
    "test names": "info/test_name.txt",
    "train tracks": "info/tracks_train_info.mat",
    "test tracks": "info/tracks_test_info.mat",
    "queries": "info/query_IDX.mat",
}
JUNK, DISTRACTOR = -1, 0

# Person (00-1 is junk), camera, tracklet, frame.
_NAME = re.compile(r"(\d{4}|00-1)C(\d)T(\d{4})F(\d{3,})" + ENDING, re.IGNORECASE)


def read_mars(root: str | Path, frames: int | None = None) -> pd.DataFrame:
    """Read the tracklets that the files in `info` list: `bbox_test/0001/0001C1T0001F001.jpg`.

    8,298 tracklets of 625 people train; 1,980 tracklets of 626 people are queries and 9,330 the gallery, 3,248 of
    them distractors (identity 0). Junk (identity -1) is left out. 140 queries have no match in another camera.

    Args:
        root: The folder that holds `bbox_train`, `bbox_test` and `info`.
        frames: Frames of each tracklet that are read, evenly spaced; None reads all (59 on average, 1.17 million).

    Returns:
        A table sorted by split (train, query, gallery), tracklet and frame.

    Raises:
        InputError: A file is missing, the lists contradict each other, or an image's name does not parse.
    """
    require(frames is None or frames >= 1, "frames", ">= 1, or null for all frames", frames)
    folder = find_folder(root, ["bbox_train", "bbox_test", *INFO.values()], ["MARS"])
    tracks = in_split_order(pd.concat([_read_tracks(folder, "train"), _read_tracks(folder, "test")]))
    tracks = tracks[tracks["person"] != JUNK]
    parts = [
        _read_frames(folder, str(half), rows, frames) for half, rows in tracks.groupby("half", sort=False)
    ]
    protocol = f"{frames or 'all'} frames of each tracklet"
    table = in_split_order(pd.concat(parts, ignore_index=True)).assign(source="mars", protocol=protocol)
    return validate_table(table, str(folder))


def _read_tracks(folder: Path, half: str) -> pd.DataFrame:
    """Return a row per tracklet: `start` and `end` in the list of names (from 0, end excluded), who, where, split."""
    path = folder / INFO[f"{half} tracks"]
    rows = read_mat(path, f"track_{half}_info")[f"track_{half}_info"].astype(int)
    tracks = pd.DataFrame(rows, columns=["start", "end", "person", "camera"])
    tracks["start"] -= 1
    tracks = tracks.assign(
        half=half, split="train", tracklet_id=[f"{half}{row + 1:05d}" for row in tracks.index]
    )
    if half == "test":
        queries = read_mat(folder / INFO["queries"], "query_IDX")["query_IDX"].ravel().astype(int) - 1
        if not len(queries) or queries.min() < 0 or queries.max() >= len(tracks):
            raise InputError(
                f"{folder / INFO['queries']} does not fit {path}, which lists {len(tracks)} tracklets."
            )
        tracks["split"] = np.where(tracks.index.isin(queries), "query", "gallery")
    return tracks


def _read_frames(folder: Path, half: str, tracks: pd.DataFrame, frames: int | None) -> pd.DataFrame:
    """Return a row per frame of the tracklets of one half."""
    path = folder / INFO[f"{half} names"]
    names = read_lines(path)
    if tracks["end"].max() > len(names):
        raise InputError(
            f"{path} holds {len(names)} names, but {folder / INFO[f'{half} tracks']} counts up to "
            f"{tracks['end'].max()}: copy both again."
        )
    rows = []
    track: Any
    for track in tracks.itertuples():
        for position in _evenly(track.start, track.end, frames):
            name = names[position]
            match = _NAME.fullmatch(name)
            if match is None or (match[1], int(match[2])) != (f"{track.person:04d}", track.camera):
                raise InputError(
                    f"{path}, line {position + 1} is {name}, where person {track.person:04d} in camera {track.camera} is "
                    f"expected (tracklet {track.tracklet_id}), as in 0001C1T0001F001.jpg: copy the files in info again."
                )
            image = f"{folder}{os.sep}bbox_{half}{os.sep}{match[1]}{os.sep}{name}"
            rows.append((image, match[1], track.split, match[2], track.tracklet_id, int(match[4])))
    columns = ["path", "person_id", "split", "camera_id", "tracklet_id", "frame_id"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(distractor=table["person_id"].astype(int) == DISTRACTOR)


def _evenly(start: int, end: int, count: int | None) -> list[int]:
    """Return at most `count` positions of a range, its first and last among them where there are two or more."""
    if count is None or count >= end - start:
        return list(range(start, end))
    return np.linspace(start, end - 1, count).round().astype(int).tolist()
