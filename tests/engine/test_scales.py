"""Which networks can be evaluated at several sizes."""

import pytest
import torch

from reid_lightning.engine.module import ReIDModule
from reid_lightning.errors import InputError
from reid_lightning.models.necks import BNNeck
from reid_lightning.models.network import ReIDNetwork
from reid_lightning.models.timm_backbone import TimmBackbone
from reid_lightning.retrieval.protocol import EvaluationProtocol


def network(name):
    return ReIDNetwork(TimmBackbone(name, None, image_size=(32, 16)), neck=BNNeck, classifier=None)


def test_a_network_of_one_size_is_refused():
    with pytest.raises(
        InputError, match=r"evaluation.scales=\[1.0, 2.0\] needs a network that takes images of any"
    ):
        ReIDModule(network("test_vit"), protocol=EvaluationProtocol(scales=[1.0, 2.0]))
    assert ReIDModule(network("test_vit"), protocol=EvaluationProtocol()).protocol.scales == (1.0,)


def test_vectors_of_uint8_images_at_several_sizes_are_of_length_1_and_differ():
    images = torch.randint(0, 256, (2, 3, 32, 16), dtype=torch.uint8)
    net = network("test_efficientnet").eval()
    with torch.no_grad():
        plain, several = (
            ReIDModule(net, protocol=EvaluationProtocol(scales=scales)).eval().embed(images)
            for scales in ([1.0], [1.0, 1.5])
        )
    torch.testing.assert_close(several.norm(dim=1), torch.ones(2))
    assert not torch.allclose(plain, several, atol=1e-4)
