"""What in a data set a training or a test would suffer from, with the images that show it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from reid_lightning.data import near_duplicates as near
from reid_lightning.data.content import FINDINGS, repeated_pairs
from reid_lightning.data.image_facts import ImageFacts
from reid_lightning.data.table import camera_keys, identity_keys
from reid_lightning.data.table_checks import TEST

TINY = (32, 16)
"""Height and width in pixels below which an image is called tiny."""
EXAMPLES = 12
"""Of a finding that are kept."""


@dataclass(frozen=True)
class Example:
    """Images of one finding and a line below them.

    Attributes:
        rows: Of the table: one image, or two that are compared.
        text: What is to be said of them.
    """

    rows: tuple[int, ...]
    text: str


@dataclass(frozen=True)
class Finding:
    """Something that was looked for.

    Attributes:
        key: A word for it.
        title: What is counted, in words.
        rule: How it is found.
        count: How many there are; 0 is said, too.
        examples: The first of them.
    """

    key: str
    title: str
    rule: str
    count: int
    examples: Sequence[Example] = field(default=())


def find(table: pd.DataFrame, facts: ImageFacts) -> list[Finding]:
    """Return everything that is looked for, in the order of a page.

    Args:
        table: N rows, sources put together.
        facts: Of the same rows.
    """
    kept = np.setdiff1d(np.arange(len(table)), list(facts.damaged))
    return [
        *_of_files(table, facts, kept),
        *_repeated(table, facts, kept),
        *_alike(table, facts, kept),
        *_of_people(table),
    ]


def lacks_match(table: pd.DataFrame) -> np.ndarray:
    """Return which rows are queries of a known person without a true match: (N,) bool.

    A match is a gallery image of the person that the query's own camera has not taken; where a camera is unknown, nothing
    is excluded.

    Examples:
        >>> from reid_lightning.data.table import concatenate_tables
        >>> rows = {"path": ["a.jpg", "b.jpg"], "person_id": [7, 7], "split": ["query", "gallery"], "camera_id": [1, 1]}
        >>> lacks_match(concatenate_tables({"album": pd.DataFrame(rows)})).tolist()
        [True, False]
    """
    people, cameras = identity_keys(table), camera_keys(table)
    gallery = (table["split"] == "gallery").to_numpy() & ~table["distractor"].to_numpy(bool)
    asked = ((table["split"] == "query") & people.notna()).to_numpy(bool)
    all_of, same = people[gallery].value_counts(), pd.DataFrame({"person": people, "camera": cameras})
    here = same[gallery].dropna().value_counts()
    keys = pd.MultiIndex.from_frame(same)
    matches = people.map(all_of).fillna(0).to_numpy(float) - here.reindex(keys).fillna(0).to_numpy(float)
    return np.asarray(asked & (matches <= 0))


def _of_files(table: pd.DataFrame, facts: ImageFacts, kept: np.ndarray) -> Iterator[Finding]:
    damaged = sorted(facts.damaged)
    yield Finding(
        "unreadable",
        "missing or damaged images",
        "Every file is decoded to its end.",
        len(damaged),
        [Example((row,), facts.damaged[row]) for row in damaged[:EXAMPLES]],
    )
    height, width, _ = facts.sizes[kept].T
    tiny = kept[(height < TINY[0]) | (width < TINY[1])]
    yield Finding(
        "tiny",
        "tiny images",
        f"Lower than {TINY[0]} or narrower than {TINY[1]} pixels.",
        len(tiny),
        [
            Example((row,), f"{facts.sizes[row, 1]} x {facts.sizes[row, 0]} pixels")
            for row in tiny[:EXAMPLES].tolist()
        ],
    )


def _repeated(table: pd.DataFrame, facts: ImageFacts, kept: np.ndarray) -> Iterator[Finding]:
    for name, pairs in repeated_pairs(table.iloc[kept], facts.checksums[kept]).items():
        first = pairs.drop_duplicates("here")
        here, there = (kept[first[side].to_numpy(int)].tolist() for side in ("here", "there"))
        once = {
            frozenset(pair): pair for pair in reversed(list(zip(here, there, strict=True)))
        }  # not turned round
        shown = list(reversed(once.values()))[:EXAMPLES]
        examples = [Example(pair, _both(table, *pair)) for pair in shown]
        yield Finding(name, FINDINGS[name], "The same pixels in the same size.", len(first), examples)


def _alike(table: pd.DataFrame, facts: ImageFacts, kept: np.ndarray) -> Iterator[Finding]:
    split = table["split"].to_numpy(object)[kept]
    test, val, train = (kept[np.isin(split, names)] for names in (TEST, ["val"], ["train"]))
    sides = (
        (
            "near_test",
            "test images that look like a training or validation image",
            test,
            np.sort(np.r_[train, val]),
        ),
        ("near_val", "validation images that look like a training image", val, train),
    )
    for key, title, first, second in sides:
        if not len(first) or not len(second):
            continue
        found = near.near_duplicates(facts.hashes, facts.gray, first, second, facts.checksums)
        few = ""
        if found.compared != (len(first), len(second)):
            few = f" Compared: {found.compared[0]:,} of {len(first):,} and {found.compared[1]:,} of {len(second):,} images."
        yield Finding(
            key,
            title,
            f"Different pixels; the perceptual hash (64 bits) differs in at most {near.MOST_BITS}, and gray thumbnails "
            f"correlate with {near.LEAST_CORRELATION} or more. Cropped copies are mostly missed.{few}",
            len(found.pairs),
            [
                Example((a, b), f"{_both(table, a, b)}; correlation {correlation:.3f}")
                for (a, b), correlation in zip(
                    found.pairs[:EXAMPLES].tolist(), found.correlations.tolist(), strict=False
                )
            ],
        )


def _of_people(table: pd.DataFrame) -> Iterator[Finding]:
    people = identity_keys(table).where(~table["distractor"])
    side = table["split"].isin(TEST).map({True: "test", False: "train"})
    known = pd.DataFrame({"person": people, "side": side, "camera": camera_keys(table)})[people.notna()]
    groups = known.groupby("person", sort=True)
    sides, cameras, images = groups["side"].nunique(), groups["camera"].nunique(), groups.size()
    unknown = known["camera"].isna().groupby(known["person"]).any()
    yield _people(
        known,
        sides.index[sides > 1],
        "leakage",
        "people of both training and test",
        "The same person in the split train or val and in query or gallery.",
    )
    once = sides.index[(cameras == 1) & ~unknown & (images > 1)]
    rule = "All cameras of the person are known and the same one, so that no search across cameras can find a match."
    yield _people(known, once, "one_camera", "people seen by one camera only", rule)
    single = images.index[images == 1]
    yield _people(
        known,
        single,
        "one_image",
        "people with a single image",
        "No other image of the person is in the data.",
    )
    lost = np.flatnonzero(lacks_match(table))
    yield Finding(
        "no_match",
        "queries without a true match",
        "The gallery has no image of the person by another camera (or none at all, where cameras are unknown).",
        len(lost),
        [Example((row,), _name(table, row)) for row in lost[:EXAMPLES].tolist()],
    )


def _people(known: pd.DataFrame, names: pd.Index, key: str, title: str, rule: str) -> Finding:
    """A finding of people, each shown by the first image and, of a leak, by one of the other side."""
    shown = known[known["person"].isin(names[:EXAMPLES])]
    examples = []
    for name, rows in shown.groupby("person", sort=True):
        first = rows.drop_duplicates("side").index.tolist() if key == "leakage" else [rows.index[0]]
        examples.append(
            Example(tuple(int(row) for row in first), f"{name}: {len(rows):,} image{'s' * (len(rows) != 1)}")
        )
    return Finding(key, title, rule, len(names), examples)


def _both(table: pd.DataFrame, first: int, second: int) -> str:
    return f"{_name(table, first)} and {_name(table, second)}"


def _name(table: pd.DataFrame, row: int) -> str:
    """Return who an image shows, in which split, by which camera."""
    found = table.iloc[int(row)]
    person = found["person_id"] if pd.notna(found["person_id"]) else "an unknown person"
    camera = f", camera {found['camera_id']}" if pd.notna(found["camera_id"]) else ""
    return f"{'distractor' if found['distractor'] else person} ({found['split']}{camera})"
