"""A checkpoint of an earlier version lacks keys that have been added since."""

import pytest
import torch

from reid_lightning.training.evaluate import evaluate
from reid_lightning.training.job import run_job

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
    for key in (
        "aligned",
        "aligned_weight",
        "k_reciprocal",
        "identification",
        "map",
        "single_shot",
        "tracklets",
    ):
        del config["evaluation"][key]
    torch.save(checkpoint, tmp_path / "earlier.ckpt")
    again = evaluate(tmp_path / "earlier.ckpt", tmp_path / "again")
    assert again.test == pytest.approx(trained.test, abs=1e-6)
    reranked = evaluate(
        tmp_path / "earlier.ckpt", tmp_path / "reranked", ["evaluation.k_reciprocal=[5,3,0.3]"]
    )
    assert reranked.test["mAP"] != pytest.approx(trained.test["mAP"], abs=1e-4)
    assert "k-reciprocal neighbours (5/3/0.3)" in reranked.protocol
