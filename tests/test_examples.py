"""The examples run as they stand, and the guide shows the same code."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import run_forked

from reid_lightning.experiments.run import run_job

REPOSITORY = Path(__file__).resolve().parents[1]
EXAMPLES = {"own_trainer.py": ("24", "1"), "own_loader.py": ()}


def code_of(path: Path) -> str:
    """Return the code below the docstring."""
    return path.read_text().split('"""\n', 2)[-1].strip()


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_prints_its_map(name, tmp_path):
    shown = run_forked(REPOSITORY / "examples" / name, *EXAMPLES[name], cwd=tmp_path)
    share = re.search(r"mAP (\d+\.\d)%\n$", shown.stdout)
    assert share is not None, shown.stdout
    assert 0 < float(share[1]) <= 100


def test_training_without_hydra_takes_fifteen_lines():
    code = code_of(REPOSITORY / "examples" / "own_trainer.py")
    assert len([line for line in code.splitlines() if line.strip()]) <= 15


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_guide_shows_the_examples(name):
    assert code_of(REPOSITORY / "examples" / name) in (REPOSITORY / "docs" / "guide.md").read_text()


def test_there_are_no_other_examples():
    assert {path.name for path in (REPOSITORY / "examples").glob("*.py")} == {
        *EXAMPLES, "own_task.py", "whole_way.py", "without_torch.py"
    }  # fmt: skip


@pytest.mark.slow
def test_the_whole_way_keeps_what_the_model_promises_to_people_never_seen(tmp_path):
    shown = run_forked(REPOSITORY / "examples" / "whole_way.py", "240", "6", cwd=tmp_path)
    start = re.search(r"^\{$", shown.stdout, re.MULTILINE)
    assert start is not None, shown.stdout
    result = json.loads(shown.stdout[start.start() :])
    for rate in (0.1, 0.01):
        assert rate / 2 < result[f"false_accepts_at_{rate}"] < 2 * rate
        assert result[f"true_accepts_at_{rate}"] > 5 * result[f"false_accepts_at_{rate}"]
    for rate in (0.2, 0.1):
        assert rate / 2 < result[f"strangers_accepted_at_{rate}"] < 2 * rate
        assert result[f"identified_at_{rate}"] > 2 / 10  # ten are enrolled
    assert result["rank1_in_other_cameras"] > 0.1
    assert len(result["images_with_a_backpack"]) == 10
    assert all(Path(path).is_file() for path in result["images_with_a_backpack"])
    assert len(result["first_person"]) == 12
    assert result["groups"]["people"] == 100
    assert result["groups"]["precision"] > 0.1


@pytest.mark.slow
def test_the_task_of_ones_own_is_trained_and_reported(compose, tiny, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "examples")
    own = ("+tasks.camera._target_=own_task.CameraTask", "+tasks.camera.weight=0.2")
    result = run_job(compose(*tiny, *own, "trainer.max_epochs=1", "data.weights=null"))
    assert 0 <= result.reports["camera"]["accuracy"] <= 1
    logged = (tmp_path / "run" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"train/camera", "val/camera/accuracy", "test/camera/accuracy"} <= set(logged)


@pytest.mark.slow
def test_an_environment_without_torch_finds_the_same_people(tmp_path):
    shown = subprocess.run(
        [sys.executable, REPOSITORY / "examples" / "without_torch.py", "30", "1"],
        capture_output=True, text=True, timeout=1800, cwd=tmp_path,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    result = json.loads(shown.stdout[shown.stdout.rindex("{") :])
    assert result["imported"] == []
    assert result["largest_difference"] < 1e-4
    assert result["same_lists"] >= 0.99 * result["queries"] > 0  # equal distances may change places
