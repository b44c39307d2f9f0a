"""Losses over the whole batch against plain loops that follow the papers' equations."""

import itertools
import math

import pytest
import torch
from pytorch_metric_learning import losses as pml
from tester import Case, LossTester, outcome
from torch.nn.functional import normalize

from reid_lightning.losses.center import CenterLoss
from reid_lightning.losses.centroid_triplet import CentroidTripletLoss
from reid_lightning.losses.circle import CircleLoss
from reid_lightning.losses.contrastive import ContrastiveLoss
from reid_lightning.losses.margin_sample import MarginSampleLoss
from reid_lightning.losses.quadruplet import QuadrupletLoss
from reid_lightning.losses.quadruplet_absolute import AbsoluteQuadrupletLoss
from reid_lightning.losses.weighted_triplet import WeightedTripletLoss


def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else 0.0


def relu(value):
    return max(value, 0.0)


def distance(x, y, squared=False):
    total = sum((a - b) ** 2 for a, b in zip(x, y, strict=True))
    return total if squared else math.sqrt(total)


def positives(labels):
    return [(a, p) for a, p in itertools.permutations(range(len(labels)), 2) if labels[a] == labels[p]]


def negatives(labels):
    return [(a, n) for a, n in itertools.permutations(range(len(labels)), 2) if labels[a] != labels[n]]


def triplet_mean(d, labels, margin):
    return mean(
        relu(d(a, p) - d(a, n) + margin)
        for a, p in positives(labels)
        for n in range(len(labels))
        if labels[n] != labels[a]
    )


def contrastive(loss, e, labels):
    def d(i, j):
        return distance(e[i], e[j])

    pull = mean(d(*pair) ** 2 for pair in positives(labels))
    return pull / 2 + mean(relu(loss.margin - d(*pair)) ** 2 for pair in negatives(labels)) / 2


def margin_sample(loss, e, labels):
    if not positives(labels) or not negatives(labels):
        return 0.0

    def d(pair):
        return distance(e[pair[0]], e[pair[1]])

    return relu(max(map(d, positives(labels))) - min(map(d, negatives(labels))) + loss.margin)


def weighted_triplet(loss, e, labels):
    costs = []
    for a in range(len(e)):
        near = [distance(e[a], e[p]) for i, p in positives(labels) if i == a]
        far = [distance(e[a], e[n]) for i, n in negatives(labels) if i == a]
        if near and far:
            gap = sum(d * math.exp(d) for d in near) / sum(map(math.exp, near))
            gap -= sum(d * math.exp(-d) for d in far) / sum(math.exp(-d) for d in far)
            costs.append(math.log1p(math.exp(gap)) if loss.soft_margin else relu(gap + loss.margin))
    return mean(costs)


def circle(loss, e, labels, weights=None):
    """`weights`: embeddings that the weights are computed from, because those get no gradient."""
    weights = e if weights is None else weights
    m, g, costs = loss.margin, loss.gamma, []

    def cosine(v, i, j):
        return sum(map(math.prod, zip(v[i], v[j], strict=True))) / math.hypot(*v[i]) / math.hypot(*v[j])

    for a in range(len(e)):
        push = [
            math.exp(g * relu(cosine(weights, a, n) + m) * (cosine(e, a, n) - m))
            for i, n in negatives(labels)
            if i == a
        ]
        pull = [
            math.exp(-g * relu(1 + m - cosine(weights, a, p)) * (cosine(e, a, p) - 1 + m))
            for i, p in positives(labels)
            if i == a
        ]
        if push and pull:
            costs.append(math.log1p(sum(push) * sum(pull)))
    return mean(costs)


def centroid_triplet(loss, e, labels):
    costs = []
    for a in range(len(e)):
        own = [e[p] for i, p in positives(labels) if i == a]
        others = {n: [e[i] for i in range(len(e)) if labels[i] == n] for n in set(labels) - {labels[a]}}
        if own and others:

            def center(vectors):
                return [mean(column) for column in zip(*vectors, strict=True)]

            near = distance(e[a], center(own), loss.squared)
            far = min(distance(e[a], center(vectors), loss.squared) for vectors in others.values())
            costs.append(relu(near - far + loss.margin))
    return mean(costs)


def quadruplet(loss, e, labels):
    def d(i, j):
        return distance(e[i], e[j], loss.squared)

    second = mean(
        relu(d(a, p) - d(b, c) + loss.negative_margin)
        for a, p in positives(labels)
        for b, c in negatives(labels)
        if labels[a] not in (labels[b], labels[c])
    )
    return triplet_mean(d, labels, loss.margin) + second


def quadruplet_absolute(loss, e, labels):
    def d(i, j):
        return distance(e[i], e[j])

    far = mean(relu(d(*pair) - loss.bound) for pair in positives(labels))
    near = mean(relu(loss.margin + loss.bound - d(*pair)) for pair in negatives(labels))
    return triplet_mean(d, labels, loss.margin) + far + near


def of_lists(oracle):
    """Return an oracle of plain lists, given the vectors that the loss compares."""

    def of_tensors(loss, embeddings, labels, triplets):
        return oracle(loss, (normalize(embeddings) if loss.normalize else embeddings).tolist(), labels)

    return of_tensors


CASES = [
    Case(ContrastiveLoss(), of_lists(contrastive)),
    Case(ContrastiveLoss(margin=2.5, normalize=False), of_lists(contrastive)),
    Case(MarginSampleLoss(), of_lists(margin_sample)),
    Case(MarginSampleLoss(margin=0.1, normalize=True), of_lists(margin_sample)),
    Case(WeightedTripletLoss(), of_lists(weighted_triplet)),
    Case(WeightedTripletLoss(soft_margin=True), of_lists(weighted_triplet)),
    Case(WeightedTripletLoss(margin=0.1, normalize=True), of_lists(weighted_triplet)),
    Case(CircleLoss(), of_lists(circle), slope=False),
    Case(CircleLoss(margin=0.4, gamma=8.0), of_lists(circle), slope=False),
    Case(CentroidTripletLoss(), of_lists(centroid_triplet)),
    Case(CentroidTripletLoss(margin=0.5, squared=False, normalize=True), of_lists(centroid_triplet)),
    Case(QuadrupletLoss(), of_lists(quadruplet)),
    Case(QuadrupletLoss(margin=1.0, negative_margin=0.5, squared=True, normalize=True), of_lists(quadruplet)),
    Case(AbsoluteQuadrupletLoss(), of_lists(quadruplet_absolute)),
    Case(AbsoluteQuadrupletLoss(margin=1.0, bound=2.0, normalize=False), of_lists(quadruplet_absolute)),
]
LOSSES = [case.loss for case in CASES]


class TestLossesWithOwnPairs(LossTester):
    cases = CASES


def name(value):
    return type(value).__name__ if isinstance(value, torch.nn.Module) else ""


@pytest.mark.parametrize("seed", range(3))
def test_circle_gradient_is_that_of_fixed_weights(random_batch, seed):
    loss = CircleLoss(gamma=8.0)
    embeddings, labels = random_batch(seed)
    loss(embeddings.requires_grad_(), labels).backward()
    base, step = embeddings.detach(), 1e-6
    for row, column in itertools.product(range(len(base)), range(2)):
        change = torch.zeros_like(base)
        change[row, column] = step
        ends = [
            circle(loss, vectors.tolist(), labels.tolist(), weights=base.tolist())
            for vectors in (base + change, base - change)
        ]
        assert embeddings.grad[row, column].item() == pytest.approx(
            (ends[0] - ends[1]) / (2 * step), abs=1e-6
        )


def test_circle_equals_pytorch_metric_learning(random_batch):
    theirs = pml.CircleLoss(m=0.25, gamma=128)
    for seed in range(20):
        embeddings, labels = random_batch(seed)
        torch.testing.assert_close(CircleLoss()(embeddings, labels), theirs(embeddings, labels))


def test_contrastive_parts_equal_pytorch_metric_learning(random_batch):
    """Its loss is linear in the distance; with every distance equal to one, squares make no difference."""
    theirs = pml.ContrastiveLoss(pos_margin=0, neg_margin=2)
    embeddings = torch.eye(6, dtype=torch.float64) / math.sqrt(2)
    labels = torch.tensor([0, 0, 1, 1, 1, 2])
    theirs.distance.normalize_embeddings = False
    ours = ContrastiveLoss(margin=2.0, normalize=False)(embeddings, labels)
    torch.testing.assert_close(2 * ours, theirs(embeddings, labels))


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_diagnostics_of_a_collapsed_batch(loss):
    _, diagnostics = outcome(loss, torch.ones(6, 4), torch.tensor([0, 0, 1, 1, 2, 2]))
    found = {key: round(value.item(), 3) for key, value in diagnostics.items()}
    norm = 1.0 if getattr(loss, "normalize", False) else 2.0
    expected = {
        "active_fraction": 1.0,
        "mean_ap_distance": 0.0,
        "mean_an_distance": 0.0,
        "embedding_norm": norm,
    }
    assert found == expected


def test_quadruplets_of_a_large_batch_are_counted_exactly():
    """Tied distances, and far more quadruplets than could be listed one by one in float32."""
    torch.manual_seed(0)
    labels = torch.arange(40).repeat_interleave(3)
    embeddings = torch.randint(0, 3, (120, 2), dtype=torch.float64)
    d = torch.cdist(embeddings, embeddings)
    positive = (labels[:, None] == labels).fill_diagonal_(False).nonzero()
    total, count = 0.0, 0
    for a, p in positive.tolist():
        foreign = labels != labels[a]
        mask = foreign[:, None] & foreign & (labels[:, None] != labels)
        total += torch.relu(d[a, p] - d[mask] + 0.5).sum().item()
        count += int(mask.sum())
    loss = QuadrupletLoss(margin=0.0, negative_margin=0.5)
    hinge = triplet_mean(lambda i, j: d[i, j].item(), labels.tolist(), 0.0)
    assert loss(embeddings, labels).item() == pytest.approx(hinge + total / count, abs=1e-6)


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: ContrastiveLoss(margin=-1), "margin"),
        (lambda: MarginSampleLoss(margin=-1), "margin"),
        (lambda: WeightedTripletLoss(margin=-1), "margin"),
        (lambda: CircleLoss(margin=1.0), "margin"),
        (lambda: CircleLoss(gamma=0.0), "gamma"),
        (lambda: CentroidTripletLoss(margin=-1), "margin"),
        (lambda: QuadrupletLoss(negative_margin=-1), "negative_margin"),
        (lambda: AbsoluteQuadrupletLoss(bound=math.nan), "bound"),
        (lambda: CenterLoss(2, 2, alpha=1.5), "alpha"),
    ],
)
def test_senseless_settings_are_refused(make, key):
    with pytest.raises(ValueError, match=f"^{key} must be"):
        make()
