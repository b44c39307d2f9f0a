"""A checkpoint of an earlier version lacks keys that have been added since."""

import lzma
from pathlib import Path

import pytest
import torch

from reid_lightning.experiments.evaluate import evaluate
from reid_lightning.experiments.run import run_job

ADDED = (
    "descriptor",
    "parts",
    "attributes",
    "pretraining",
    "test_transform",
    "across_ranks",
    "frozen_epochs",
)


@pytest.mark.slow
def test_it_evaluates_as_it_did_and_takes_new_settings(compose, tiny, tmp_path):
    trained = run_job(compose(*tiny, "trainer.max_epochs=1", "data.weights=null"))
    checkpoint = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt")
    config = checkpoint["reid_lightning"]["config"]
    for key in ADDED:
        del config[key]
    for key in ("rerank", "single_shot", "tracklets"):
        del config["evaluation"][key]
    config["evaluation"]["metric"] = config["evaluation"].pop("distance")
    torch.save(checkpoint, tmp_path / "earlier.ckpt")
    again = evaluate(tmp_path / "earlier.ckpt", tmp_path / "again")
    assert again.test == pytest.approx(trained.test, abs=1e-6)
    reranked = evaluate(
        tmp_path / "earlier.ckpt",
        tmp_path / "reranked",
        ["evaluation/rerank=k_reciprocal", "evaluation.rerank.k1=5", "evaluation.rerank.k2=3"],
    )
    assert reranked.test["mAP"] != pytest.approx(trained.test["mAP"], abs=1e-4)
    assert "k-reciprocal neighbours (5/3/0.3)" in reranked.protocol


@pytest.mark.slow
def test_a_checkpoint_of_before_the_modules_moved_evaluates_as_it_did(tmp_path):
    """Commit 9301827 wrote it (weights in 16 bits, without its optimizer) and printed these numbers for it."""
    packed = Path(__file__).parent / "earlier" / "9301827.ckpt.xz"
    (tmp_path / "earlier.ckpt").write_bytes(lzma.decompress(packed.read_bytes()))
    result = evaluate(tmp_path / "earlier.ckpt", tmp_path / "again")
    assert result.test["mAP"] == pytest.approx(0.24811769721612315, abs=1e-6)
    assert result.test["rank5"] == pytest.approx(0.6071428571428571, abs=1e-9)
    assert result.reports["attributes"]["accuracy"] == pytest.approx(0.46348314606741664, abs=1e-6)
    assert result.reports["attributes"]["mean_accuracy"] == pytest.approx(0.6373201261580833, abs=1e-6)
