"""Losses over global vector and stripes against plain loops and values worked out by hand."""

import itertools
import math
import operator

import pytest
import torch
from tester import CLASSES, SIZE, STRIPES, Case, LossTester, assert_sane, outcome

from reid_lightning.losses.aligned import AlignedReIDLoss
from reid_lightning.losses.part_identity import PartIdentityLoss
from reid_lightning.losses.spatial_channel import SpatialChannelLoss
from reid_lightning.losses.triplet import TripletLoss
from reid_lightning.mining.batch_hard import BatchHardMiner
from reid_lightning.models.features import Features

LABELS = torch.tensor([0, 0, 0, 1, 1, 2, 2, 3])


def features(seed=0, count=8, size=6, stripes=4, dims=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(count, size, generator=generator, dtype=dtype, requires_grad=True)
    local = torch.randn(count, stripes, dims, generator=generator, dtype=dtype, requires_grad=True)
    return Features(vectors, vectors, vectors, {"stripes": local})


def aligned(first, second):
    """The paper's two equations for one pair of people."""
    size = len(first)
    cost = [[math.tanh(math.dist(f, g) / 2) for g in second] for f in first]
    path = {}
    for i, j in itertools.product(range(size), repeat=2):
        before = [path[cell] for cell in ((i - 1, j), (i, j - 1)) if cell in path]
        path[i, j] = cost[i][j] + min(before, default=0.0)
    return path[size - 1, size - 1]


def plain_aligned(loss, given, labels, triplets):
    vectors, stripes = given.before_neck.tolist(), given.extra["stripes"].tolist()
    triplets = all_triplets(labels) if triplets is None else triplets

    def cost(distance, values, margin, a, p, n):
        return max(distance(values[a], values[p]) - distance(values[a], values[n]) + margin, 0.0)

    whole = sum(cost(math.dist, vectors, loss.margin, *triplet) for triplet in triplets)
    local = sum(cost(aligned, stripes, loss.local_margin, *triplet) for triplet in triplets)
    return (whole + loss.local_weight * local) / max(1, len(triplets))


def plain_part_identity(loss, given, labels, triplets):
    """A softmax for each stripe, whose target spreads over all identities."""
    costs, smoothing = [], loss.label_smoothing
    for stripes, label in zip(given.extra["stripes"].tolist(), labels, strict=True):
        for stripe, weight in zip(stripes, loss.weight.tolist(), strict=True):
            logits = [sum(map(operator.mul, stripe, row)) for row in weight]
            total = math.log(sum(map(math.exp, logits)))
            target = [smoothing / CLASSES + (1 - smoothing) * (k == label) for k in range(CLASSES)]
            costs.append(sum(share * (total - logit) for share, logit in zip(target, logits, strict=True)))
    return sum(costs) / len(costs)


def plain_spatial_channel(loss, given, labels, triplets):
    pairs = zip(given.before_neck.tolist(), given.extra["stripes"].flatten(1).tolist(), strict=True)
    return sum(math.dist(vector, stripes) ** 2 for vector, stripes in pairs) / len(labels)


def all_triplets(labels):
    return [
        (a, p, n)
        for a, p, n in itertools.product(range(len(labels)), repeat=3)
        if a != p and labels[a] == labels[p] != labels[n]
    ]


def part_identity(smoothing):
    torch.manual_seed(0)
    loss = PartIdentityLoss(CLASSES, *STRIPES, label_smoothing=smoothing)
    torch.nn.init.normal_(loss.weight)
    return loss


class TestLossesOfFeatures(LossTester):
    cases = (
        Case(AlignedReIDLoss(), plain_aligned),
        Case(AlignedReIDLoss(1.0, 2.0, 0.5), plain_aligned),
        Case(part_identity(0.0), plain_part_identity, any_label=False),
        Case(part_identity(0.1), plain_part_identity, any_label=False),
        Case(SpatialChannelLoss(SIZE, *STRIPES), plain_spatial_channel),
    )


def test_aligned_without_its_local_term_is_the_triplet_loss():
    given = features()
    mined = BatchHardMiner()(given.before_neck, LABELS)
    ours = AlignedReIDLoss(local_weight=0.0)(given, LABELS, mined)
    torch.testing.assert_close(ours, TripletLoss(0.3)(given.before_neck, LABELS, mined))


@pytest.mark.parametrize("indices", [None, tuple(torch.zeros(0, dtype=torch.int64) for _ in range(3))])
@pytest.mark.parametrize("fill", [torch.zeros, torch.ones])
def test_aligned_is_finite_where_nothing_differs_or_nothing_is_mined(indices, fill):
    vectors, local = fill(8, 6).requires_grad_(), fill(8, 4, 3).requires_grad_()
    loss = AlignedReIDLoss()
    batch = Features(vectors, vectors, vectors, {"stripes": local}), LABELS, indices
    value = assert_sane(loss, [vectors, local], *batch)
    assert value.item() == pytest.approx(0.6 if indices is None else 0.0)
    wanted = {"active_fraction", "local_active_fraction", "local_mean_ap_distance"}
    assert outcome(loss, *batch)[1].keys() >= wanted


def test_the_tie_of_blocks_and_stripes_worked_out_by_hand():
    # Two images, a global vector of three blocks of two channels.
    vectors = torch.tensor([[1.0, 2, 3, 4, 5, 6], [0, 0, 0, 0, 0, 0]], requires_grad=True)
    local = torch.tensor(
        [[[1.0, 2], [3, 1], [7, 6]], [[0, 0], [0, 1], [2, 0]]], requires_grad=True
    )  # misses by 0, 3² and 2²; by 0, 1² and 2²
    loss = SpatialChannelLoss(embedding_size=6, num_parts=3, part_size=2)
    value = loss(Features(vectors, vectors, vectors, {"stripes": local}), torch.tensor([0, 1]))
    assert value.item() == (9 + 4 + 1 + 4) / 2
    value.backward()
    # 2 (block - stripe) / images, in the block of the stripe that is missed and nowhere else
    assert vectors.grad.tolist() == [[0, 0, 0, 3, -2, 0], [0, 0, 0, -1, -2, 0]]
    assert torch.equal(local.grad.flatten(1), -vectors.grad)


def test_a_block_that_matches_another_stripe_is_not_tied_to_it():
    vectors = torch.tensor([[1.0, 1, 2, 2]])
    loss = SpatialChannelLoss(embedding_size=4, num_parts=2, part_size=2)
    right, swapped = torch.tensor([[[1.0, 1], [2, 2]]]), torch.tensor([[[2.0, 2], [1, 1]]])
    label = torch.tensor([0])
    assert loss(Features(vectors, vectors, vectors, {"stripes": right}), label).item() == 0
    assert loss(Features(vectors, vectors, vectors, {"stripes": swapped}), label).item() == 4


def test_blocks_and_stripes_of_different_sizes_are_refused():
    with pytest.raises(ValueError, match=r"^3 stripes of 2 dimensions need a global vector of 6, got 8"):
        SpatialChannelLoss(embedding_size=8, num_parts=3, part_size=2)


def test_the_stripes_accuracy_is_that_of_all_classifiers():
    loss = PartIdentityLoss(num_classes=2, num_parts=2, part_size=2)
    with torch.no_grad():
        loss.weight.copy_(torch.eye(2).expand(2, 2, 2))
    local = torch.eye(2)[torch.tensor([[0, 0], [0, 1]])]  # the second image's first stripe is wrong
    vectors = torch.zeros(2, 1)
    batch = Features(vectors, vectors, vectors, {"stripes": local}), torch.tensor([0, 1])
    assert outcome(loss, *batch)[1]["accuracy"].item() == 0.75


@pytest.mark.parametrize("key", ["margin", "local_margin", "local_weight"])
def test_negative_settings_are_refused(key):
    with pytest.raises(ValueError, match=f"^{key} must be >= 0, got -0.1"):
        AlignedReIDLoss(**{key: -0.1})
