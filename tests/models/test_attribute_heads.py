"""Attribute heads, the confidence re-weighting, and the network with and without them."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from reid_lightning.data.attributes import MARKET12
from reid_lightning.models.classifiers.arcface import ArcFaceClassifier
from reid_lightning.models.classifiers.softmax import SoftmaxClassifier
from reid_lightning.models.necks import BNNeck, ReLUNeck
from reid_lightning.models.network import ReIDNetwork
from reid_lightning.models.pooling import AveragePooling
from reid_lightning.systems.attributes.heads import AttributeHeads, probabilities


class TinyBackbone(nn.Conv2d):
    out_channels = 6

    def __init__(self):
        super().__init__(3, 6, 3)


def network(classifier=SoftmaxClassifier, neck=ReLUNeck, **options):
    torch.manual_seed(0)
    heads = None if options.get("without") else lambda size: AttributeHeads(size, MARKET12.sizes, **options)
    return ReIDNetwork(TinyBackbone(), AveragePooling(), neck, classifier, 5, attributes=heads)


def images():
    return torch.rand(4, 3, 16, 8, generator=torch.Generator().manual_seed(1))


def set_confidence(heads, weight, bias):
    with torch.no_grad():
        heads.confidence.weight.copy_(torch.tensor(weight))
        heads.confidence.bias.copy_(torch.tensor(bias))


def test_reweighting_by_hand():
    heads = AttributeHeads(in_features=3, sizes=(3,), reweighting=True, predictions="logits")
    with torch.no_grad():
        heads.heads.weight.copy_(torch.eye(3))
        heads.heads.bias.zero_()
    # V a~ + b = (0, 2 - 2, 2 * 0.5 + ln 3 - 1), so c = (1/2, 1/2, 3/4)
    set_confidence(heads, [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 2.0]], [0.0, -2.0, math.log(3) - 1])
    logits, scores = heads(torch.tensor([[2.0, -1.0, 0.5]]))
    torch.testing.assert_close(logits, torch.tensor([[2.0, -1.0, 0.5]]))
    torch.testing.assert_close(scores, torch.tensor([[1.0, -0.5, 0.375]]))


def test_reweighting_of_probabilities_by_hand():
    heads = AttributeHeads(in_features=4, sizes=(2, 2), reweighting=True, predictions="probabilities")
    with torch.no_grad():
        heads.heads.weight.copy_(torch.eye(4))
        heads.heads.bias.zero_()
    # each class is trusted by how probable the other head's first class is: sigmoid(4 * 0.75 - 3) = 1/2
    set_confidence(heads, [[0.0] * 4, [0.0] * 4, [4.0, 0.0, 0.0, 0.0], [0.0] * 4], [0.0, 0.0, -3.0, 0.0])
    logits, scores = heads(torch.tensor([[math.log(3), 0.0, 5.0, 5.0]]))
    torch.testing.assert_close(
        logits, torch.tensor([[math.log(3), 0.0, 5.0, 5.0]])
    )  # of the heads themselves
    torch.testing.assert_close(scores, torch.tensor([[0.375, 0.125, 0.25, 0.25]]))


def test_probabilities_are_each_heads_softmax():
    logits = torch.randn(5, 41)
    expected = torch.cat([logits[:, place].softmax(1) for place in MARKET12.slices], dim=1)
    torch.testing.assert_close(probabilities(logits, MARKET12.sizes), expected)


def test_twelve_heads_have_41_outputs_and_join_what_is_classified_and_compared():
    model = network(reweighting=True)
    features = model(images())
    assert features.extra["attributes"].shape == (4, 41)
    assert features.before_neck.shape == (4, 512)  # metric losses read f alone
    assert features.embedding.shape == features.classifier.shape == (4, 512 + 41)
    logits, scores = model.attributes(features.before_neck)
    assert torch.equal(features.extra["attributes"], logits)
    for vectors in (features.embedding, features.classifier):
        assert torch.equal(vectors, torch.cat([features.before_neck, scores], dim=1))
    assert model.classify(features).shape == (4, 5)
    assert model.embedding_size == 512


def test_heads_read_the_vector_after_the_neck():
    model = network(neck=BNNeck, reweighting=False)
    features = model(images())
    assert torch.equal(features.extra["attributes"], model.attributes(features.classifier)[0])
    assert not torch.equal(features.extra["attributes"], model.attributes(features.before_neck)[0])
    assert features.embedding.shape == features.classifier.shape == (4, 6)
    assert not hasattr(model.attributes.confidence, "weight")


@pytest.mark.parametrize("predictions", ["logits", "probabilities"])
@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("classifier", [SoftmaxClassifier, ArcFaceClassifier])
def test_the_identity_trains_the_confidence_and_unless_detached_the_heads(classifier, detach, predictions):
    model = network(classifier, reweighting=True, predictions=predictions, detach=detach)
    labels = torch.tensor([0, 1, 2, 3])
    logits = model.classify(model(images()), labels)
    functional.cross_entropy(logits, labels).backward()
    assert model.attributes.confidence.weight.grad.abs().sum() > 0
    assert model.attributes.confidence.bias.grad.abs().sum() > 0
    reached = model.attributes.heads.weight.grad
    assert (reached is None) if detach else (reached.abs().sum() > 0)
    assert model.backbone.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("detach", [False, True])
def test_attribute_labels_train_the_heads_and_what_is_below(detach):
    model = network(reweighting=True, detach=detach)
    functional.cross_entropy(
        model(images()).extra["attributes"][:, :2], torch.tensor([0, 1, 0, 1])
    ).backward()
    reached = model.attributes.heads.weight.grad.abs().sum(dim=1)
    assert (reached[:2] > 0).all()
    assert (reached[2:] == 0).all()
    assert model.attributes.confidence.weight.grad is None
    assert model.backbone.weight.grad.abs().sum() > 0


def test_a_network_without_attributes_is_the_one_it_was():
    model = network(without=True)
    torch.manual_seed(0)
    backbone, neck = TinyBackbone(), ReLUNeck(6)
    classifier = SoftmaxClassifier(512, 5)
    parts = {"backbone": backbone, "neck": neck, "classifier": classifier}
    expected = {
        f"{part}.{name}": value
        for part, module in parts.items()
        for name, value in module.state_dict().items()
    }
    found = model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    f = neck(backbone(model.normalize(images())).mean(dim=(2, 3)))[0]
    features = model(images())
    for vectors in (features.before_neck, features.embedding, features.classifier):
        torch.testing.assert_close(vectors, f, rtol=1e-6, atol=1e-6)
    assert "attributes" not in features.extra
    torch.testing.assert_close(model.classify(features), classifier(f), rtol=1e-6, atol=1e-6)


def test_half_types_keep_what_the_vector_has():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = network(neck=BNNeck, reweighting=True)(images())
    assert features.embedding.shape == (4, 47)
    assert features.embedding.isfinite().all()


def test_an_unknown_prediction_is_refused():
    with pytest.raises(ValueError, match=r"^predictions must be logits or probabilities, got logit"):
        AttributeHeads(3, (2, 2), predictions="logit")


def test_trentos_neck_is_fc_bn_relu():
    neck = ReLUNeck(2048)
    assert [type(layer) for layer in neck.layers] == [nn.Linear, nn.BatchNorm1d, nn.ReLU]
    f = neck(torch.randn(8, 2048))
    assert f[0] is f[1] is f[2]
    assert f[0].shape == (8, 512)
    assert (f[0] >= 0).all()
