"""People cut out of tracked sequences, as MOT17, MOT20 and DanceTrack hold them, or a tracker of your own writes them."""

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from reid_lightning.data.readers.layout import in_split_order
from reid_lightning.data.readers.mot_crops import Cut, cut_crops
from reid_lightning.data.sequences import TRUTH, SequenceFolder, find_sequences, is_sequence, open_sequence
from reid_lightning.data.splits import choose_identities
from reid_lightning.data.table import validate_table
from reid_lightning.errors import InputError, require

log = logging.getLogger("reid_lightning")

_HALVES = ("train", "val", "test")


def read_mot(
    root: str | Path,
    min_visibility: float = 0.5,
    min_height: int = 32,
    every: int = 10,
    shared_ids: bool = False,
    gap: int = 25,
    test_fraction: float = 0.5,
    seed: int = 0,
    tracks: str = TRUTH,
) -> pd.DataFrame:
    """Read sequences with frames in `img1` and tracks in `gt/gt.txt`; people are cut out once, into the cache folder.

    Of the lines, pedestrians (class 1, or no class) whose confidence is above 0 count. Of MOT17's three copies of a sequence
    one is read. Sequences without tracks, as in MOT17's `test`, are left out, and the log says how many.

    **Who is tested.** Where `root` has sequences with tracks in `train` and in `test` (or `val`), these are the halves.
    Otherwise `test_fraction` of the sequences are tested, or of the people where there is one sequence or ids are shared.

    **What is asked.** The first crop of each person in a sequence is a query, and crops at least `gap` frames later are the
    gallery, whatever the sequence; crops in between are left out. A person without such a later crop is in the gallery only.
    Cameras are unknown, so that nothing is excluded from a ranking. With `shared_ids` a sequence is a camera: the first
    of several crops in each is a query where another camera saw the person, and all other crops are the gallery.

    A tracklet is a piece of a track without a pause of more than `gap` frames.

    Args:
        root: Folder of sequences, of `train`, `val` and `test` with sequences in them, or one sequence.
        min_visibility: Least share of a box in sight (column 9, and what is inside of the frame), 0 to 1.
        min_height: Least height of a crop, in pixels.
        every: Frames from one that is read to the next.
        shared_ids: Whether an id is the same person in all sequences, which are then cameras of one place.
        gap: Least frames between a query and its matches; at least `every`.
        test_fraction: Share of sequences or people that are tested where no folders say so, 0 to 1.
        seed: Which these are.
        tracks: File in each sequence that says who is where.

    Returns:
        A table sorted by split (train, query, gallery), sequence, frame and id, with a column `visibility`.

    Raises:
        InputError: There is no sequence with tracks, or one cannot be read.
    """
    require(gap >= every, "gap", f"at least every={every}", gap)
    require(0 <= test_fraction <= 1, "test_fraction", "from 0 to 1", test_fraction)
    cut = Cut(tracks, min_visibility, min_height, every)
    root = Path(root).expanduser()
    sequences = _find(root, tracks)
    crops = _cut_all(sequences, cut)
    if crops.empty:
        raise InputError(
            f"data.root={root}: no box of a pedestrian is left; lower data.min_visibility={min_visibility} or "
            f"data.sources.mot.min_height={min_height}."
        )
    crops["track"] = crops["sequence_id"] + "/" + crops["person"]
    crops["tracklet_id"] = _pieces(crops, gap)
    shared = crops["half"] + "/" + crops["person"]
    crops["person_id"] = shared if shared_ids else crops["track"]
    crops["camera_id"] = crops["sequence_id"] if shared_ids else None
    tested, rule = _tested(crops, shared_ids, test_fraction, seed)
    train = crops[~tested].assign(split="train")
    test = _ask_across(crops[tested]) if shared_ids else _ask_later(crops[tested], gap)
    about = f"every {every} frames, visibility from {min_visibility:g}, {rule}, " + (
        "sequences are cameras" if shared_ids else f"found again after {gap} frames"
    )
    table = in_split_order(pd.concat([train, test], ignore_index=True)).drop(
        columns=["half", "person", "track"]
    )
    return validate_table(table.assign(source="mot", protocol=about), str(root))


def _find(root: Path, tracks: str) -> list[tuple[str, SequenceFolder]]:
    """Return the sequences that have tracks, each with its half: train, test, or "" where no folder says so."""
    if not root.is_dir():
        raise InputError(
            f"data.root={root} is not a folder; it should hold sequences, each with img1 and {tracks}."
        )
    if is_sequence(root):
        halves = {"": [root]}
    else:
        halves = {name: find_sequences(root / name) for name in _HALVES if (root / name).is_dir()}
        halves = {name: found for name, found in halves.items() if found} or {"": find_sequences(root)}
    usable = {
        half: [folder for folder in folders if (folder / tracks).is_file()]
        for half, folders in halves.items()
    }
    without = sum(map(len, halves.values())) - sum(map(len, usable.values()))
    if not any(usable.values()):
        seen = f"{without} sequences and no {tracks} in any" if without else "no sequence"
        raise InputError(
            f"data.root={root} holds {seen}: a sequence is a folder with img1 and {tracks}, directly there or in train, val "
            "or test."
        )
    if without:
        log.warning("%s: %d sequences have no %s and are left out.", root, without, tracks)
    if usable.get("test") and usable.get("val"):
        log.warning("%s: val is left out, because test has tracks.", root)
        del usable["val"]
    named = {"train": "train", "val": "test", "test": "test", "": ""}
    found = [(named[half], open_sequence(folder)) for half, folders in usable.items() for folder in folders]
    repeated = [name for name, count in Counter(one.name for _, one in found).items() if count > 1]
    if repeated:
        raise InputError(f"data.root={root} holds the sequence {repeated[0]} twice: rename one of the two.")
    return found


def _cut_all(sequences: list[tuple[str, SequenceFolder]], cut: Cut) -> pd.DataFrame:
    """Return the crops of all sequences, with the columns `half` and `sequence_id`."""
    console = Console(stderr=True)
    parts = []
    bar = Progress(
        *Progress.get_default_columns(), MofNCompleteColumn(), console=console, transient=True,
        disable=not console.is_terminal,
    )  # fmt: skip
    with bar as progress:
        for half, sequence in progress.track(sequences, description="Cutting people out of sequences"):
            parts.append(cut_crops(sequence, cut).assign(half=half, sequence_id=sequence.name))
    return pd.concat(parts, ignore_index=True)


def _tested(crops: pd.DataFrame, shared_ids: bool, fraction: float, seed: int) -> tuple[np.ndarray, str]:
    """Return which crops are tested, (N,) bool, and by which rule."""
    halves = set(crops["half"])
    if halves == {"train", "test"}:
        return (crops["half"] == "test").to_numpy(bool), "the folders' split"
    by = "person_id" if shared_ids or crops["sequence_id"].nunique() == 1 else "sequence_id"
    held_out = choose_identities(crops[by], fraction, seed)
    what = "people" if by == "person_id" else "sequences"
    return crops[by].isin(held_out).to_numpy(bool), f"{len(held_out)} {what} of seed {seed} tested"


def _pieces(crops: pd.DataFrame, gap: int) -> pd.Series:
    """Return a name for each piece of a track: a person who is seen again after more than `gap` frames begins another."""
    ordered = crops.sort_values(["track", "frame_id"], kind="stable")
    pause = ordered["frame_id"].groupby(ordered["track"]).diff().fillna(0)
    begins = (pause > gap).astype("int64").groupby(ordered["track"]).cumsum() + 1
    return ordered["track"] + "/" + begins.astype(str)


def _ask_later(test: pd.DataFrame, gap: int) -> pd.DataFrame:
    """Make the first crop of each track a query and those at least `gap` frames later the gallery."""
    frames = test["frame_id"].groupby(test["track"])
    since = test["frame_id"] - frames.transform("min")
    asked = frames.transform("max") - frames.transform("min") >= gap
    split = np.where((since == 0) & asked, "query", "gallery")
    return test.assign(split=split)[(since == 0) | (since >= gap) | ~asked]


def _ask_across(test: pd.DataFrame) -> pd.DataFrame:
    """Make the first of several crops of a person in a camera a query, where another camera saw the person."""
    frames = test["frame_id"].groupby(test["track"])
    first = (test["frame_id"] == frames.transform("min")) & (frames.transform("size") > 1)
    several = test["track"].groupby(test["person_id"]).transform("nunique") > 1
    return test.assign(split=np.where(first & several, "query", "gallery"))
