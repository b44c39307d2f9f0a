import csv
import io

import pandas as pd
import pytest

from reid_lightning.reporting.cells import read_cell, write_cell, write_csv

TEXTS = (
    "=1",
    "+a",
    "-2+3",
    "@x",
    "\t=1",
    "\r=1",
    "\n=1",
    "a\r=1",
    "'=1",
    "''",
    "'n",
    "-1",
    "+1.5e3",
    "1",
    "",
    "Zoë",
    "\uff1d1",
)


@pytest.mark.parametrize("text", TEXTS)
def test_text_is_no_formula_and_is_read_back(tmp_path, text):
    table = pd.DataFrame({"name": pd.Series([text, "b"], dtype=object), text: [-1.5, None], "n": [1, -2]})
    write_csv(table, tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        head, first, second = csv.reader(file)
    assert first[1:] == ["-1.5", "1"]
    assert second == ["b", "", "-2"]
    assert [read_cell(first[0]), read_cell(head[1])] == [text, text]
    number = text in ("-1", "+1.5e3")
    for cell in (first[0], head[1]):
        assert number or cell[:1] not in ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d") or not cell


def test_tables_without_formulas_are_as_pandas_writes_them(tmp_path):
    table = pd.DataFrame(
        {
            "path": ["a,b.jpg", 'c"d'],
            "person_id": ["0001", None],
            "ap": [0.1 + 0.2, None],
            "ok": [True, False],
        }
    )
    write_csv(table, tmp_path / "t.csv")
    expected = io.StringIO()
    table.to_csv(expected, index=False)
    assert (tmp_path / "t.csv").read_text() == expected.getvalue()
    assert write_cell(float("nan")) != write_cell(float("nan"))
