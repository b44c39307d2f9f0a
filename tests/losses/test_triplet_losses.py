import math

import pytest
import torch
from pytorch_metric_learning import losses as pml
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.utils import loss_and_miner_utils as lmu
from tester import Case, LossTester, outcome
from torch.nn.functional import normalize

from reid_lightning.losses.improved_triplet import ImprovedTripletLoss
from reid_lightning.losses.lossless import LosslessTripletLoss
from reid_lightning.losses.triplet import TripletLoss
from reid_lightning.mining.batch_hard import BatchHardMiner

LOSSES = [
    TripletLoss(margin=0.3),
    TripletLoss(soft_margin=True),
    TripletLoss(squared=True, normalize=True, margin=0.2),
    TripletLoss(reduction="mean_active"),
    LosslessTripletLoss(),
    LosslessTripletLoss(beta=6.0, eps=1e-5),
    ImprovedTripletLoss(),
    ImprovedTripletLoss(margin=0.4, bound=1.5, beta=0.3, squared=False, normalize=False),
]


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
        if isinstance(loss, ImprovedTripletLoss):
            costs.append(max(ap - an + loss.margin, 0) + loss.beta * max(ap - loss.bound, 0))
        else:
            costs.append(math.log1p(math.exp(ap - an)) if loss.soft_margin else max(ap - an + loss.margin, 0))
    if getattr(loss, "reduction", "mean") == "mean_active":
        costs = [cost for cost in costs if cost > 0]
    return sum(costs) / max(1, len(costs))


class TestTripletLosses(LossTester):
    cases = tuple(Case(loss, oracle) for loss in LOSSES)


@pytest.mark.parametrize("mined", [False, True])
def test_hinge_equals_pytorch_metric_learning(mined, random_batch):
    theirs = pml.TripletMarginLoss(margin=0.3, distance=LpDistance(normalize_embeddings=False))
    for seed in range(20):
        embeddings, labels = random_batch(seed)
        triplets = BatchHardMiner()(embeddings, labels) if mined else None
        ours = TripletLoss(margin=0.3, reduction="mean_active")(embeddings, labels, triplets)
        torch.testing.assert_close(ours, theirs(embeddings, labels, triplets), atol=1e-6, rtol=0)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_few_triplets_and_all_of_them_are_computed_alike(loss, random_batch):
    """Listed triplets are gathered one by one or looked up in the whole matrix, whichever is less work."""
    embeddings, labels = random_batch(11)
    every = lmu.get_all_triplets_indices(labels)
    assert 8 * len(every[0]) > len(labels) ** 2
    gradients = []
    for triplets in (None, every, tuple(torch.cat((column, column)) for column in every)):
        leaf = embeddings.clone().requires_grad_()
        loss(leaf, labels, triplets).backward()
        gradients.append(leaf.grad)
    few = tuple(column[:3] for column in every)
    assert 8 * len(few[0]) <= len(labels) ** 2
    expected = oracle(loss, embeddings, labels, list(zip(*(column.tolist() for column in few), strict=True)))
    assert loss(embeddings, labels, few).item() == pytest.approx(expected, abs=1e-6)
    torch.testing.assert_close(gradients[0], gradients[1])
    torch.testing.assert_close(gradients[0], gradients[2])


def test_pairs_in_place_of_triplets_are_refused(random_batch):
    embeddings, labels = random_batch(0)
    pairs = tuple(torch.tensor([0, 1]) for _ in range(4))
    with pytest.raises(ValueError, match="gave 4 index tensors"):
        TripletLoss()(embeddings, labels, pairs)


def test_diagnostics_show_what_was_measured():
    embeddings = torch.tensor([[0.0], [1.0], [1.2], [10.0]])
    _, diagnostics = outcome(TripletLoss(margin=0.5), embeddings, torch.tensor([0, 0, 1, 2]))
    # Triplets: (0, 1 | 2) and (0, 1 | 3), (1, 0 | 2) and (1, 0 | 3); d(a,p) = 1 throughout.
    assert diagnostics["active_fraction"] == 0.5
    assert diagnostics["mean_ap_distance"] == 1
    torch.testing.assert_close(diagnostics["mean_an_distance"], torch.tensor((1.2 + 10 + 0.2 + 9) / 4))
    torch.testing.assert_close(diagnostics["embedding_norm"], torch.tensor(12.2 / 4))


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: TripletLoss(margin=-1), "margin"),
        (lambda: TripletLoss(reduction="sum"), "reduction"),
        (lambda: LosslessTripletLoss(beta=3.9), "beta"),
        (lambda: LosslessTripletLoss(eps=1e-9), "eps"),
        (lambda: ImprovedTripletLoss(bound=-0.1), "bound"),
    ],
)
def test_senseless_settings_are_refused(make, key):
    with pytest.raises(ValueError, match=f"^{key} must be"):
        make()


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_parts_of_a_large_batch_add_up(loss, random_batch, monkeypatch):
    embeddings, labels = random_batch(5)
    found = []
    for chunk in (2**18, 3 * len(labels), 1):
        monkeypatch.setattr("reid_lightning.losses.triplet_costs.CHUNK", chunk)
        leaf = embeddings.clone().requires_grad_()
        value, diagnostics = outcome(loss, leaf, labels)
        value.backward()
        found.append((leaf.grad, diagnostics))
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[0], found[2])


def test_a_value_that_is_not_a_number_is_not_hidden(random_batch):
    embeddings, labels = random_batch(5)
    embeddings[0] = torch.nan
    for triplets in (None, BatchHardMiner()(embeddings, labels)):
        assert TripletLoss(soft_margin=True)(embeddings, labels, triplets).isnan()
