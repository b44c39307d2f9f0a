import math

import pytest
import torch
from pytorch_metric_learning import losses as pml
from pytorch_metric_learning.distances import LpDistance
from torch.nn.functional import normalize

from reid_lightning.errors import InputError
from reid_lightning.losses.lossless import LosslessTripletLoss
from reid_lightning.losses.triplet import TripletLoss
from reid_lightning.mining.batch_hard import BatchHardMiner

ODD_BATCHES = {
    "one identity": [0, 0, 0, 0],
    "one image per identity": [0, 1, 2, 3],
    "unequal counts": [0, 0, 0, 1, 2, 2, 2, 2, 3],
}
LOSSES = [
    TripletLoss(margin=0.3),
    TripletLoss(soft_margin=True),
    TripletLoss(squared=True, normalize=True, margin=0.2),
    TripletLoss(reduction="mean_active"),
    LosslessTripletLoss(),
    LosslessTripletLoss(beta=6.0, eps=1e-5),
]


def random_batch(seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    count = int(torch.randint(4, 14, (1,), generator=generator))
    labels = torch.randint(0, 4, (count,), generator=generator)
    return torch.randn(count, 5, generator=generator, dtype=dtype), labels


def oracle(loss, embeddings, labels, triplets=None):
    """Plain loops over triplets, from the papers' formulas."""
    e = normalize(embeddings) if loss.normalize else embeddings
    if triplets is None:
        n = range(len(e))
        triplets = [
            (a, p, i)
            for a in n
            for p in n
            for i in n
            if a != p and labels[a] == labels[p] and labels[a] != labels[i]
        ]
    costs = []
    for a, p, n in triplets:
        ap, an = sum((e[a] - e[p]) ** 2).item(), sum((e[a] - e[n]) ** 2).item()
        if isinstance(loss, LosslessTripletLoss):
            costs.append(
                -math.log(1 - ap / loss.beta + loss.eps) - math.log(1 - (4 - an) / loss.beta + loss.eps)
            )
            continue
        if not loss.squared:
            ap, an = math.sqrt(ap), math.sqrt(an)
        costs.append(math.log1p(math.exp(ap - an)) if loss.soft_margin else max(ap - an + loss.margin, 0))
    if getattr(loss, "reduction", "mean") == "mean_active":
        costs = [cost for cost in costs if cost > 0]
    return sum(costs) / max(1, len(costs))


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_all_valid_triplets_equal_plain_loops(loss):
    for seed in range(50):
        embeddings, labels = random_batch(seed)
        assert loss(embeddings, labels).item() == pytest.approx(oracle(loss, embeddings, labels), abs=1e-6)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_mined_triplets_equal_plain_loops(loss):
    for seed in range(50):
        embeddings, labels = random_batch(seed)
        mined = BatchHardMiner()(embeddings, labels)
        expected = oracle(
            loss, embeddings, labels, list(zip(*(column.tolist() for column in mined), strict=True))
        )
        assert loss(embeddings, labels, mined).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("mined", [False, True])
def test_hinge_equals_pytorch_metric_learning(mined):
    theirs = pml.TripletMarginLoss(margin=0.3, distance=LpDistance(normalize_embeddings=False))
    for seed in range(20):
        embeddings, labels = random_batch(seed)
        triplets = BatchHardMiner()(embeddings, labels) if mined else None
        ours = TripletLoss(margin=0.3, reduction="mean_active")(embeddings, labels, triplets)
        torch.testing.assert_close(ours, theirs(embeddings, labels, triplets), atol=1e-6, rtol=0)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize("mined", [False, True])
def test_gradients(loss, mined):
    embeddings, labels = random_batch(3)
    triplets = BatchHardMiner()(embeddings, labels) if mined else None
    assert torch.autograd.gradcheck(lambda e: loss(e, labels, triplets), embeddings.requires_grad_())


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize("name", ODD_BATCHES)
@pytest.mark.parametrize("vectors", ["random", "duplicated", "zero", "opposite", "huge"])
@pytest.mark.parametrize("mined", [False, True])
def test_odd_batches_are_finite_and_have_a_gradient(loss, name, vectors, mined):
    labels = torch.tensor(ODD_BATCHES[name])
    embeddings = {
        "random": torch.randn(len(labels), 8),
        "duplicated": torch.ones(len(labels), 8),
        "zero": torch.zeros(len(labels), 8),
        "opposite": torch.ones(len(labels), 8) * torch.tensor([1.0, -1.0]).repeat(5)[: len(labels), None],
        "huge": 1e4 * torch.randn(len(labels), 8),
    }[vectors].requires_grad_()
    value = loss(embeddings, labels, BatchHardMiner()(embeddings, labels) if mined else None)
    value.backward()
    assert value.isfinite()
    assert embeddings.grad.isfinite().all()
    assert all(diagnostic.isfinite() for diagnostic in loss.diagnostics.values())
    if name != "unequal counts":
        assert value == 0


def test_diagnostics_show_what_was_measured():
    embeddings = torch.tensor([[0.0], [1.0], [1.2], [10.0]])
    loss = TripletLoss(margin=0.5)
    loss(embeddings, torch.tensor([0, 0, 1, 2]))
    # Triplets: (0, 1 | 2) and (0, 1 | 3), (1, 0 | 2) and (1, 0 | 3); d(a,p) = 1 throughout.
    assert loss.diagnostics["active_fraction"] == 0.5
    assert loss.diagnostics["mean_ap_distance"] == 1
    torch.testing.assert_close(loss.diagnostics["mean_an_distance"], torch.tensor((1.2 + 10 + 0.2 + 9) / 4))
    torch.testing.assert_close(loss.diagnostics["embedding_norm"], torch.tensor(12.2 / 4))


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: TripletLoss(margin=-1), "margin"),
        (lambda: TripletLoss(reduction="sum"), "reduction"),
        (lambda: LosslessTripletLoss(beta=3.9), "beta"),
        (lambda: LosslessTripletLoss(eps=1e-9), "eps"),
    ],
)
def test_senseless_settings_are_refused(make, key):
    with pytest.raises(InputError, match=key):
        make()
