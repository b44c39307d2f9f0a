"""The curves at tiny sizes: every part is measured, what is written can be read back, and the picture is drawn."""

import json
import os
import sys
from pathlib import Path

import pytest

from reid_lightning.data.readers.market1501 import read_market1501

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
PARTS = ("reading", "cache", "set_up", "first_batch")
pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


@pytest.fixture
def growth(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import growth

    yield growth
    for name in ("growth", "ranking", "measure"):
        sys.modules.pop(name, None)


def rows_of(growth, monkeypatch, folder, *arguments):
    """Run the script in this process and return its rows."""
    command = ["growth.py", *arguments, "--repeats", "1", "--json", str(folder / "rows.json")]
    monkeypatch.setattr(sys, "argv", [*command, "--picture", str(folder / "curves.png")])
    growth.main()
    assert (folder / "curves.png").stat().st_size > 5000
    return json.loads((folder / "rows.json").read_text())["rows"]


@pytest.mark.slow
def test_curves(growth, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(growth.SIZES, "evaluation", (200, 400, 10**9))
    monkeypatch.setitem(growth.SIZES, "training", (8, 16))
    monkeypatch.setitem(growth.SIZES, "table", (700, 10**9))
    before = dict(os.environ)
    curves = ("--curve", "evaluation", "training", "table", "--largest", "1000")
    rows = rows_of(growth, monkeypatch, tmp_path, *curves)
    assert dict(os.environ) == before
    assert [(row["curve"], row["size"]) for row in rows] == [
        ("evaluation", 200), ("evaluation", 400), ("training", 8), ("training", 16), ("table", 700), ("table", 700),
    ]  # fmt: skip
    for row in rows[-2:]:
        assert row["seconds"] == pytest.approx(sum(row[part] for part in PARTS))
        assert row[row["most"]] == max(row[part] for part in PARTS)
    shown = capsys.readouterr().out
    assert "evaluation over gallery images" in shown
    assert "first scan" in shown


def test_names_are_those_of_a_data_set(growth, monkeypatch, tmp_path):
    monkeypatch.setattr(growth, "LINKS", 100)  # as where a file may have no more names
    table = read_market1501(growth.write_names(tmp_path / "market", 1000))
    assert len(table) == 1000
    assert table["split"].value_counts().to_dict() == {"train": 500, "gallery": 450, "query": 50}
    asked = set(table.loc[table["split"] == "query", "person_id"])
    known = set(table.loc[table["split"] == "gallery", "person_id"])
    assert len(asked) == 25
    assert known & asked
    assert not set(table.loc[table["split"] == "train", "person_id"]) & (asked | known)


@pytest.mark.slow
def test_a_sweeps_jobs_are_counted(growth, monkeypatch, tmp_path, tiny):
    monkeypatch.setattr(growth, "JOB", (*tiny, *growth.JOB[:1]))
    monkeypatch.setitem(growth.SIZES, "sweep", (1, 3))
    rows = rows_of(growth, monkeypatch, tmp_path, "--curve", "sweep")
    assert [row["size"] for row in rows] == [1, 3]
    for row in rows:
        assert row["per_job"] == pytest.approx(row["seconds"] / row["size"])
        assert 0 < row["fit"] < row["per_job"]
        bare = row["fit"] + row["test"]
        assert row["beyond"] == pytest.approx(row["per_job"] - bare, abs=0.5)
        assert row["ratio"] == pytest.approx(row["per_job"] / bare, rel=0.5)
