"""The curves past one machine at tiny sizes: rows are written, workers may change no result, and the picture has dashes."""

import json
import os
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
    assert growth_machines.dashes("ray", [1, 2], [3.0, 5.0]) == ([1, 2], [3.0, 6.0])


def job(place, started, ended, lr, score):
    place.mkdir(parents=True)
    for name, text, at in (
        ("config.yaml", f"optimizer: {{lr: {lr}}}", started),
        ("metrics.json", json.dumps({"score": score}), ended),
        ("run.json", "{}", ended),
    ):
        (place / name).write_text(text)
        os.utime(place / name, (at, at))


def test_jobs_a_minute_are_counted_over_all_workers(growth_machines, tmp_path):
    for number in range(growth_machines.JOBS):
        job(
            tmp_path / str(number % 2) / str(number),
            1000 + 10 * number,
            1030 + 10 * number,
            number,
            number / 10,
        )
    found = growth_machines.rates([tmp_path])
    assert found["jobs_per_minute"] == 60 * 4 / 60
    assert growth_machines.jobs_in(tmp_path, "optimizer.lr") == {0: 0.0, 1: 0.1, 2: 0.2, 3: 0.3}
    (tmp_path / "1" / "3" / "metrics.json").unlink()
    with pytest.raises(RuntimeError, match="3 of 4 jobs have ended"):
        growth_machines.rates([tmp_path])


def test_workers_that_change_a_result_are_refused(growth_machines):
    rows = [{"curve": "ray", "size": size, "same": True, "scores": {1: 0.25}} for size in (1, 2)]
    growth_machines.check([*rows, {"curve": "nodes", "size": 1}])
    with pytest.raises(SystemExit, match="other scores"):
        growth_machines.check([*rows, {**rows[0], "scores": {1: 0.26}}])
    with pytest.raises(SystemExit, match="optuna with 2"):
        growth_machines.check([{"curve": "optuna", "size": 2, "same": False}])
