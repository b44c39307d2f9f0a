"""Read the data of a page again: for any file, the result has the form that a run writes."""

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from reid_lightning.errors import InputError
from reid_lightning.files import read_own
from reid_lightning.results.browsing.content import BEGIN, DATA, END, VERSION

MOST_BYTES = 256_000_000
"""Of a page's data: 4,000 queries of 20,000 images have about 10 MB."""


def read_data(folder: Path) -> dict[str, Any]:
    """Return the data of a page.

    Raises:
        InputError: The file is missing, is not one of ours, or was written by another version.
    """
    file = folder / DATA
    try:
        text = read_own(file, MOST_BYTES).decode("ascii")
    except (OSError, ValueError):
        raise InputError(
            f"{file} cannot be read: write the page again with `reid report run {folder.parent}`."
        ) from None
    try:
        data = json.loads(text.removeprefix(BEGIN).removesuffix(END), parse_constant=_refuse)
        _require(text.startswith(BEGIN) and data["version"] == VERSION)
        _check(data)
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError, OverflowError):
        raise InputError(
            f"{file} is not the data of a page of this version: write it again with `reid report run {folder.parent}`."
        ) from None
    return {name: value for name, value in data.items() if name != "mark"}


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _check(data: Any) -> None:
    """Refuse data of another form.

    Raises:
        ValueError: A value is of another kind, a number stands for an image that is not there, or lists differ in length.
        KeyError: Something is missing.
    """
    images = data["images"]
    count, people, cameras = len(images["name"]), len(data["people"]), len(data["cameras"])
    _require(isinstance(data["known"], bool) and isinstance(data["protocol"], str))
    _require(_whole(data["gallery"], 0, 10**12))
    _every(_is_text, data["people"], data["cameras"], images["name"], images["attributes"])
    for attribute in data["attributes"]:
        _every(_is_text, [attribute["title"]], attribute["classes"])
    _require(all(len(codes) == len(data["attributes"]) for codes in images["attributes"]))
    _every(lambda value: _whole(value, -1, people), images["person"])
    _every(lambda value: _whole(value, -1, cameras), images["camera"])
    _every(lambda value: _whole(value, 0, 2), images["nobody"])
    _require(all(len(images[name]) == count for name in ("person", "camera", "nobody", "attributes")))
    _every(lambda value: _whole(value, 0, count), data["queries"])
    _require(bool(data["runs"]))
    for run in data["runs"]:
        _check_run(run, len(data["queries"]), count, cameras, data["known"])


def _check_run(run: Any, queries: int, images: int, cameras: int, known: bool) -> None:
    def is_image(value: Any) -> bool:
        return _whole(value, 0, images)

    _require(isinstance(run["name"], str))
    _require(all(len(run[name]) == queries for name in ("lists", "distances", "rest")))
    _every(is_image, *run["lists"])
    _every(_is_number, *run["distances"])
    _require(all(len(line) == len(gaps) for line, gaps in zip(run["lists"], run["distances"], strict=True)))
    for line in run["rest"]:
        _require(
            all(_whole(rank, 1, 10**12) and is_image(image) and _is_number(gap) for rank, image, gap in line)
        )
    if known:
        _require(all(len(run[name]) == queries for name in ("ap", "first", "matches", "kinds")))
        _every(_is_optional, run["ap"], run["first"])
        _every(lambda value: _whole(value, 0, 10**12), run["matches"])
        _every(_is_text, run["kinds"])
    if "pairs" in run:
        _every(lambda value: _whole(value, -1, cameras), run["pair_cameras"])
        _require(len(run["pairs"]) == queries)
        _require(all(len(line) == len(run["pair_cameras"]) for line in run["pairs"]))
        _every(_is_optional, *run["pairs"])


def _every(holds: Callable[[Any], bool], *lists: Iterable[Any]) -> None:
    _require(all(isinstance(values, list) and all(map(holds, values)) for values in lists))


def _require(holds: bool) -> None:
    if not holds:
        raise ValueError


def _whole(value: Any, low: int, end: int) -> bool:
    return type(value) is int and low <= value < end


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_optional(value: Any) -> bool:
    return value is None or _is_number(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
