"""Losses over global vector and stripes against plain loops and values worked out by hand."""

import itertools
import math

import pytest
import torch
from tester import assert_sane, outcome
from torch.nn import functional

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


def plain_loss(loss, given, triplets):
    vectors, stripes = given.before_neck.tolist(), given.extra["stripes"].tolist()

    def cost(distance, values, margin, a, p, n):
        return max(distance(values[a], values[p]) - distance(values[a], values[n]) + margin, 0.0)

    whole = sum(cost(math.dist, vectors, loss.margin, *triplet) for triplet in triplets)
    local = sum(cost(aligned, stripes, loss.local_margin, *triplet) for triplet in triplets)
    return (whole + loss.local_weight * local) / len(triplets)


def all_triplets(labels):
    labels = labels.tolist()
    return [
        (a, p, n)
        for a, p, n in itertools.product(range(len(labels)), repeat=3)
        if a != p and labels[a] == labels[p] != labels[n]
    ]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "loss", [AlignedReIDLoss(), AlignedReIDLoss(1.0, 2.0, 0.5)], ids=["default", "other"]
)
def test_aligned_equals_plain_loops(loss, seed):
    given = features(seed)
    mined = BatchHardMiner()(given.before_neck, LABELS)
    triplets = list(zip(*(indices.tolist() for indices in mined), strict=True))
    assert loss(given, LABELS, mined).item() == pytest.approx(plain_loss(loss, given, triplets))
    assert loss(given, LABELS).item() == pytest.approx(plain_loss(loss, given, all_triplets(LABELS)))


def test_padding_counts_for_nothing_in_the_aligned_loss():
    """Other than d(a, a), the aligned distance of an image from itself is not zero, and it has a slope."""
    given, labels, found = features(), torch.tensor([0, 0, 1, 2, 2, 2, 3, 3]), []
    for triplets in (
        BatchHardMiner()(given.before_neck, labels),
        BatchHardMiner().padded(given.before_neck, labels),
    ):
        local, loss = given.extra["stripes"].detach().clone().requires_grad_(), AlignedReIDLoss(1.0, 1.0)
        value, diagnostics = outcome(loss, given.with_extra("stripes", local), labels, triplets)
        value.backward()
        found.append((value.detach(), local.grad, diagnostics))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("mined", [True, False])
def test_aligned_gradients(mined):
    given = features()
    indices = BatchHardMiner()(given.before_neck, LABELS) if mined else None

    def value(vectors, local):
        return AlignedReIDLoss(1.0, 1.0)(
            given._replace(before_neck=vectors).with_extra("stripes", local), LABELS, indices
        )

    assert torch.autograd.gradcheck(value, (given.before_neck, given.extra["stripes"]))


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


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_every_stripe_has_a_classifier_of_its_own(smoothing):
    torch.manual_seed(0)
    given = features(dtype=torch.float32)
    loss = PartIdentityLoss(num_classes=4, num_parts=4, part_size=3, label_smoothing=smoothing)
    torch.nn.init.normal_(loss.weight)
    costs = [
        functional.cross_entropy(
            given.extra["stripes"][:, s] @ loss.weight[s].T, LABELS, label_smoothing=smoothing
        )
        for s in range(4)
    ]
    torch.testing.assert_close(loss(given, LABELS), torch.stack(costs).mean())


def test_the_stripes_accuracy_is_that_of_all_classifiers():
    loss = PartIdentityLoss(num_classes=2, num_parts=2, part_size=2)
    with torch.no_grad():
        loss.weight.copy_(torch.eye(2).expand(2, 2, 2))
    local = torch.eye(2)[torch.tensor([[0, 0], [0, 1]])]  # the second image's first stripe is wrong
    vectors = torch.zeros(2, 1)
    batch = Features(vectors, vectors, vectors, {"stripes": local}), torch.tensor([0, 1])
    assert outcome(loss, *batch)[1]["accuracy"].item() == 0.75


@pytest.mark.parametrize(
    "loss",
    [AlignedReIDLoss(), PartIdentityLoss(4, 4, 3), SpatialChannelLoss(6, 3, 2)],
    ids=lambda loss: type(loss).__name__,
)
def test_a_network_without_stripes_is_refused(loss):
    with pytest.raises(ValueError, match="reads features of stripes"):
        loss(features()._replace(extra={}), LABELS)


@pytest.mark.parametrize("key", ["margin", "local_margin", "local_weight"])
def test_negative_settings_are_refused(key):
    with pytest.raises(ValueError, match=f"^{key} must be >= 0, got -0.1"):
        AlignedReIDLoss(**{key: -0.1})
