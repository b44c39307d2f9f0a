"""What counts as the same digits, on files of runs that nobody trained."""

import json
import math
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
METRICS = {
    "score": 0.5,
    "validation": {"mAP": 0.5},
    "test": {"mAP": 0.25},
    "attributes": {"accuracy": 0.75, "hat/accuracy": 0.5},
    "cost": {
        "train_seconds": 2.0,
        "images_per_second": 9.0,
        "peak_gpu_memory_mb": 1.0,
        "seconds": {"fit": 3.0},
    },
}
WEIGHTS = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([3.0, 4.0]), "n": torch.tensor(7)}
STEPS = "epoch,step,train/loss,val/mAP,train/images_per_second\n0,0,2.5,,9\n0,1,1.25,,9\n0,1,,0.5,9\n"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import same_digits

    yield same_digits
    sys.modules.pop("same_digits", None)


@pytest.fixture
def run_folder(tmp_path):
    """Return a function that writes what a run leaves."""

    def write(name, metrics=METRICS, steps=STEPS, weights=WEIGHTS):
        folder = tmp_path / name
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "metrics.json").write_text(json.dumps(metrics))
        (folder / "metrics.csv").write_text(steps)
        torch.save({"state_dict": weights}, folder / "checkpoints" / "last.ckpt")
        return folder

    return write


def test_equal_runs(script, run_folder):
    found = script.compare_folders(run_folder("before"), run_folder("after"))
    assert all(part.same for part in found.values())
    assert {name: part.values for name, part in found.items()} == {"results": 5, "steps": 9, "weights": 3}


def test_times_are_not_compared(script, run_folder):
    cost = {
        "train_seconds": 1.0,
        "images_per_second": 8.0,
        "peak_gpu_memory_mb": 5.0,
        "seconds": {"fit": 1.0},
    }
    after = run_folder("after", METRICS | {"cost": cost}, STEPS.replace(",9\n", ",8\n"))
    assert all(part.same for part in script.compare_folders(run_folder("before"), after).values())


def test_names_that_moved_are_found(script, run_folder):
    metrics = {key: value for key, value in METRICS.items() if key != "attributes"}
    metrics["tasks"] = {"attributes": {"accuracy": 0.75, "hat": {"accuracy": 0.5}}}
    weights = {f"network.{name}": tensor for name, tensor in WEIGHTS.items()}
    steps = STEPS.replace("train/loss", "train/all/loss").replace("val/mAP", "val/retrieval/mAP")
    found = script.compare_folders(run_folder("before"), run_folder("after", metrics, steps, weights))
    assert all(part.same for part in found.values())


@pytest.mark.parametrize("part", ["results", "steps", "weights"])
def test_a_last_digit_differs(script, run_folder, part):
    changed = {
        "results": {"metrics": METRICS | {"test": {"mAP": math.nextafter(0.25, 1)}}},
        "steps": {"steps": STEPS.replace("1.25", "1.2500000000000002")},
        "weights": {"weights": WEIGHTS | {"b": torch.tensor([3.0, math.nextafter(4.0, 5.0) + 1e-6])}},
    }[part]
    found = script.compare_folders(run_folder("before"), run_folder("after", **changed))
    assert [name for name, comparison in found.items() if not comparison.same] == [part]
    assert 0 < found[part].largest < 1e-5
    assert found[part].differing == [{"results": "test/mAP", "steps": "train/loss", "weights": "b"}[part]]


def test_what_is_lost_differs_and_what_is_new_does_not(script):
    before = {("test", "mAP"): (0.25,)}
    assert script.compare_numbers(before, before | {("test", "mINP"): (0.1,)}).same
    lost = script.compare_numbers(before | {("test", "mINP"): (0.1,)}, before)
    assert not lost.same
    assert lost.missing == ["test/mINP"]
    assert script.compare_weights(WEIGHTS, {"a": WEIGHTS["a"], "n": WEIGHTS["n"]}).missing == ["b"]
    assert script.compare_weights({"a": WEIGHTS["a"]}, WEIGHTS).same


def test_equal_tensors_are_counted(script):
    """A tensor that stands twice before needs two equals after."""
    twice = {"a": torch.zeros(2), "b": torch.zeros(2)}
    found = script.compare_weights(twice, {"c": torch.zeros(2), "d": torch.ones(2)})
    assert not found.same
    assert found.largest == 1


def test_nan_equals_only_nan(script):
    nan = {("train", "loss"): (1.0, math.nan)}
    assert script.compare_numbers(nan, nan).same
    assert script.compare_numbers(nan, {("train", "loss"): (1.0, 2.0)}).largest == math.inf
    weights = {"a": torch.tensor([1.0, math.nan])}
    assert script.compare_weights(weights, weights).same


def test_a_log_with_fewer_steps_differs(script):
    found = script.compare_numbers({("train", "loss"): (1.0, 2.0)}, {("train", "loss"): (1.0,)})
    assert (found.same, found.largest) == (False, math.inf)
