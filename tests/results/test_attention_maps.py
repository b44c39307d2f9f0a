"""Maps of where a network looks, against gradients taken by hand."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from reid_lightning.models.convolutional_backbones import resnet10
from reid_lightning.models.network import ReIDNetwork
from reid_lightning.models.pooling import TokenPooling
from reid_lightning.models.timm_backbone import TimmBackbone
from reid_lightning.results.browsing.attention import BY_PLACE, GRAD_CAM, attention_maps, looking
from reid_lightning.retrieval.evaluation import vectors
from reid_lightning.retrieval.protocol import EvaluationProtocol
from reid_lightning.systems.multi_depth.descriptor import MultiDepthDescriptor
from reid_lightning.systems.pose.bilinear import PoseBilinear
from reid_lightning.systems.stripes.parts import Stripes
from reid_lightning.systems.transreid.backbone import TransReIDBackbone
from reid_lightning.systems.transreid.jigsaw import Jigsaw

COSINE = EvaluationProtocol()
IMAGES = torch.randint(0, 256, (3, 3, 64, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
DATA = SimpleNamespace(images_of=lambda rows: IMAGES[rows])


def transformer(kind=TimmBackbone):
    return kind("vit_tiny_patch16_224", None, image_size=(64, 32))


def network(backbone, **parts):
    torch.manual_seed(1)
    return ReIDNetwork(backbone, classifier=None, **parts).eval()


def by_hand(net, layer, protocol, row, target, as_map, averaged):
    """Return the map of one image by a hook and one call of autograd."""
    kept = []
    hook = layer.register_forward_hook(lambda module, given, found: kept.append(found))
    mine = vectors(net(IMAGES[[row]].float().div(255).requires_grad_()), protocol)
    hook.remove()
    similar = nn.functional.cosine_similarity(mine, target[None]).sum()
    (gradient,) = torch.autograd.grad(similar, kept[-1])
    weights, values = as_map(gradient), as_map(kept[-1].detach())
    weights = weights.mean((2, 3), keepdim=True) if averaged else weights
    found = (weights * values).sum(1)[0].relu()
    return (found / found.max().clamp(min=1e-30)).numpy()


NETWORKS = {
    "pooled map": (lambda: network(resnet10()), "embedding", GRAD_CAM),
    "class token": (lambda: network(transformer(), pooling=TokenPooling()), "embedding", BY_PLACE),
    "class token beside groups of patches": (
        lambda: network(transformer(TransReIDBackbone), pooling=TokenPooling(), parts=Jigsaw), "embedding", BY_PLACE,
    ),
    "stripes": (lambda: network(resnet10(), parts=partial(Stripes, stripes=2, size=8)), "stripes", BY_PLACE),
    "key points": (lambda: network(resnet10(), parts=partial(PoseBilinear, joints=3)), "embedding", BY_PLACE),
}  # fmt: skip


@pytest.mark.parametrize("kind", NETWORKS)
def test_maps_are_those_of_gradients_by_hand(kind):
    build, feature, method = NETWORKS[kind]
    net, protocol = build(), EvaluationProtocol(feature=feature)
    looked = looking(net, protocol)
    assert looked.method == method
    with torch.no_grad():
        size = vectors(net(IMAGES.float().div(255)), protocol).shape[1]
    targets = torch.randn(
        3, size, generator=torch.Generator().manual_seed(2)
    )  # vectors of random networks are all alike
    found = attention_maps(looked, net, DATA, protocol, [0, 1, 2], targets, torch.device("cpu"))
    assert found.shape[0] == 3
    assert found.max() == pytest.approx(1)
    assert found.min() >= 0
    for row in range(3):
        hand = by_hand(net, looked.layer, protocol, row, targets[row], looked.as_map, method == GRAD_CAM)
        np.testing.assert_allclose(found[row], hand, atol=2e-4)


def test_stripes_keep_their_places():
    # the similarity reads the upper stripe alone: the lower half of the map must not count, as it would if averaged
    net = network(resnet10(), parts=partial(Stripes, stripes=2, size=8))
    protocol = EvaluationProtocol(feature="stripes")
    with torch.no_grad():
        targets = vectors(net(IMAGES.float().div(255)), protocol)
        net.parts.reductions[1][0].weight.zero_()
    found = attention_maps(
        looking(net, protocol), net, DATA, protocol, [0, 1, 2], targets, torch.device("cpu")
    )
    half = found.shape[1] // 2
    assert found[:, half:].max() == 0
    assert found[:, :half].max() > 0


def test_a_network_without_maps_says_why():
    deep = network(resnet10(), descriptor=MultiDepthDescriptor)
    assert "several depths" in looking(deep, EvaluationProtocol(feature=deep.descriptor.gives))
    assert looking(deep, COSINE).method == GRAD_CAM
    token = network(transformer(), pooling=TokenPooling())
    token.backbone._depths = []
    assert "class token" in looking(token, COSINE)
    groups = network(transformer(TransReIDBackbone), pooling=TokenPooling(), parts=Jigsaw)
    assert "groups of patches" in looking(groups, EvaluationProtocol(feature="jigsaw"))
