"""Images that occur twice: on both sides of a split, under two people, or in two rows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from reid_lightning.data.table import identity_keys

#: What each count of `Content` means, in words that follow a number.
FINDINGS = {
    "test_in_train": "test images that are also training or validation images",
    "val_in_train": "validation images that are also training images",
    "query_in_gallery": "queries that are also in the gallery, where the protocol would count them",
    "two_people": "images that are given to two people",
    "doubled": "images that repeat another one of the same person and split",
}


@dataclass(frozen=True)
class Content:
    """Which images of a table occur twice.

    Attributes:
        compared: What was compared, `pixels` as a network sees them, or only `paths`.
        counts: How many images each of `FINDINGS` is true of; all of them, zeros included.
        examples: Two paths with the same content for each finding that there is.
    """

    compared: str
    counts: Mapping[str, int]
    examples: Mapping[str, tuple[str, str]]

    def sentences(self) -> Iterator[str]:
        """Yield a sentence for each finding, the first example included."""
        for name, (first, second) in self.examples.items():
            same = "a path in two rows" if self.compared == "paths" else "the same pixels"
            where = first if first == second else f"{first} and {second}"
            yield f"{self.counts[name]:,} {FINDINGS[name]} ({same}: {where})."

    def describe(self) -> str:
        """Return all findings in a few words."""
        found = [f"{count:,} {FINDINGS[name]}" for name, count in self.counts.items() if count]
        return ("; ".join(found) or "none") + (" (only paths compared)" if self.compared == "paths" else "")


def compare_content(table: pd.DataFrame, checksums: np.ndarray | None = None) -> Content:
    """Find the images of a table that occur twice.

    A query in the gallery is left out where it is the same person and the same known camera, which the usual protocol
    excludes. Distractors show nobody, so that they are not counted as people; neither are unknown people.

    Args:
        table: N rows, sources put together, with their splits.
        checksums: Hash of each image's pixels, (N,); None compares the paths.

    Examples:
        >>> from reid_lightning.data.table import concatenate_tables
        >>> rows = {"path": ["a.jpg", "a.jpg"], "person_id": [7, 7], "split": ["train", "query"]}
        >>> compare_content(concatenate_tables({"album": pd.DataFrame(rows)})).counts["test_in_train"]
        1
    """
    compared = "paths" if checksums is None else "pixels"
    found = repeated_pairs(table, checksums)
    return Content(
        compared,
        {name: pairs["here"].nunique() for name, pairs in found.items()},
        {
            name: (pairs["path"].iloc[0], pairs["other"].iloc[0])
            for name, pairs in found.items()
            if len(pairs)
        },
    )


def repeated_pairs(table: pd.DataFrame, checksums: np.ndarray | None = None) -> dict[str, pd.DataFrame]:
    """Return the pairs of images with the same content for each of `FINDINGS`; see `compare_content` for the arguments.

    Returns:
        Columns `path` and `other`, the two files, and `here` and `there`, their places in the table, among others.
    """
    codes, uniques = pd.factorize(table["path"] if checksums is None else checksums)
    repeated = np.flatnonzero(np.bincount(codes, minlength=len(uniques))[codes] > 1)
    if not len(repeated):
        empty = pd.DataFrame({"here": [], "there": [], "path": [], "other": []}).astype(
            {"here": int, "there": int}
        )
        return dict.fromkeys(FINDINGS, empty)
    rows = table.iloc[repeated]
    same = pd.DataFrame(
        {
            "content": codes[repeated],
            "path": rows["path"].to_numpy(object),
            "split": rows["split"].to_numpy(object),
            "person": identity_keys(rows).to_numpy(object),
            "camera": rows["camera_id"].to_numpy(object),
            "nobody": rows["distractor"].to_numpy(bool),
        },
        index=repeated,
    )
    return {
        "test_in_train": _on_both_sides(same, ["query", "gallery"], ["train", "val"]),
        "val_in_train": _on_both_sides(same, ["val"], ["train"]),
        "query_in_gallery": _counted_queries(same),
        "two_people": _of_two_people(same),
        "doubled": _doubled(same),
    }


def _pairs(here: pd.DataFrame, there: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs of rows with the same content: `here` is the first one's row, `path` and `other` their files."""
    right = there.rename(columns={"path": "other", "person": "whose", "camera": "seen_by"})
    return (
        here.rename_axis("here")
        .reset_index()
        .merge(
            right.rename_axis("there").reset_index()[["content", "there", "other", "whose", "seen_by"]],
            on="content",
        )
    )


def _on_both_sides(same: pd.DataFrame, these: list[str], those: list[str]) -> pd.DataFrame:
    first = same[same["split"].isin(those)].drop_duplicates("content")
    return _pairs(same[same["split"].isin(these)], first)


def _counted_queries(same: pd.DataFrame) -> pd.DataFrame:
    known = same[same["person"].notna()]
    gallery = known[known["split"] == "gallery"].drop_duplicates(["content", "person", "camera"])
    pairs = _pairs(known[known["split"] == "query"], gallery)
    excluded = (pairs["person"] == pairs["whose"]) & (pairs["camera"] == pairs["seen_by"]).fillna(False)
    return pairs[~excluded.astype(bool)]


def _of_two_people(same: pd.DataFrame) -> pd.DataFrame:
    people = same[~same["nobody"] & same["person"].notna()]
    pairs = _pairs(people, people.drop_duplicates(["content", "person"]))
    return pairs[pairs["person"] != pairs["whose"]]


def _doubled(same: pd.DataFrame) -> pd.DataFrame:
    key = ["content", "person", "split"]
    first = same[~same.duplicated(key)]
    pairs = _pairs(same[same.duplicated(key)], first)
    return pairs[(pairs["person"] == pairs["whose"])]
