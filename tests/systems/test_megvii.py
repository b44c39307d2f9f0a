"""Megvii's systems with parts: what they compose to, and what their evaluation compares."""

import pytest
import torch
from torch.nn import functional

from reid_lightning.errors import InputError
from reid_lightning.experiments.checks import check_run
from reid_lightning.experiments.evaluate import evaluate
from reid_lightning.experiments.factory import build_module
from reid_lightning.experiments.run import run_job

SMALL = ("data.weights=null", "backbone=resnet10", "data.image_size=[96,48]")


@pytest.mark.parametrize(
    ("system", "losses", "local_shape", "feature"),
    [
        ("part_model", ["triplet", "part_identity"], (6, 256), "stripes"),
        ("aligned", ["aligned"], (8, 128), "embedding"),
        ("scp", ["triplet", "spatial_channel"], (4, 512), "embedding"),
    ],
)
def test_the_systems_are_the_slides(compose, system, losses, local_shape, feature):
    config = compose(f"experiment=megvii/{system}", "data.weights=null")
    check_run(config)
    module = build_module(config, num_identities=7)
    assert list(module.objective.losses) == losses
    assert module.objective.terms == ["identity", *losses]  # classification and metric together
    assert type(module.objective.miner).__name__ == "BatchHardMiner"
    assert module.protocol.feature == feature
    with torch.no_grad():
        features = module.eval()(torch.rand(2, 3, 64, 32))
    assert features.extra["stripes"].shape[1:] == local_shape
    assert features.embedding.shape == (2, 2048)


def test_the_part_model_compares_its_stripes_one_after_the_other(compose):
    module = build_module(compose("experiment=megvii/part_model", *SMALL), num_identities=7).eval()
    images = torch.rand(2, 3, 96, 48)
    with torch.no_grad():
        local = module(images).extra["stripes"]
        embedded = module.embed(images)
    torch.testing.assert_close(embedded, functional.normalize(torch.cat(list(local.unbind(1)), dim=1)))


def test_every_stripe_is_trained_by_its_own_classifier(compose):
    """A stripe's loss reaches the rows of the map that it covers, and no other stripe's reduction."""
    module = build_module(compose("experiment=megvii/part_model", *SMALL), num_identities=7)
    parts, loss = module.network.parts, module.objective.losses["part_identity"]
    maps = torch.rand(4, 256, 6, 3, requires_grad=True)
    local = parts(None, maps)[1]
    logits = local[:, 2] @ loss.weight[2].T
    functional.cross_entropy(logits, torch.tensor([0, 1, 2, 3])).backward()
    rows = maps.grad.abs().sum((0, 1, 3)) > 0
    assert rows.tolist() == [False, False, True, False, False, False]
    trained = [any(bool(p.grad.any()) for p in reduction.parameters()) for reduction in parts.reductions]
    assert trained == [False, False, True, False, False, False]


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        (
            ["loss=aligned", "parts=none"],
            "loss=aligned reads the stripes .* parts=aligned, parts=scp or parts=stripes",
        ),
        (
            ["parts=stripes"],
            r"no loss reads the stripes .*\(loss=aligned, loss=part_identity or loss=spatial_channel\)",
        ),
        (["evaluation.feature=stripes"], "evaluation.feature=stripes reads the stripes"),
        (["evaluation/rerank=aligned"], "evaluation.rerank=AlignedRerank reads the stripes"),
        (
            ["loss=aligned", "evaluation/rerank=aligned", "evaluation.rerank.nearest=0"],
            "nearest must be a whole number >= 1, got 0",
        ),
        (
            ["loss=aligned", "evaluation/rerank=aligned", "evaluation.tracklets=pool"],
            "compares the stripes of single images",
        ),
        (
            ["loss=spatial_channel", "neck=linear"],
            r"^loss\.spatial_channel: 4 stripes of 48 dimensions need a global vector of 192",
        ),
        (["loss=spatial_channel", "parts.stripes=7"], r"^parts\.stripes must divide"),
    ],
)
def test_what_does_not_go_together_is_refused(compose, choices, words):
    config = compose(*choices, "data.weights=null")

    def begin():
        check_run(config)
        build_module(config, num_identities=5)

    with pytest.raises(InputError, match=words):
        begin()


@pytest.mark.slow
def test_a_trained_model_is_reranked_by_its_stripes(compose, tiny, tmp_path):
    """The checkpoint's stripes re-rank the same gallery; the mirror image's stripes join where asked."""
    config = compose("loss=aligned", "parts.stripes=2", *tiny, "trainer.max_epochs=1", "data.weights=null")
    trained = run_job(config).test["mAP"]
    checkpoint = tmp_path / "run" / "checkpoints" / "best.ckpt"
    again = evaluate(checkpoint, tmp_path / "again").test["mAP"]
    assert again == pytest.approx(trained, abs=1e-6)
    rerank = ["evaluation/rerank=aligned", "evaluation.rerank.nearest=50", "evaluation.rerank.weight=9"]
    scores = {
        name: evaluate(checkpoint, tmp_path / name, [*rerank, *more])
        for name, more in (("second", []), ("mirrored", ["evaluation.flip=true"]))
    }
    assert len({trained, *(result.test["mAP"] for result in scores.values())}) == 3
    assert "nearest 50 re-ranked" in (tmp_path / "second" / "report.html").read_text()
