"""The counts that papers give for public data sets, and how a copy differs from them."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from reid_lightning.data.table import SPLITS, identity_keys, tracklet_keys


@dataclass(frozen=True)
class Published:
    """A public data set in one protocol.

    Attributes:
        name: What it is called.
        paper: Where the counts come from.
        counts: By split, some of images, identities, distractors, tracklets. Distractors are images of nobody, or tracklets
            where those are counted.
        protocol: A part of what the reader says about the split; empty: any.
    """

    name: str
    paper: str
    counts: Mapping[str, Mapping[str, int]]
    protocol: str = ""


def _images(
    train: tuple[int, int], query: tuple[int, int], gallery: tuple[int, int]
) -> dict[str, dict[str, int]]:
    """Return images and identities of the three splits."""
    pairs = zip(("train", "query", "gallery"), (train, query, gallery), strict=True)
    return {split: {"images": images, "identities": people} for split, (images, people) in pairs}


_CUHK03 = "Zhong et al., CVPR 2017 (new protocol)"
_MSMT17 = "Wei et al., CVPR 2018"
_MARKET = _images((12_936, 751), (3_368, 750), (15_913, 750))
_MARKET["gallery"]["distractors"] = 2_798

#: By the name of a source, as in `data=NAME`. Where there are several, those that fit best are compared.
PUBLISHED: Mapping[str, tuple[Published, ...]] = {
    "market1501": (Published("Market-1501 (without junk)", "Zheng et al., ICCV 2015", _MARKET),),
    "msmt17": (
        Published(
            "MSMT17, train + val",
            _MSMT17,
            _images((32_621, 1_041), (11_659, 3_060), (82_161, 3_060)),
            "train + val",
        ),
        Published("MSMT17", _MSMT17, _images((30_248, 1_041), (11_659, 3_060), (82_161, 3_060))),
    ),
    "cuhk03": (
        Published(
            "CUHK03, detected boxes",
            _CUHK03,
            _images((7_365, 767), (1_400, 700), (5_332, 700)),
            "detected boxes",
        ),
        Published(
            "CUHK03, labeled boxes",
            _CUHK03,
            _images((7_368, 767), (1_400, 700), (5_328, 700)),
            "labeled boxes",
        ),
    ),
    "cuhk03_classic": (
        Published(
            "CUHK03, its own splits",
            "Li et al., CVPR 2014",
            {"train": {"identities": 1_367}, "query": {"identities": 100}, "gallery": {"identities": 100}},
        ),
    ),
    "cuhk01": (
        Published("CUHK01, 485/486", "Li et al., ACCV 2012", _images((1_940, 485), (972, 486), (972, 486))),
        Published("CUHK01, 487/484", "Li et al., ACCV 2012", _images((1_948, 487), (968, 484), (968, 484))),
    ),
    "viper": (Published("VIPeR", "Gray et al., PETS 2007", _images((632, 316), (316, 316), (316, 316))),),
    "prid2011": (
        Published(
            "PRID2011, single shot",
            "Hirzer et al., SCIA 2011",
            {
                "train": {"images": 200, "identities": 100},
                "query": {"images": 100, "identities": 100},
                "gallery": {"images": 649},
            },
        ),
    ),
    "prid2011_video": (
        Published(
            "PRID2011, walks",
            "Hirzer et al., SCIA 2011",
            {
                "train": {"identities": 89, "tracklets": 178},
                "query": {"identities": 89, "tracklets": 89},
                "gallery": {"identities": 89, "tracklets": 89},
            },
        ),
    ),
    "ilids_vid": (
        Published(
            "iLIDS-VID",
            "Wang et al., ECCV 2014",
            {
                "train": {"identities": 150, "tracklets": 300},
                "query": {"identities": 150, "tracklets": 150},
                "gallery": {"identities": 150, "tracklets": 150},
            },
        ),
    ),
    "mars": (
        Published(
            "MARS",
            "Zheng et al., ECCV 2016",
            {
                "train": {"identities": 625, "tracklets": 8_298},
                "query": {"identities": 626, "tracklets": 1_980},
                "gallery": {"tracklets": 9_330},
            },
        ),
    ),
}


@dataclass(frozen=True)
class Comparison:
    """A source against what is published of it.

    Attributes:
        published: The data set, and in which protocol.
        differences: A sentence each; empty where every published number is met.
    """

    published: Published
    differences: tuple[str, ...]


def count(table: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Return images, identities, distractors and tracklets of each split that occurs; distractors are no identities.

    Examples:
        >>> from reid_lightning.data.table import concatenate_tables
        >>> rows = {"path": ["a.jpg", "b.jpg"], "person_id": [7, 7], "split": ["train", "train"]}
        >>> count(concatenate_tables({"album": pd.DataFrame(rows)}))
        {'train': {'images': 2, 'identities': 1, 'distractors': 0, 'tracklets': 0}}
    """
    people, tracklets = identity_keys(table[~table["distractor"]]), tracklet_keys(table)
    found = {}
    for split in SPLITS:
        inside = table["split"] == split
        if inside.any():
            found[split] = {
                "images": int(inside.sum()),
                "identities": people[inside.reindex(people.index)].nunique(),
                "distractors": int(table.loc[inside, "distractor"].sum()),
                "tracklets": tracklets[inside].nunique(),
            }
    return found


def compare_published(rows: pd.DataFrame, source: str) -> Comparison | None:
    """Compare a source with the published counts; None where none are known of a source of this name.

    Args:
        rows: The source's rows of the table.
        source: Its name.
    """
    said = set(rows["protocol"].dropna()) if "protocol" in rows.columns else set()
    if source not in PUBLISHED or any("withdrawn" in protocol for protocol in said):
        return None
    own = count(rows)
    variants = [
        variant
        for variant in PUBLISHED[source]
        if any(variant.protocol in protocol for protocol in said or {""})
    ] or list(PUBLISHED[source])
    compared = [Comparison(variant, tuple(_differences(own, variant))) for variant in variants]
    return min(compared, key=lambda comparison: len(comparison.differences))


def _differences(own: Mapping[str, Mapping[str, int]], published: Published) -> list[str]:
    found = []
    for split, numbers in published.counts.items():
        if split not in own:
            found.append(f"{split}: there is no image of this split.")
            continue
        for what, expected in numbers.items():
            if (difference := own[split][what] - expected) != 0:
                word = "more" if difference > 0 else "fewer"
                found.append(
                    f"{split}: {own[split][what]:,} {what}, {abs(difference):,} {word} than the published {expected:,}."
                )
    if "val" in own and "val" not in published.counts:
        found.append(f"val: {own['val']['images']:,} images of a split that the protocol does not have.")
    return found
