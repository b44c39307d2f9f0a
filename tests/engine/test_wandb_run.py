"""What an offline W&B run holds, read by W&B's own reader of its files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers import train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def job(tiny, tmp_path_factory):
    """Return the folder of the one job of a sweep that was logged offline."""
    folder = tmp_path_factory.mktemp("runs") / "losses"
    train(
        *tiny, "seed=1", "trainer.max_epochs=2", "trainer.log_every_n_steps=1", "loss=[triplet,center]", "logger=wandb",
        "logger.wandb.offline=true", folder=folder, multirun=True,
    )  # fmt: skip
    (metrics,) = folder.rglob("metrics.json")
    return metrics.parent


def inspect(job, *arguments):
    (file,) = job.glob("wandb/offline-run-*/run-*.wandb")
    program = Path(sys.executable).with_name("wandb")
    return subprocess.run(
        [program, "leet", "inspect", "--json", *arguments, file],
        capture_output=True, text=True, timeout=120, check=True,
    ).stdout  # fmt: skip


@pytest.fixture(scope="module")
def run(job):
    return json.loads(inspect(job, "--summary"))


@pytest.fixture(scope="module")
def records(job):
    return [json.loads(line) for line in inspect(job).splitlines()]


def test_the_summary_holds_the_numbers_of_the_result(job, run):
    result, summary = json.loads((job / "metrics.json").read_text()), run["summary"]
    for stage, numbers in (("test", result["test"]), ("best/val", {"mAP": result["score"]})):
        for name in {"mAP", "rank1", "rank5", "rank10"} & numbers.keys():
            assert summary[f"{stage}/{name}"] == pytest.approx(numbers[name])
    assert {"test/mAP", "test/rank1", "test/rank5", "test/rank10"} <= summary.keys()
    assert Path(summary["best_checkpoint"]) == job / "checkpoints" / "best.ckpt"
    assert Path(summary["last_checkpoint"]) == job / "checkpoints" / "last.ckpt"


def test_the_whole_plain_config_is_there(job, run):
    written = yaml.safe_load((job / "config.yaml").read_text())
    for key, value in written.items():  # W&B drops what is empty
        assert run["config"].get(key, {}) == value, key
    assert Path(run["config"]["output_dir"]) == job


def test_every_term_of_the_loss_and_the_rate_have_a_curve(records):
    logged = set()
    for record in records:
        if record["type"] == "history":
            logged |= record["history"]["item"].keys()
    assert logged >= {
        "train/loss", "train/identity", "train/triplet", "train/center", "train/lr",
        "val/mAP", "val/rank1", "val/rank5", "val/rank10", "epoch", "test/ranked_lists.filenames",
    }  # fmt: skip


def test_the_ranked_lists_are_pictures_of_the_run(job):
    pictures = list(job.glob("wandb/offline-run-*/files/media/images/test/ranked_lists*"))
    assert pictures
    assert all(picture.stat().st_size > 1000 for picture in pictures)


def test_the_run_is_grouped_by_its_sweep(job, records):
    (run,) = [record["run"] for record in records if record["type"] == "run"]
    assert run["run_group"] == job.parent.name
    assert run["display_name"] == job.name[:128]
