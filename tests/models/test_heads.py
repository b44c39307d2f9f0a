"""Pooling, necks and the network around them."""

import pytest
import torch
from torch import nn

from reid_lightning.models.necks import BNNeck, LinearNeck, NoNeck, ProjectedNeck
from reid_lightning.models.network import ReIDNetwork
from reid_lightning.models.normalization import IMAGENET_MEAN, IMAGENET_STD, InputNormalization
from reid_lightning.models.pooling import AveragePooling, GeMPooling, MaxPooling


def test_gem_lies_between_mean_and_maximum_and_reaches_both():
    features = torch.rand(2, 3, 4, 5, dtype=torch.float64) + 0.1
    mean, largest = AveragePooling()(features), MaxPooling()(features)
    torch.testing.assert_close(GeMPooling(p=1)(features).double(), mean)
    torch.testing.assert_close(GeMPooling(p=500)(features).double(), largest, rtol=0.02, atol=0)
    middle = GeMPooling(p=3)(features)
    assert ((mean < middle) & (middle < largest)).all()


def test_gem_equals_its_formula_and_has_its_gradient():
    pooling, features = GeMPooling(p=2.5).double(), torch.rand(2, 3, 2, 2, dtype=torch.float64) + 0.1
    expected = (features[1, 2].flatten() ** 2.5).mean() ** (1 / 2.5)
    torch.testing.assert_close(pooling(features)[1, 2], expected.double())
    assert torch.autograd.gradcheck(pooling, features.requires_grad_())
    pooling(features).sum().backward()
    assert pooling.p.grad.abs() > 0


def test_gem_survives_half_types_and_empty_maps():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled = GeMPooling(p=6)(torch.full((1, 2, 2, 2), 3e4, dtype=torch.bfloat16))
    assert pooled.dtype == torch.float32
    assert pooled.isfinite().all()
    assert GeMPooling()(torch.zeros(1, 2, 2, 2)).isfinite().all()
    with pytest.raises(ValueError, match=r"^p must be >= 1, got 0.5"):
        GeMPooling(p=0.5)


def test_averages_of_half_types_keep_float32_digits():
    features = torch.tensor([1.0, 1.0, 1.0, 1.0078125], dtype=torch.bfloat16).view(1, 1, 2, 2)
    assert AveragePooling()(features).item() == 1.001953125  # bfloat16 has nothing between 1 and 1.0078125
    assert AveragePooling()(features.double()).dtype == torch.float64


def test_bnneck_splits_metric_and_retrieval_vectors_and_never_shifts():
    neck, pooled = BNNeck(4), 5 + 3 * torch.randn(64, 4)
    metric, embedding, classifier = neck(pooled)
    assert torch.equal(metric, pooled)
    assert embedding is classifier
    torch.testing.assert_close(embedding.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    assert not neck.norm.bias.requires_grad
    assert torch.equal(neck.norm.bias, torch.zeros(4))


@pytest.mark.parametrize("keep_pooled", [False, True])
def test_a_projected_vector_is_normalised_alone_or_beside_the_pooled_one(keep_pooled):
    neck, pooled = ProjectedNeck(4, 3, keep_pooled), 5 + 3 * torch.randn(64, 4)
    metric, embedding, classifier = neck(pooled)
    projected = torch.einsum("bi,oi->bo", pooled, neck.projection.weight)
    parts = [pooled, projected] if keep_pooled else [projected]
    torch.testing.assert_close(metric, torch.cat(parts, 1))
    # Each part has a normalization of its own in CLIP-ReID.
    torch.testing.assert_close(embedding, torch.cat([BNNeck(part.shape[1])(part)[1] for part in parts], 1))
    assert embedding is classifier
    assert neck.out_features == embedding.shape[1] == (7 if keep_pooled else 3)
    assert not neck.norm.bias.requires_grad


def test_linear_neck_builds_kiels_layers():
    neck = LinearNeck(2048, embedding_size=128, hidden_size=1024)
    assert [type(layer) for layer in neck.layers] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert neck(torch.randn(2, 2048))[1].shape == (2, 128)
    plain = LinearNeck(16, embedding_size=8, hidden_size=12, batch_norm=False, dropout=0.5)
    assert [type(layer) for layer in plain.layers] == [nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]


def test_normalisation_is_the_same_for_bytes_and_fractions():
    images = torch.arange(256, dtype=torch.uint8).repeat(3).view(1, 3, 16, 16)
    expected = torch.stack(
        [(images[0, c].double() / 255 - IMAGENET_MEAN[c]) / IMAGENET_STD[c] for c in range(3)]
    )
    normalize = InputNormalization()
    torch.testing.assert_close(normalize(images)[0].double(), expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(normalize(images), normalize(images.float() / 255), atol=1e-6, rtol=1e-6)


class TinyBackbone(nn.Conv2d):
    out_channels = 6

    def __init__(self):
        super().__init__(3, 6, 3)


def test_the_network_hands_each_loss_its_vector():
    network = ReIDNetwork(
        TinyBackbone(), AveragePooling(), BNNeck, lambda size, classes: Recorder(size, classes), 5
    )
    images = torch.randint(0, 256, (4, 3, 16, 8), dtype=torch.uint8)
    features = network(images)
    assert features.before_neck.shape == features.embedding.shape == (4, 6)
    assert network.embedding_size == 6
    assert network.classify(features).shape == (4, 5)
    assert network.classifier.labels is None
    labels = torch.tensor([0, 1, 2, 3])
    network.classify(features, labels)
    assert network.classifier.labels is labels


class Recorder(nn.Linear):
    def forward(self, features, labels=None):
        self.labels = labels
        return super().forward(features)


def test_without_a_classifier_there_are_no_logits():
    network = ReIDNetwork(TinyBackbone(), AveragePooling(), NoNeck, None, 5)
    assert network.classify(network(torch.rand(2, 3, 8, 8))) is None
