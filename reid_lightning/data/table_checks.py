"""What a table shows to be wrong or odd before any image is decoded: errors, and sentences for the log."""

import unicodedata
from collections.abc import Iterator

import pandas as pd

from reid_lightning.data.cells import printable
from reid_lightning.data.table import identity_keys
from reid_lightning.errors import InputError

TEST = ("query", "gallery")
_EMPTY_WORDS = (
    "nan",
    "none",
    "null",
    "na",
    "<na>",
    "n/a",
    "unknown",
)  # what other programs write for an empty cell
_NAMED = {
    "person_id": "show a person",
    "camera_id": "come from a camera",
    "tracklet_id": "belong to a tracklet",
}


def has_nameless_test(table: pd.DataFrame) -> bool:
    """Return whether there are queries and a gallery, and of none of their images it is known whom they show.

    Such a test set is ranked and described, and nothing is scored. Where some people are known, the images of the others
    are junk: they are neither right nor wrong.
    """
    rows = table.loc[table["split"].isin(TEST), ["split", "person_id"]]
    return bool(rows["split"].nunique() == len(TEST) and rows["person_id"].isna().all())


def check_test(table: pd.DataFrame) -> None:
    """Refuse queries without a gallery, the other way round, and a gallery without anybody of the queries.

    A test set without any identities is none of these (`has_nameless_test`).

    Raises:
        InputError: The test set is one of these.
    """
    present = set(table["split"]) & set(TEST)
    if len(present) == 1 and table.loc[table["split"].isin(TEST), "person_id"].isna().all():
        missing = next(split for split in TEST if split not in present)
        raise InputError(
            f"The data has rows of the split {present.pop()} and none of {missing}: a test needs both."
        )
    keys = identity_keys(table)
    asked, known = (set(keys[table["split"] == split].dropna()) for split in ("query", "gallery"))
    if bool(asked) != bool(known):
        raise InputError(
            "The data has rows of only one of the splits query and gallery whose person is known: a test "
            "needs both, and a training without a test neither."
        )
    if asked and not asked & known:
        raise InputError(
            "None of the queries has its person in the gallery: check that both name their identities alike."
        )


def remarks(table: pd.DataFrame, unlabelled: bool = False) -> list[str]:
    """Return what is odd about tables put together, a sentence each: nothing of it keeps a run from working.

    Args:
        table: Sources put together.
        unlabelled: Whether images of unknown people train too.

    Examples:
        >>> from reid_lightning.data.table import concatenate_tables
        >>> rows = {"path": ["a.jpg", "b.jpg"], "person_id": [None, 7], "split": ["train", "train"]}
        >>> remarks(concatenate_tables({"album": pd.DataFrame(rows)}))
        ['album: 1 image of unknown people (no person_id): left out of the training: 1']
    """
    found: list[str] = []
    for source, rows in table.groupby("source", sort=False):
        found += [f"{source}: {sentence}" for sentence in _of_source(rows, unlabelled)]
    return found


def _of_source(table: pd.DataFrame, unlabelled: bool) -> Iterator[str]:
    people, split = table["person_id"], table["split"]
    if has_nameless_test(table):
        yield describe_nameless(table)
        people, split = people[~split.isin(TEST)], split[~split.isin(TEST)]
    trains = (split == "train") & unlabelled
    yield from _unknown(people[~trains], split[~trains])
    yield from _shared(table)
    yield from _repeated(table)
    for name in ("person_id", "camera_id"):
        yield from _alike(table[name], name)
    for name, what in _NAMED.items():
        words = table[name][table[name].str.lower().isin(_EMPTY_WORDS)]
        if len(words):
            yield f"{len(words)} images {what} called {words.iloc[0]}: leave {name} empty where it is not known"
    people, split = table["person_id"], table["split"]
    nobody = people[(split == "gallery") & ~table["distractor"] & people.str.fullmatch("0+").fillna(False)]
    if len(nobody):
        yield (
            f"{len(nobody)} gallery images show a person called {nobody.iloc[0]}: Market-1501 calls its distractors so; if "
            "these are, say it in a column distractor"
        )


def describe_nameless(table: pd.DataFrame) -> str:
    """Return what a test set without identities means, in a sentence without its end."""
    queries, gallery = ((table["split"] == split).sum() for split in TEST)
    return (
        f"the test set has no identities: {queries:,} queries and {_images(gallery)} of the gallery are ranked, and nothing "
        "is scored"
    )


def _unknown(people: pd.Series, split: pd.Series) -> Iterator[str]:
    unknown = split[people.isna()]
    if len(unknown):
        counts = {
            "left out of the training": int(unknown.isin(("train", "val")).sum()),
            "queries left out": int((unknown == "query").sum()),
            "gallery images that count neither as right nor as wrong": int((unknown == "gallery").sum()),
        }
        parts = ", ".join(f"{what}: {count}" for what, count in counts.items() if count)
        yield f"{_images(len(unknown))} of unknown people (no person_id): {parts}"


def _shared(table: pd.DataFrame) -> Iterator[str]:
    """Say that people of the test also train."""
    table = table[~table["distractor"] & table["person_id"].notna()]
    trained = set(table.loc[table["split"] == "train", "person_id"])
    tested = set(table.loc[table["split"].isin(TEST), "person_id"])
    both = sorted(trained & tested)
    if both:
        yield (
            f"{len(both)} of {len(tested)} people of the test also train ({both[0]} for one), so that its numbers are "
            "better than those of new people would be"
        )


def _repeated(table: pd.DataFrame) -> Iterator[str]:
    repeated = table["path"][table["path"].duplicated()]
    if len(repeated):
        again = table[table["path"].isin(set(repeated))].groupby("path")["split"].agg(set)
        sides = int(again.map(lambda splits: len(splits) > 1).sum())
        across = f"; {sides} of them lie in several splits, as a query in its own gallery" if sides else ""
        more = "are files" if len(again) > 1 else "is a file"
        yield f"{len(again)} {more} with several rows ({printable(str(again.index[0]))} for one){across}"


def _alike(names: pd.Series, column: str) -> Iterator[str]:
    """Say that names differ in capitals, leading zeros, the width of letters or characters that are not seen only."""
    different = pd.Series(names.dropna().unique(), dtype="string").sort_values()
    plain = different.map(_plain).str.replace(r"^0+(?=[0-9])", "", regex=True)
    alike = different[plain.duplicated(keep=False)]
    if len(alike):
        first = alike[plain[alike.index] == plain[alike.index[0]]]
        shown = first.map(_visible)
        yield f"{column} {' and '.join(shown)} are read as different ones: write them alike if they are the same"


def _plain(name: str) -> str:
    """Return a name without capitals, characters that are not seen, and other forms of the same letters (NFKC)."""
    seen = "".join(letter for letter in name if unicodedata.category(letter) != "Cf")
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", seen).casefold())


def _visible(name: str) -> str:
    """Return a name with what a terminal shows as nothing, or as another letter, written as an escape."""
    hidden = any(unicodedata.category(letter) == "Cf" for letter in name)
    return ascii(name)[1:-1] if hidden or unicodedata.normalize("NFKC", name) != name else name


def _images(count: int) -> str:
    return f"{count:,} image{'s' * (count != 1)}"
