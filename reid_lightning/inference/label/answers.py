"""The filled CSV of a round, whose every bad row is named, and the links that follow from all rounds."""

from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import pandas as pd

from reid_lightning.data.delimited import read_delimited
from reid_lightning.errors import InputError
from reid_lightning.inference.label.folder import ANSWERS, COLUMNS, Asked, Earlier, Round
from reid_lightning.reporting.cells import read_cell, write_csv
from reid_lightning.retrieval.links import Answer, Link, Links

MOST_NAMED = 20  # bad rows in one message


def write_questions(questions: list[Asked], paths: list[str], file: Path) -> None:
    """Write the CSV to fill in, with an empty column `answer`."""
    rows = [
        (each.pair, paths[each.first], paths[each.second], round(each.distance, 4), each.question, "")
        for each in questions
    ]
    write_csv(pd.DataFrame(rows, columns=list(COLUMNS)), file)


def read_answers(file: Path, asked: Round) -> list[Earlier]:
    """Return the answers of a filled CSV; a row that has none yet is passed over.

    A row names its images by the number of its pair. One without a number, which somebody has added, names them by path.

    Args:
        file: The CSV.
        asked: The round that it answers.

    Raises:
        InputError: The file cannot be read, lacks a column, or has rows that cannot be used; they are named, up to 20.
    """
    table = read_delimited(file)
    for name in ("path_a", "path_b", "answer"):
        if name not in table.columns:
            raise InputError(
                f"{file} has no column {name}: it has {', '.join(map(str, table.columns))}; `reid label` writes "
                f"{', '.join(COLUMNS)}."
            )
    pairs = {each.pair: each for each in asked.questions}
    numbers = {path: row for row, path in enumerate(asked.paths)}
    found, wrong = [], []
    for row, cells in enumerate(table.to_dict("records"), start=1):
        given = {
            str(name): "" if pd.isna(value) else str(read_cell(value)) for name, value in cells.items()
        }  # NaN where a cell is empty
        answer = given["answer"].lower()
        if not answer:
            continue
        reason = _wrong(given, answer, pairs, numbers, asked.paths)
        if reason:
            wrong.append(f"row {row}: {reason}")
            continue
        if given.get("pair"):
            pair = pairs[int(given["pair"])]
            first, second = asked.paths[pair.first], asked.paths[pair.second]
        else:
            first, second = given["path_a"], given["path_b"]
        found.append(Earlier(first, second, answer, f"{file}, row {row}"))  # type: ignore[arg-type]
    if wrong:
        more = f", and {len(wrong) - MOST_NAMED} more" if len(wrong) > MOST_NAMED else ""
        raise InputError(f"{file} cannot be used; {'; '.join(wrong[:MOST_NAMED])}{more}: correct these rows.")
    return found


def links_of(answers: list[Earlier], paths: list[str]) -> tuple[list[Link], Links]:
    """Return answers as links between images, and what follows from them.

    Raises:
        InputError: An answer is about an image that is not there, or answers contradict each other.
    """
    numbers = {path: row for row, path in enumerate(paths)}
    links = []
    for each in answers:
        for path in (each.first, each.second):
            if path not in numbers:
                raise InputError(
                    f"{each.name} is about {path}, which is not among the images: give the images of the earlier round too."
                )
        links.append(Link(numbers[each.first], numbers[each.second], each.answer, each.name))
    return links, Links.of(links, len(paths), paths)


def all_answers(folder: Path, filled: Path | None) -> tuple[Round, list[Earlier]]:
    """Return a folder's round, and the answers of all rounds up to it.

    Args:
        folder: Of a round.
        filled: Its filled CSV; None: that in the folder.

    Raises:
        InputError: The folder or the CSV cannot be used.
    """
    asked = Round.read(folder)
    return asked, [*asked.earlier, *read_answers(filled or folder / ANSWERS, asked)]


def _wrong(
    given: Mapping[str, str],
    answer: str,
    pairs: Mapping[int, Asked],
    numbers: Mapping[str, int],
    paths: list[str],
) -> str:
    """Return what is wrong with a row, empty where nothing is."""
    if answer not in get_args(Answer):
        return f"answer is not one of {', '.join(get_args(Answer))}, got {given['answer']}"
    if pair := given.get("pair"):
        if not pair.isascii() or not pair.isdigit() or int(pair) not in pairs:
            return f"there is no pair {pair} in this round"
        each = pairs[int(pair)]
        for name, image in (("path_a", each.first), ("path_b", each.second)):
            if given[name] != _written(paths[image]):
                return f"{name} is not that of pair {pair}, which is {paths[image]}"
        return ""
    for name in ("path_a", "path_b"):
        if given[name] not in numbers:
            return f"{name} is not among the images, got {given[name] or 'nothing'}"
    return "path_a and path_b are the same image" if given["path_a"] == given["path_b"] else ""


def _written(path: str) -> str:
    """Return a path as the CSV's reader finds it: bytes that are not UTF-8 are escapes, and spaces around it are gone."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8").strip()
