"""The curves past one machine at tiny sizes: rows are written, and the picture has dashes for what was not measured."""

import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def growth_machines(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import growth_machines

    yield growth_machines
    for name in ("growth_machines", "growth", "gallery", "ranking", "measure"):
        sys.modules.pop(name, None)


@pytest.mark.slow
def test_a_gallery_is_measured_and_drawn(growth_machines, monkeypatch, tmp_path):
    monkeypatch.setitem(growth_machines.SIZES, "gallery", (40, 400))
    written, drawn = tmp_path / "rows.json", tmp_path / "curves.png"
    options = ["--curve", "gallery", "--repeats", "1", "--json", str(written), "--picture", str(drawn)]
    monkeypatch.setattr(sys, "argv", ["growth_machines.py", *options])
    growth_machines.main()
    rows = json.loads(written.read_text())["rows"]
    assert [(row["curve"], row["size"]) for row in rows] == [("gallery", 40), ("gallery", 400)]
    assert drawn.stat().st_size > 5000


def test_dashes_are_in_proportion(growth_machines):
    beyond = growth_machines.BEYOND
    assert growth_machines.dashes("gallery", [10, 100], [1.0, 8.0]) == (
        [100, beyond],
        [8.0, 8.0 * beyond / 100],
    )
    assert growth_machines.dashes("nodes", [1, 2], [5.0, 6.0]) == ([1, 2], [5.0, 10.0])
