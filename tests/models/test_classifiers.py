"""Classifiers against the papers' equations, angle by angle."""

import math

import pytest
import torch
from pytorch_metric_learning import losses as pml
from torch.nn.functional import cross_entropy

from reid_lightning.models.classifiers.angles import Annealing, multiple_angle
from reid_lightning.models.classifiers.arcface import ArcFaceClassifier
from reid_lightning.models.classifiers.cosface import CosFaceClassifier
from reid_lightning.models.classifiers.large_margin_softmax import LargeMarginSoftmaxClassifier
from reid_lightning.models.classifiers.softmax import SoftmaxClassifier
from reid_lightning.models.classifiers.sphereface import SphereFaceClassifier

IN, CLASSES = 4, 6
NO_ANNEALING = {"annealing_start": 0.0, "annealing_minimum": 0.0}
CASES = [
    (SoftmaxClassifier, {}),
    *((LargeMarginSoftmaxClassifier, {"margin": m, **NO_ANNEALING}) for m in (1, 2, 3, 4)),
    (LargeMarginSoftmaxClassifier, {}),
    *((SphereFaceClassifier, {"margin": m, **NO_ANNEALING}) for m in (1, 2, 3, 4)),
    (SphereFaceClassifier, {}),
    (CosFaceClassifier, {}),
    (CosFaceClassifier, {"scale": 10.0, "margin": 1.0}),
    (ArcFaceClassifier, {}),
    (ArcFaceClassifier, {"scale": 10.0, "margin": math.pi / 2}),
]
KINDS = [
    SoftmaxClassifier,
    LargeMarginSoftmaxClassifier,
    SphereFaceClassifier,
    CosFaceClassifier,
    ArcFaceClassifier,
]


def name(value):
    return value.__name__ if isinstance(value, type) else "-".join(map(str, value.values()))


def problem(seed, kind, settings):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(8, IN, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, CLASSES, (8,), generator=generator)
    torch.manual_seed(seed)
    return kind(in_features=IN, num_classes=CLASSES, **settings).double(), features, labels


def psi(theta, m):
    k = min(int(theta * m / math.pi), m - 1)
    return (-1) ** k * math.cos(m * theta) - 2 * k


def plain_logit(classifier, x, w, true):
    length, norm = math.hypot(*x), math.hypot(*w)
    theta = math.acos(max(-1, min(1, sum(a * b for a, b in zip(x, w, strict=True)) / length / norm)))
    if isinstance(classifier, SoftmaxClassifier):
        return length * norm * math.cos(theta)
    if isinstance(classifier, CosFaceClassifier):
        return classifier.scale * (math.cos(theta) - true * classifier.margin)
    if isinstance(classifier, ArcFaceClassifier):
        m = classifier.margin
        if not true:
            return classifier.scale * math.cos(theta)
        beyond = theta > math.pi - m
        return classifier.scale * (math.cos(theta) - m * math.sin(m) if beyond else math.cos(theta + m))
    scale = length * (1 if isinstance(classifier, SphereFaceClassifier) else norm)
    if not true:
        return scale * math.cos(theta)
    weight = max(classifier.annealing.start, classifier.annealing.minimum)  # of the first batch
    return scale * (weight * math.cos(theta) + psi(theta, classifier.margin)) / (1 + weight)


@pytest.mark.parametrize(("kind", "settings"), CASES, ids=name)
def test_equals_plain_loops(kind, settings):
    for seed in range(50):
        classifier, features, labels = problem(seed, kind, settings)
        found = classifier(features, labels)
        expected = [
            [plain_logit(classifier, x, w, y == c) for c, w in enumerate(classifier.weight.tolist())]
            for x, y in zip(features.tolist(), labels.tolist(), strict=True)
        ]
        torch.testing.assert_close(found, torch.tensor(expected, dtype=found.dtype), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("kind", "settings"), CASES, ids=name)
def test_no_margin_without_labels(kind, settings):
    classifier, features, labels = problem(0, kind, settings)
    plain, margin = classifier(features), classifier(features, labels)
    rows = torch.arange(len(labels))
    assert (margin[rows, labels] <= plain[rows, labels] + 1e-12).all()
    margin[rows, labels] = plain[rows, labels]
    torch.testing.assert_close(plain, margin)


@pytest.mark.parametrize(("kind", "settings"), CASES, ids=name)
def test_gradients(kind, settings):
    classifier, features, labels = problem(1, kind, settings)
    classifier.eval()  # annealing stands still

    def logits(features, weight):
        return torch.func.functional_call(classifier, {"weight": weight}, (features, labels))

    weight = classifier.weight.detach().requires_grad_()
    assert torch.autograd.gradcheck(logits, (features.requires_grad_(), weight))


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # inside the other library
@pytest.mark.parametrize(
    ("kind", "settings", "theirs"),
    [
        (ArcFaceClassifier, {}, lambda: pml.ArcFaceLoss(CLASSES, IN, margin=math.degrees(0.5), scale=64)),
        (CosFaceClassifier, {}, lambda: pml.CosFaceLoss(CLASSES, IN, margin=0.35, scale=64)),
        (SphereFaceClassifier, NO_ANNEALING, lambda: pml.SphereFaceLoss(CLASSES, IN, margin=4, scale=1)),
    ],
)
def test_cross_entropy_equals_pytorch_metric_learning(kind, settings, theirs):
    theirs = theirs().double()
    for seed in range(10):
        classifier, features, labels = problem(seed, kind, settings)
        theirs.W.data = classifier.weight.detach().T.clone()
        ours = cross_entropy(classifier(features, labels), labels)
        torch.testing.assert_close(ours, theirs(features, labels), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("kind", "settings"), CASES, ids=name)
@pytest.mark.parametrize("case", ["aligned", "opposite", "zero", "huge", "tiny"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_odd_features_are_finite(kind, settings, case, dtype):
    torch.manual_seed(0)
    classifier = kind(in_features=IN, num_classes=CLASSES, **settings)
    labels = torch.arange(CLASSES)
    weight = classifier.weight.detach()
    features = {
        "aligned": weight * 3,
        "opposite": -weight * 3,
        "zero": torch.zeros_like(weight),
        "huge": 1e4 * torch.randn(CLASSES, IN),
        "tiny": 1e-20 * torch.randn(CLASSES, IN),
    }[case].requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        logits = classifier(features.to(dtype), labels)
    cross_entropy(logits.float(), labels).backward()
    assert logits.isfinite().all()
    assert features.grad.isfinite().all()
    assert classifier.weight.grad.isfinite().all()


@pytest.mark.parametrize("kind", [CosFaceClassifier, ArcFaceClassifier])
def test_scaled_cosines_keep_their_digits_under_autocast(kind):
    classifier, features, labels = problem(0, kind, {})
    exact = classifier(features, labels).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = classifier.float()(features.float(), labels)
    torch.testing.assert_close(found, exact, atol=1e-3, rtol=0)


@pytest.mark.parametrize("kind", [ArcFaceClassifier, SphereFaceClassifier, LargeMarginSoftmaxClassifier])
def test_the_true_logit_falls_with_the_angle_all_the_way(kind):
    settings = {} if kind is ArcFaceClassifier else NO_ANNEALING
    classifier = kind(in_features=2, num_classes=1, **settings).double()
    classifier.weight.data = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    theta = torch.linspace(0, math.pi, 500, dtype=torch.float64)
    features = torch.stack((theta.cos(), theta.sin()), dim=1)
    logits = classifier(features, torch.zeros(500, dtype=torch.int64)).flatten()
    assert (logits.diff() < 1e-9).all()


@pytest.mark.parametrize("multiple", [1, 2, 3, 4])
def test_multiple_angle_has_no_jump(multiple):
    theta = torch.linspace(0, math.pi, 2001, dtype=torch.float64)
    values = multiple_angle(theta.cos(), multiple)
    assert values[0] == 1
    torch.testing.assert_close(values[-1], torch.tensor(1.0 - 2 * multiple, dtype=torch.float64))
    assert values.diff().abs().max() < 1.01 * multiple * math.pi / 2000


def test_annealing_falls_to_its_minimum_counts_training_only_and_resumes():
    annealing = Annealing(start=1000.0, decay=0.12, minimum=5.0)
    one, zero = torch.ones(1), torch.zeros(1)

    def weight(module):
        mean = module(one, zero).item()  # lambda / (1 + lambda)
        return mean / (1 - mean)

    annealing.eval()
    assert weight(annealing) == pytest.approx(1000, rel=1e-3)
    assert annealing.batches == 0
    annealing.train()
    assert [weight(annealing) for _ in range(3)] == pytest.approx(
        [1000 / (1 + 0.12 * n) for n in range(3)], rel=1e-3
    )
    resumed = Annealing(start=1000.0, decay=0.12, minimum=5.0)
    resumed.load_state_dict(annealing.state_dict())
    assert weight(resumed) == pytest.approx(1000 / 1.36, rel=1e-3)
    resumed.batches.fill_(10_000)
    assert weight(resumed) == pytest.approx(5.0, rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_label_smoothing_is_an_attribute(kind):
    assert kind(IN, CLASSES, label_smoothing=0.2).label_smoothing == 0.2


@pytest.mark.parametrize("kind", KINDS)
def test_learns_separable_identities(kind):
    torch.manual_seed(0)
    centers = torch.randn(CLASSES, 16)
    labels = torch.arange(CLASSES).repeat_interleave(4)
    features = centers[labels] + 0.05 * torch.randn(len(labels), 16)
    classifier = kind(16, CLASSES)
    optimizer = torch.optim.Adam(classifier.parameters(), lr=0.05)
    for _ in range(60):
        loss = cross_entropy(classifier(features, labels), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (classifier(features).argmax(dim=1) == labels).all()


@pytest.mark.parametrize(
    ("kind", "settings", "key"),
    [
        (LargeMarginSoftmaxClassifier, {"margin": 5}, "^margin must be 1, 2, 3 or 4, got 5"),
        (SphereFaceClassifier, {"margin": 0}, "^margin must be 1, 2, 3 or 4, got 0"),
        (CosFaceClassifier, {"margin": 2.5}, "^margin must be .* got 2.5"),
        (CosFaceClassifier, {"scale": 0.0}, "^scale must be > 0, got 0.0"),
        (ArcFaceClassifier, {"margin": 28.6}, "^margin must be .*radians.* got 28.6"),
        (ArcFaceClassifier, {"scale": -1.0}, "^scale must be > 0, got -1.0"),
    ],
)
def test_senseless_settings_are_refused(kind, settings, key):
    with pytest.raises(ValueError, match=key):
        kind(IN, CLASSES, **settings)
