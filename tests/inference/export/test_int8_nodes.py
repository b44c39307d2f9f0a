"""Which convolutions keep their full precision in a file of 8 bits."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from reid_lightning.inference.export.int8 import quantize
from reid_lightning.runtime.facts import INPUT


class Small(nn.Module):
    """Three convolutions, the second one depthwise where it is asked for, and a mean."""

    def __init__(self, groups):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=groups), nn.ReLU(), nn.Conv2d(8, 4, 1)
        )

    def forward(self, images):
        return self.layers(images.float()).mean((2, 3))


@pytest.mark.parametrize(("groups", "kept"), [(1, 0), (8, 2)])
def test_depthwise_convolutions_and_the_first_beside_them_are_not_rounded(tmp_path, groups, kept):
    torch.manual_seed(0)
    images = [np.random.default_rng(n).integers(0, 256, (3, 16, 8), dtype=np.uint8) for n in range(16)]
    example = torch.from_numpy(np.stack(images))
    torch.onnx.export(
        Small(groups).eval(),
        (example,),
        tmp_path / "full.onnx",
        input_names=[INPUT],
        dynamo=True,
        verbose=False,
    )
    onnx.save(onnx.load(tmp_path / "full.onnx"), tmp_path / "whole.onnx")  # weights inside
    quantize(tmp_path / "whole.onnx", tmp_path / "small.onnx", images)
    graph = onnx.load(tmp_path / "small.onnx").graph
    rounded = {one for node in graph.node if node.op_type == "DequantizeLinear" for one in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 3
    assert sum(node.input[1] not in rounded for node in convolutions) == kept
