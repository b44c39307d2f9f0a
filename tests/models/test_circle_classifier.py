import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from reid_lightning.models.classifiers.circle import CircleClassifier


def problem(seed, **settings):
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    classifier = CircleClassifier(in_features=4, num_classes=6, **settings).double()
    features = torch.randn(8, 4, generator=generator, dtype=torch.float64)
    return classifier, features, torch.randint(0, 6, (8,), generator=generator)


@pytest.mark.parametrize(
    "settings", [{}, {"scale": 10.0, "margin": 0.1}, {"margin": 0.0}, {"margin": 1.0}], ids=str
)
def test_logits_and_their_gradient_equal_plain_loops(settings):
    for seed in range(20):
        classifier, features, labels = problem(seed, **settings)
        features.requires_grad_()
        found = classifier(features, labels)
        s, m = classifier.scale, classifier.margin
        weighted = torch.zeros_like(found)
        for row, x in enumerate(features):
            for column, w in enumerate(classifier.weight):
                cosine = (x @ w) / (x.norm() * w.norm())
                value = cosine.item()
                if column == labels[row]:
                    weighted[row, column] = s * max(0.0, 1 + m - value) * (cosine - (1 - m))
                else:
                    weighted[row, column] = s * max(0.0, value + m) * (cosine - m)
        torch.testing.assert_close(found, weighted)
        ours, theirs = (
            torch.autograd.grad(cross_entropy(logits, labels), features)[0] for logits in (found, weighted)
        )
        torch.testing.assert_close(ours, theirs)


def test_cross_entropy_is_the_circle_loss_of_one_positive():
    classifier, features, labels = problem(0, scale=8.0, margin=0.25)
    cosine = classifier(features) / 8.0
    expected = 0.0
    for row, label in enumerate(labels.tolist()):
        negatives = 0.0
        for column, value in enumerate(cosine[row].tolist()):
            if column != label:
                negatives += math.exp(8.0 * max(0.0, value + 0.25) * (value - 0.25))
        value = cosine[row, label].item()
        expected += math.log(1 + negatives * math.exp(-8.0 * max(0.0, 1.25 - value) * (value - 0.75)))
    assert cross_entropy(classifier(features, labels), labels).item() == pytest.approx(expected / 8)


def test_half_precision_and_bad_settings():
    classifier, features, labels = problem(1)
    exact = classifier(features, labels).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = classifier.float()(features.float(), labels)
    torch.testing.assert_close(found, exact, atol=1e-3, rtol=0)
    for settings, key in (
        ({"scale": 0.0}, "^scale must be > 0, got 0.0"),
        ({"margin": 1.5}, r"^margin must be .* got 1.5"),
    ):
        with pytest.raises(ValueError, match=key):
            CircleClassifier(4, 6, **settings)
