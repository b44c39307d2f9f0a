"""The attribute loss against plain loops over images and heads."""

import math

import numpy as np
import pytest
import torch

from reid_lightning.systems.attributes.loss import AttributeLoss

SIZES = (2, 4, 3)
COUNTS = (90, 10, 5, 50, 20, 25, 0, 60, 40)


def batch(dtype=torch.float64, rows=7):
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(rows, sum(SIZES), generator=generator, dtype=dtype)
    targets = torch.stack([torch.randint(-1, size, (rows,), generator=generator) for size in SIZES], dim=1)
    targets[:, 2] = targets[:, 2].where(targets[:, 2] != 0, -1)  # a class without training images
    return logits.requires_grad_(), targets


def by_loops(logits, targets, weight=lambda head, label: 1.0, focal=0.0):
    """Mean over heads that have known labels of the weighted mean over these labels."""
    logits, starts = logits.detach(), [sum(SIZES[:head]) for head in range(len(SIZES))]
    of_heads = []
    for head, (start, size) in enumerate(zip(starts, SIZES, strict=True)):
        cost = weights = 0.0
        for row in range(len(logits)):
            label = int(targets[row, head])
            if label >= 0:
                exponentials = [math.exp(float(logits[row, start + k])) for k in range(size)]
                p = exponentials[label] / sum(exponentials)
                cost += weight(head, label) * (1 - p) ** focal * -math.log(p)
                weights += weight(head, label)
        if weights:
            of_heads.append(cost / weights)
    return sum(of_heads) / len(of_heads)


def balanced(head, label):
    counts = COUNTS[sum(SIZES[:head]) : sum(SIZES[: head + 1])]
    return sum(counts) / (len(counts) * counts[label])


@pytest.mark.parametrize("focal", [0.0, 0.5, 2.0])
@pytest.mark.parametrize(("class_weights", "weight"), [("none", lambda *_: 1.0), ("balanced", balanced)])
def test_loss_equals_plain_loops(class_weights, weight, focal):
    logits, targets = batch()
    loss = AttributeLoss(SIZES, COUNTS, class_weights=class_weights, focal=focal)
    assert loss(logits, targets).item() == pytest.approx(by_loops(logits, targets, weight, focal), rel=1e-12)
    assert torch.autograd.gradcheck(lambda x: loss(x, targets), logits)


def test_balanced_weights_are_those_of_scikit_learn():
    from sklearn.metrics import log_loss
    from sklearn.utils.class_weight import compute_class_weight

    logits = torch.randn(10, 2, dtype=torch.float64)
    labels = torch.tensor([0] * 8 + [1] * 2)
    weights = compute_class_weight("balanced", classes=np.array([0, 1]), y=labels.tolist())
    expected = log_loss(labels, logits.softmax(1), sample_weight=weights[labels])
    loss = AttributeLoss((2,), (8, 2), class_weights="balanced")
    assert loss(logits, labels[:, None]).item() == pytest.approx(expected, rel=1e-12)


def test_an_unknown_label_trains_nothing():
    logits, targets = batch()
    AttributeLoss(SIZES)(logits, targets).backward()
    unknown = (targets == -1).repeat_interleave(torch.tensor(SIZES), dim=1)
    assert unknown.any()
    assert (logits.grad[unknown] == 0).all()
    assert (logits.grad[~unknown] != 0).all()


def test_a_head_without_known_labels_is_left_out_of_the_mean():
    logits, targets = batch()
    targets[:, 1] = -1
    assert AttributeLoss(SIZES)(logits, targets).item() == pytest.approx(by_loops(logits, targets), rel=1e-12)


@pytest.mark.parametrize("options", [{}, {"class_weights": "balanced"}, {"focal": 2.0}])
def test_a_batch_without_known_labels_costs_nothing_and_can_be_stepped(options):
    logits, targets = batch(torch.float32)
    total = AttributeLoss(SIZES, COUNTS, **options)(logits, torch.full_like(targets, -1))
    total.backward()
    assert total == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("focal", [0.5, 1.0, 2.0])
def test_focal_loss_of_certain_answers_has_a_finite_gradient(focal):
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    total = AttributeLoss((2,), focal=focal)(logits, torch.tensor([[0], [0]]))
    total.backward()
    assert total.item() == pytest.approx(200)
    assert logits.grad.isfinite().all()


def test_majority_is_the_most_frequent_training_class():
    assert AttributeLoss(SIZES, COUNTS).majority() == [0, 1, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_weights": "inverse"}, "^class_weights must be none or balanced, got inverse"),
        ({"focal": -1.0}, "^focal must be >= 0"),
    ],
)
def test_nonsensical_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        AttributeLoss(SIZES, COUNTS, **options)
