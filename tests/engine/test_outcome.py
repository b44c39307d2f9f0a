"""What a run gives its loggers: each kind takes what it can, and none is an error."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import wandb
from lightning.pytorch.loggers import CSVLogger, MLFlowLogger
from lightning.pytorch.loggers.logger import DummyLogger

from reid_lightning.engine.loggers import (
    Outcome,
    log_earlier,
    record,
    record_all,
    tensorboard_logger,
    wandb_logger,
)
from reid_lightning.engine.metrics_file import MetricsFile
from reid_lightning.reporting.tables import Curve, Image, Table


@pytest.fixture
def outcome(tmp_path):
    picture = tmp_path / "picture.png"
    cv2.imwrite(str(picture), np.full((40, 20, 3), (0, 0, 255), np.uint8))
    return Outcome(
        numbers={"cost": {"gflops": 1.5}, "interval": {"test": [0.1, 0.2]}, "protocol": "cosine"},
        notes={"test/note": "a sentence"},
        pictures={"test/picture": picture},
        tables={
            "test/queries": Table(
                ("query", "AP"), [[Image(picture, "p1"), 0.5], [Image(tmp_path / "gone.png"), None]]
            )
        },
        curves={"test/cmc": Curve("Cumulative matching", "k", "share", [(1.0, 0.5), (2.0, 0.75)])},
    )


def artifacts(folder):
    """Return the artifacts of an offline run, read by W&B itself."""
    wandb.teardown()  # W&B's own process writes the file, after `finish` has returned
    (file,) = folder.rglob("*.wandb")
    program = Path(sys.executable).with_name("wandb")
    said = subprocess.run(
        [program, "leet", "inspect", "--json", file], capture_output=True, text=True, timeout=120, check=True
    )
    found = [
        record["artifact"] for line in said.stdout.splitlines() if "artifact" in (record := json.loads(line))
    ]
    return [one | {"paths": [entry["path"] for entry in one["manifest"]["contents"]]} for one in found]


def test_an_unknown_logger_takes_the_numbers(outcome):
    taken = {}

    class Mine(DummyLogger):
        def log_metrics(self, metrics, step=None):
            taken.update(metrics)

    record(Mine(), outcome)
    assert taken == {"cost/gflops": 1.5, "interval/test/low": 0.1, "interval/test/high": 0.2}


def test_a_logger_of_a_user_may_take_more(outcome):
    seen = []

    class Mine(DummyLogger):
        pass

    @record.register(Mine)
    def _(logger, outcome):
        seen.append(outcome.notes)

    record_all([Mine()], outcome)
    assert seen == [{"test/note": "a sentence"}]


def test_lightnings_csv_logger_and_metrics_csv_are_no_errors(outcome, tmp_path):
    logger = CSVLogger(tmp_path / "csv")
    record_all([logger, MetricsFile(tmp_path)], outcome)
    (file,) = (tmp_path / "csv").rglob("metrics.csv")
    assert "cost/gflops" in file.read_text()
    assert not (tmp_path / "metrics.csv").exists()


def test_tensorboard_shows_numbers_pictures_and_curves(outcome, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = tensorboard_logger(tmp_path / "run")
    record(logger, outcome)
    logger.finalize("success")
    board = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    board.Reload()
    assert board.Scalars("summary/cost/gflops")[0].value == 1.5
    assert [(one.step, one.value) for one in board.Scalars("test/cmc")] == [(1, 0.5), (2, 0.75)]
    assert board.Images("test/picture")[0].width == 20


def test_mlflow_gets_metrics_tags_and_artifacts(outcome, monkeypatch):
    calls = []

    class Client:
        def __getattr__(self, name):
            return lambda run, *arguments, **more: calls.append((name, run, *arguments, *more.values()))

    logger = MLFlowLogger.__new__(MLFlowLogger)
    monkeypatch.setattr(MLFlowLogger, "experiment", property(lambda self: Client()))
    monkeypatch.setattr(MLFlowLogger, "run_id", property(lambda self: "r1"))
    record(logger, outcome)
    assert ("log_metric", "r1", "cost/gflops", 1.5) in calls
    assert ("set_tag", "r1", "protocol", "cosine") in calls
    assert ("log_metric", "r1", "test/cmc", 0.75, 2) in calls
    assert any(
        name == "log_artifact" and path.endswith("picture.png")
        for name, _, path, *_ in calls
        if name == "log_artifact"
    )


def test_w_and_b_keeps_small_images_and_a_chart(outcome, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staged"))
    logger = wandb_logger(tmp_path / "run", "p", offline=True)
    record(logger, outcome)
    logger.experiment.finish()
    images = {path for one in artifacts(tmp_path / "run") for path in one["paths"] if path.endswith(".jpg")}
    assert len(images) == 2  # one that is gone is a gray tile
    staged = [file.stat().st_size for file in (tmp_path / "staged").rglob("tmp*") if file.is_file()]
    assert len(staged) >= 3
    assert max(staged) < 4000
    assert list((tmp_path / "run").rglob("*queries*.table.json"))
    assert list((tmp_path / "run").rglob("*cmc*.table.json"))


def test_the_model_becomes_an_artifact_where_it_is_asked_for(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for name in ("best.ckpt", "README.md", "card.json"):
        (folder / name).write_text(name)
    for wanted in (True, False):
        logger = wandb_logger(
            tmp_path / f"run{wanted}", "p", offline=True, artifact=wanted, name="triplet a/b seed=1"
        )
        record(logger, Outcome(model=folder / "best.ckpt"))
        logger.experiment.finish()
        models = [one for one in artifacts(tmp_path / f"run{wanted}") if one["type"] == "model"]
        assert len(models) == wanted
        for model in models:
            assert set(model["paths"]) == {"best.ckpt", "README.md", "card.json"}
            assert {"best", "triplet_a_b_seed=1"} <= set(model["aliases"])  # without what W&B refuses


def test_w_and_b_gets_earlier_curves_again_unless_its_server_has_them(tmp_path):
    rows = [(3, {"epoch": 0.0, "train/loss": 2.0}), (5, {"epoch": 0.0, "val/mAP": 0.5})]
    logger = wandb_logger(tmp_path / "run", "p", offline=True)
    log_earlier(logger, rows)
    assert logger.experiment.step == 2
    assert logger.experiment.summary["trainer/global_step"] == 5
    logger.experiment._settings.resumed = True
    log_earlier(logger, rows)
    assert logger.experiment.step == 2
    logger.experiment.finish()
    log_earlier(CSVLogger(tmp_path / "csv"), rows)
    assert not list((tmp_path / "csv").rglob("metrics.csv"))
