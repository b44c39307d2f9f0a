"""Conditions in words against Python's own comparison, row by row."""

import operator
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reid_lightning.errors import InputError
from reid_lightning.inference.gallery.columns import KINDS, to_arrow
from reid_lightning.inference.gallery.filters import parse_condition

COLUMNS = {
    "camera_id": "text",
    "frame_id": "integer",
    "height": "number",
    "time": "time",
    "lit": "truth",
    "upper color": "text",
}
ROWS = {
    "camera_id": ["c1", "c2", "c3", None, "and"],
    "frame_id": [1, 2, None, 4, 10],
    "height": [1.5, None, 2.5, -1.0, 1e3],
    "time": [datetime(2026, 11, day, tzinfo=UTC) if day else None for day in (1, 2, 0, 3, 27)],
    "lit": [True, False, None, True, False],
    "upper color": ["dark red", "blue", "it's", None, ""],
}
TABLE = pa.table({name: pa.array(values, KINDS[COLUMNS[name]]) for name, values in ROWS.items()})


def chosen(text):
    return np.flatnonzero(parse_condition(text, COLUMNS).mask(TABLE)).tolist()


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("camera != c3", [0, 1, 3, 4]),
        ("camera_id == c3", [2]),
        ("camera=c3 or camera='c1'", [0, 2]),
        ("camera in (c1, c2,c9)", [0, 1]),
        ("camera not in (c1, c2)", [2, 3, 4]),
        ("camera = 'and'", [4]),
        ("camera is empty", [3]),
        ("not camera is empty and frame >= 2", [1, 4]),
        ("camera is not empty and not frame<2", [1, 2, 4]),
        ("frame > 1.5 AND frame <= 4", [1, 3]),
        ("frame in (1, 10)", [0, 4]),
        ("height < 0 or height > 2", [2, 3, 4]),
        ("height = -1e0", [3]),
        ("time < 2026-11-02", [0]),
        ("time >= 2026-11-02T01:00+01:00", [1, 3, 4]),
        ("lit", [0, 3]),
        ("not lit", [1, 2, 4]),
        ("lit = no", [1, 4]),
        ('"upper color" = "dark red"', [0]),
        ("'upper color' = 'it\\'s'", [2]),
        ("(camera = c1 or camera = c2) and frame = 2", [1]),
        ("camera = c1 or camera = c2 and frame = 1", [0]),
        ("not not camera = c1", [0]),
        ("  frame<>1  ", [1, 2, 3, 4]),
    ],
)  # fmt: skip
def test_conditions(text, rows):
    assert chosen(text) == rows


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a column is expected at character 1, found the end; the columns are camera_id, frame_id"),
        ("camera !=", "a value for camera_id is expected at character 10, found the end"),
        (
            "camra == c3",
            r"camra at character 1 is not a column \(did you mean camera_id\?\); the columns are camera_id",
        ),
        ("camera == c1 frame == 1", "and, or, or the end is expected at character 14, found frame"),
        ("(camera == c1", r"and, or, or \) is expected at character 14, found the end"),
        ("camera == c1)", r"expected at character 13, found \)"),
        ("camera", r"a comparison of camera_id \(== != < <= > >= in, is empty\) is expected at character 7"),
        ("camera in c1", r"a list such as \(a, b\) is expected at character 11, found c1"),
        ("camera in ()", r"a value for camera_id is expected at character 12, found \)"),
        ("camera in (c1 c2)", r", or \) is expected at character 15, found c2"),
        ("frame > abc", "frame_id holds numbers, which abc at character 9 is not"),
        ("frame > nan", "frame_id holds numbers, which nan"),
        ("frame > 1_0", "frame_id holds numbers, which 1_0"),
        ("time > yesterday", "time holds times such as 2026-11-27"),
        ("lit = maybe", "lit holds true or false"),
        ("lit < true", "lit is true or false, which < at character 5 does not compare"),
        ("camera = 'c1", "the quote ' at character 10 is not closed"),
        ("camera ! c1", "! at character 8 means nothing"),
        ("camera is full", "empty or not empty is expected at character 11"),
        ("camera not like c1", "in is expected at character 12, found like"),
        ("and = 1", "a column is expected at character 1, found and"),
        ("not " * 100 + "lit", "more than 50 conditions lie inside each other"),
        ("(" * 100_000, "more than 50 conditions lie inside each other"),
        ("__import__('os').system('true')", "__import__ at character 1 is not a column"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(text, message):
    with pytest.raises(InputError, match=f"^--where: .*{message}"):
        parse_condition(text, COLUMNS)


SIGNS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def _comparison(draw):
    column = draw(st.sampled_from(["frame_id", "height", "camera_id", "upper color"]))
    sign = draw(st.sampled_from(list(SIGNS)))
    if COLUMNS[column] == "text":
        value = draw(st.one_of(st.sampled_from(["c1", "c2", "and", "dark red"]), st.text(max_size=4)))
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        word = f"'{escaped}'"
    else:
        value = draw(st.one_of(st.integers(-3, 12), st.floats(-5, 5)))
        word = repr(value)

    def holds(row):
        cell = ROWS[column][row]
        return sign == "!=" if cell is None else SIGNS[sign](cell, value)

    return f"'{column}' {sign} {word}", holds


@st.composite
def conditions(draw, depth=3):
    kind = draw(st.sampled_from(["leaf", "not", "and", "or"])) if depth else "leaf"
    if kind == "leaf":
        return _comparison(draw)
    left, left_holds = draw(conditions(depth - 1))
    if kind == "not":
        return f"not ({left})", lambda row: not left_holds(row)
    right, right_holds = draw(conditions(depth - 1))
    joined = all if kind == "and" else any
    return f"({left}) {kind} ({right})", lambda row: joined((left_holds(row), right_holds(row)))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(conditions())
def test_any_condition_chooses_what_python_chooses(condition):
    text, holds = condition
    assert chosen(text) == [row for row in range(5) if holds(row)]


WORDS = [
    "camera",
    "frame",
    "lit",
    "==",
    "<",
    "(",
    ")",
    ",",
    "and",
    "or",
    "not",
    "in",
    "is",
    "empty",
    "c1",
    "'",
    "!",
    "2",
]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=12))
def test_any_words_are_a_condition_or_one_sentence(words):
    try:
        mask = parse_condition(" ".join(words), COLUMNS).mask(TABLE)
    except InputError as error:
        assert str(error).startswith("--where: ")  # noqa: PT017
    else:
        assert mask.shape == (5,)


def test_kinds_of_columns_are_told_by_their_cells():
    table = pd.DataFrame(
        {
            "path": ["a", "b", "c"],
            "person_id": ["0001", None, "-1"],
            "camera_id": [1.0, None, 2.0],
            "frame_id": ["3", "", None],
            "height": ["1.5", "", "2"],
            "code": ["007", "8", ""],
            "time": ["2026-11-27", "2026-11-27T12:30:00+02:00", None],
            "lit": ["true", "False", ""],
        }
    )
    found, kinds = to_arrow(table, {}, "album.csv")
    assert {name: kinds[name] for name in ("height", "code", "lit")} == {
        "height": "number",
        "code": "text",
        "lit": "truth",
    }
    rows = found.to_pydict()
    assert rows["person_id"] == ["0001", None, None]
    assert rows["camera_id"] == ["1", None, "2"]
    assert rows["frame_id"] == [3, None, None]
    assert rows["height"] == [1.5, None, 2.0]
    assert rows["code"] == ["007", "8", None]
    times = [time and time.isoformat() for time in rows["time"]]
    assert times == ["2026-11-27T00:00:00+00:00", "2026-11-27T10:30:00+00:00", None]  # fmt: skip
    assert rows["tracklet_id"] == [None] * 3


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("camid", ["a"], "a column camid, which looks like camera_id: rename it"),
        ("id", ["a"], "a column id, which looks like person_id"),
        ("added", ["2026-11-27"], "which every gallery has of its own"),
        ("time", ["soon"], "row 1 .*time is not a time such as"),
        ("time", [12], "time is not a time such as"),
        ("time", ["9999-12-31T23:59:59-23:00"], "time is not within the years 1 to 9999 UTC"),
        ("time", ["0001-01-01T00:00:00+23:00"], "time is not within the years 1 to 9999 UTC"),
        ("height", ["tall"], "height holds numbers in this gallery but 'tall'"),
        ("frame_id", [1.5], "frame_id is not an integer"),
    ],
)
def test_cells_that_do_not_fit_are_named(column, values, message):
    with pytest.raises(InputError, match=message):
        to_arrow(pd.DataFrame({"path": ["x.jpg"], column: values}), {"height": "number"}, "album.csv")
