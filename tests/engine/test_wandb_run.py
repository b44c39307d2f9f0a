"""What an offline W&B run holds, read by W&B's own reader of its files."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers import REPOSITORY, command, environment, train
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

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


def test_w_and_b_writes_no_lines_of_its_own(tiny, tmp_path):
    where = environment("WANDB_SILENT")
    shown = train(
        *tiny,
        "trainer.max_epochs=1",
        "logger=wandb",
        "logger.wandb.offline=true",
        folder=tmp_path / "run",
        where=where,
    )
    assert "wandb:" not in shown.stdout + shown.stderr
    assert (shown.stdout + shown.stderr).count("W&B") == 1  # where it lies, and how to send it


def inspect(job, *arguments, file=None):
    if file is None:
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
        assert run["config"]["settings"].get(key, {}) == value, key
    assert Path(run["config"]["settings"]["output_dir"]) == job


def test_the_choices_are_words_to_group_by(run):
    choices = run["config"]["choices"]
    expected = {
        "loss": ["triplet", "center"], "data": ["pedestrians"], "report": ["training"], "backbone": "resnet10_light",
        "miner": "batch_hard", "augmentation": "crop", "experiment": "none", "logger": "wandb",
    }  # fmt: skip
    assert expected.items() <= choices.items()
    assert not [name for name in choices if name.startswith("hydra")]
    assert set(run["config"]) <= {"choices", "settings", "_wandb"}  # a sweep's own keys lie beside them


def test_the_summary_says_what_the_run_cost_and_how_it_was_measured(job, run):
    result, summary = json.loads((job / "metrics.json").read_text()), run["summary"]
    assert summary["protocol"] == result["protocol"]
    assert summary["cost/gflops"] == result["cost"]["gflops"]
    assert summary["cost/seconds/fit"] == result["cost"]["seconds"]["fit"]
    assert [summary["interval/test/low"], summary["interval/test/high"]] == result["intervals"]["test"]
    for name, value in result["validation"].items():
        assert summary[f"best/val/{name}"] == pytest.approx(value)


def test_every_term_of_the_loss_and_the_rate_have_a_curve(records):
    logged = set()
    for record in records:
        if record["type"] == "history":
            logged |= record["history"]["item"].keys()
    assert logged >= {
        "train/loss", "train/identity", "train/triplet", "train/center", "train/lr",
        "val/mAP", "val/rank1", "val/rank5", "val/rank10", "epoch", "test/ranked_lists.filenames",
    }  # fmt: skip


def test_tables_and_the_curve_are_logged(records):
    logged = {key for record in records if record["type"] == "history" for key in record["history"]["item"]}
    for name in ("test/query_table", "test/lists", "test/camera_pairs", "test/cmc_table"):
        assert any(key.startswith(name) for key in logged), name


def test_a_run_has_every_key_that_the_ready_workspace_shows(run, records, tmp_path):
    command("report", "wandb", "--output", tmp_path / "view.json")
    spec = json.loads((tmp_path / "view.json").read_text())["spec"]
    panels = [
        panel["config"]
        for section in spec["section"]["panelBankConfig"]["sections"]
        if section["name"] != "Attributes"  # which this run has none of
        for panel in section["panels"]
    ]
    curves = {key for record in records if record["type"] == "history" for key in record["history"]["item"]}
    shown = set()
    for panel in panels:
        charted = panel.get("metrics", []) + [panel[axis] for axis in ("xAxis", "yAxis") if axis in panel]
        charted += [column["accessor"] for column in panel.get("columns", [])]
        for name in charted:
            place, _, key = name.partition(":") if ":" in name else name.partition(".")
            if place == "config":
                assert key.removeprefix("choices.value.") in run["config"]["choices"], name
            elif place in ("summary", "summary_metrics"):
                assert key in run["summary"], name
            else:
                assert name in curves, name
            shown.add(name)
        for key in panel.get("mediaKeys", []):
            assert f"{key}.filenames" in curves or f"{key}.count" in curves, key
        if group := panel.get("groupBy"):
            assert group.removeprefix("choices.value.") in run["config"]["choices"]
    assert len(shown) > 12


def test_an_agent_s_words_stand_beside_the_settings(tiny, tmp_path):
    """What `wandb agent` sets: the sweep, the run's name, a file with its choices, which W&B locks, and the command."""
    sweep = yaml.safe_load((REPOSITORY / "sweep.yaml").read_text())
    words = {name: entry["values"][-1] for name, entry in sweep["parameters"].items()} | {
        "backbone": "resnet10"
    }
    parameters = {"wandb_version": 1, **{key: {"value": value, "desc": None} for key, value in words.items()}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(parameters))
    where = environment(
        WANDB_SWEEP_ID="s1",
        WANDB_RUN_ID="r1",
        WANDB_SWEEP_PARAM_PATH=str(tmp_path / "config.yaml"),
        WANDB_MODE="offline",
    )
    macros = create_sweep_command_args({"args": {key: {"value": value} for key, value in words.items()}})
    macros |= {"env": [], "program": [sweep["program"]]}
    line: list[str] = []
    for word in create_sweep_command(list(sweep["command"])):
        line += macros.get(word[2:-1], [word]) if word.startswith("${") else [word]
    assert line[:2] == ["python", "train.py"]
    chosen = [word for word in line[2:] if not word.startswith("hydra.run.dir")]
    folder = tmp_path / "run"
    train(*chosen, *tiny, "trainer.max_epochs=2", folder=folder, where=where)
    summary = json.loads(inspect(folder, "--summary"))
    config = summary["config"]
    for key, value in words.items():
        assert config[key] == value
        if key != "seed":
            assert config["choices"][key] == ([value] if key == "loss" else value)
    assert config["settings"]["loss"][words["loss"]]["_target_"]
    assert config["settings"]["seed"] == words["seed"]
    result = json.loads((folder / "metrics.json").read_text())
    assert summary["summary"]["test/mAP"] == pytest.approx(result["test"]["mAP"])
    assert summary["summary"]["best/val/mAP"] == pytest.approx(result["score"])
    records = [json.loads(line) for line in inspect(folder).splitlines()]
    history = [one["history"]["item"] for one in records if one["type"] == "history"]
    curve = [item for item in history if "val/mAP" in item]
    assert [float(item["epoch"]) for item in curve] == [0.0, 1.0]
    logged = {key for item in history for key in item}
    for name in ("test/query_table", "test/lists", "test/camera_pairs", "test/cmc_table"):
        assert any(key.startswith(name) for key in logged), name
    (run,) = [one["run"] for one in records if one["type"] == "run"]
    assert (run["run_id"], run["sweep_id"]) == ("r1", "s1")
    assert not (folder / "report").exists()  # a job of a sweep stays cheap


@pytest.mark.parametrize("ending", ["max_epochs", "time_limit"])
def test_a_resumed_run_goes_on_in_the_same_run(tiny, tmp_path, ending):
    """Sent after each other or alone, the last files hold every step once, in its order, and the last summary."""
    logged = ("logger=wandb", "logger.wandb.offline=true", "trainer.log_every_n_steps=1")
    folder = tmp_path / "run"
    if ending == "time_limit":
        train(*tiny, *logged, "trainer.max_epochs=2", "time_limit=0.0001", folder=folder)
        assert not (folder / "metrics.json").exists()
    else:
        train(*tiny, *logged, "trainer.max_epochs=1", folder=folder)
    shown = train(*tiny, *logged, "trainer.max_epochs=2", "resume=last", folder=folder)
    files = sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))
    assert len({file.name for file in files}) == 1
    assert len(files) == 2
    history = [
        record["history"]["item"]
        for line in inspect(folder, file=files[-1]).splitlines()
        if (record := json.loads(line))["type"] == "history"
    ]
    steps = [int(item["_step"]) for item in history]
    assert steps == list(range(len(history)))
    of_training = [int(item["trainer/global_step"]) for item in history if "train/loss" in item]
    assert of_training == list(range(len(of_training)))
    assert [float(item["epoch"]) for item in history if "val/mAP" in item] == [0.0, 1.0]
    assert len([item for item in history if "test/mAP" in item]) == 1
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for name in ("train/loss", "val/mAP"):
        expected = [float(row[name]) for row in rows if row[name]]
        assert [float(item[name]) for item in history if name in item] == pytest.approx(expected)
    summary = json.loads(inspect(folder, "--summary", file=files[-1]))["summary"]
    assert summary["test/mAP"] == pytest.approx(
        json.loads((folder / "metrics.json").read_text())["test"]["mAP"]
    )
    assert Path(summary["best_checkpoint"]) == folder / "checkpoints" / "best.ckpt"
    if ending == "time_limit":  # the same command, apart from resume=last
        names = set()
        for file in files:
            records = map(json.loads, inspect(folder, file=file).splitlines())
            names |= {record["run"]["display_name"] for record in records if record["type"] == "run"}
        assert len(names) == 1
    assert "must be monotonically" not in shown.stdout + shown.stderr


def test_a_refit_gives_its_test_to_the_loggers(tiny, tmp_path):
    folder = tmp_path / "run"
    shown = train(
        *tiny,
        "trainer.max_epochs=1",
        "logger=wandb",
        "logger.wandb.offline=true",
        "refit=true",
        folder=folder,
    )
    assert "wandb sync" in shown.stdout + shown.stderr
    summary = json.loads(inspect(folder, "--summary"))["summary"]
    result = json.loads((folder / "metrics.json").read_text())
    assert summary["test/mAP"] == pytest.approx(result["test"]["mAP"])
    assert summary["best/val/mAP"] == pytest.approx(result["score"])
    assert "test/query_table" in summary


def test_the_ranked_lists_are_pictures_of_the_run(job):
    pictures = list(job.glob("wandb/offline-run-*/files/media/images/test/ranked_lists*"))
    assert pictures
    assert all(picture.stat().st_size > 1000 for picture in pictures)


def test_the_run_is_grouped_by_its_sweep(job, records):
    (run,) = [record["run"] for record in records if record["type"] == "run"]
    assert run["run_group"] == job.parent.name
    assert run["display_name"].startswith("triplet,center ")  # then the settings of this tiny run
