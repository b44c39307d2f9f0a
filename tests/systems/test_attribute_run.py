"""Whole runs with attribute heads on a handful of generated people."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers import train

from reid_lightning.errors import InputError
from reid_lightning.experiments.evaluate import evaluate
from reid_lightning.experiments.run import run_job

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).resolve().parents[2]
TRENTO = (
    "experiment=trento",
    "backbone=resnet10",
    "data.validation_queries=10",
    "trainer.log_every_n_steps=1",
)
# No batch statistics, dropout or augmentation: what one process and two must agree on.
PURE = (
    "attributes=market12", "backbone=timm", "backbone.name=test_vit", "neck=linear", "augmentation=none",
    "optimizer=sgd", "optimizer.lr=0.01",
)  # fmt: skip


def weights(folder, name="last"):
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]


def small(tiny):
    """The sizes of `tiny` without those that Trento fixes."""
    return [setting for setting in tiny if not setting.startswith("data.validation")]


def test_scores_are_logged_and_the_checkpoint_alone_gives_them_again(compose, tiny, tmp_path):
    result = run_job(compose(*TRENTO, *small(tiny), "trainer.max_epochs=2"))
    logged = pd.read_csv(tmp_path / "run" / "metrics.csv")
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "mean_accuracy", "majority", "hat/accuracy"):
        for stage in ("val", "test"):
            assert logged[f"{stage}/attributes/{name}"].dropna().between(0, 1).all(), name
        assert logged[f"test/attributes/{name}"].dropna().item() == pytest.approx(
            result.reports["attributes"][name]
        )
    assert logged["train/joint_accuracy"].dropna().between(0, 1).all()
    assert logged["train/attributes"].dropna().gt(0).all()
    written = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert written["attributes"] == pytest.approx(result.reports["attributes"])
    again = evaluate(tmp_path / "run" / "checkpoints" / "best.ckpt", tmp_path / "again")
    assert again.test == pytest.approx(result.test)
    assert again.reports["attributes"] == pytest.approx(
        result.reports["attributes"]
    )  # the majority classes too


def test_a_resumed_run_equals_the_uninterrupted_one(compose, brief, tmp_path):
    length = (*TRENTO, *small(brief), "trainer.max_epochs=3", "attributes.loss.class_weights=balanced")
    whole = run_job(compose(*length, output_dir=tmp_path / "whole"))
    stop = "+callbacks.stop={_target_: reid_lightning.engine.callbacks.time_limit.StopAfter, epochs: 1}"
    run_job(compose(*length, stop, output_dir=tmp_path / "parts"))
    other = compose(*length, "resume=last", "attributes.heads.detach=true", output_dir=tmp_path / "parts")
    with pytest.raises(InputError, match=r"another one \(attributes\.heads\.detach"):
        run_job(other)
    resumed = run_job(compose(*length, "resume=last", output_dir=tmp_path / "parts"))
    for key, value in weights(tmp_path / "whole").items():
        torch.testing.assert_close(value, weights(tmp_path / "parts")[key], rtol=0, atol=1e-6)
    assert resumed.reports["attributes"] == whole.reports["attributes"]


def test_attributes_alone_are_trained_refitted_and_evaluated(compose, brief, tmp_path):
    alone = (
        "attributes=market12",
        "attributes.heads.reweighting=false",
        "loss=none",
        "miner=none",
        "classifier=none",
    )
    result = run_job(compose(*alone, *brief, "trainer.max_epochs=1", "refit=true"))
    assert 0 <= result.test["mAP"] <= 1
    assert result.reports["attributes"]["accuracy"] > 0
    counts = weights(tmp_path / "run" / "refit")["objective.tasks.attributes.loss.counts"]
    assert counts.sum() > weights(tmp_path / "run")["objective.tasks.attributes.loss.counts"].sum()


@pytest.mark.parametrize("settings", [("compile=true",), ("trainer.precision=bf16-mixed",)], ids=str)
def test_compiled_and_half_precision_networks_train(compose, tiny, settings):
    result = run_job(compose("attributes=market12", *tiny, *settings, "trainer.fast_dev_run=2"))
    assert result.reports["attributes"]


def test_data_without_annotations_stops_before_training(compose, brief, tmp_path):
    run_job(compose("attributes=market12", *brief, "trainer.max_epochs=1", output_dir=tmp_path / "annotated"))
    table = table_without_attributes(compose(*brief), tmp_path)
    bare = ("data=table", f"data.root={table}", "data.weights=null")
    sizes = [setting for setting in brief if not setting.startswith("data.sources")]
    with pytest.raises(InputError, match="no training image has any"):
        run_job(compose(*bare, *sizes, "attributes=market12"))
    assert not (tmp_path / "run" / "checkpoints").exists()
    # To evaluate there is allowed: people are ranked and attributes answered, and there is nothing to score.
    result = evaluate(tmp_path / "annotated/checkpoints/best.ckpt", tmp_path / "again", [*bare, *sizes[:2]])
    assert "attributes" not in result.reports
    assert 0 <= result.test["mAP"] <= 1


def table_without_attributes(config, folder):
    from reid_lightning.experiments.factory import build_datamodule

    datamodule = build_datamodule(config)
    datamodule.prepare_data()
    datamodule.setup()
    columns = ["path", "person_id", "split", "camera_id"]
    table = datamodule.table[columns].assign(split=datamodule.table["split"].replace("val", "train"))
    table.to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


def test_two_processes_train_and_score_as_one(compose, brief, tmp_path):
    run_job(compose(*PURE, *brief, "trainer.max_epochs=2", output_dir=tmp_path / "one"))
    train(*PURE, *brief, "trainer=ddp_cpu", "trainer.max_epochs=2", folder=tmp_path / "two")
    for key, value in weights(tmp_path / "one").items():
        torch.testing.assert_close(weights(tmp_path / "two")[key], value, rtol=1e-3, atol=1e-4)
    one, two = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two"))
    assert two["attributes"] == pytest.approx(one["attributes"], abs=0.02)
