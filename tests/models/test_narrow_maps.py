"""Strided convolutions to maps of one column, in bfloat16 on a CPU: right whatever lies in memory."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from reid_lightning.experiments.factory import build_network
from reid_lightning.models.narrow_maps import SecondColumnConv2d, widen_narrow_maps

#: Channels in and out, height, width, kernel, stride: each has one column of output.
NARROW = [
    (64, 128, 4, 2, 3, 2), (64, 128, 2, 1, 3, 2), (3, 64, 2, 1, 3, 2), (64, 128, 4, 1, 3, 2),
    (32, 32, 4, 1, 5, 2), (16, 64, 6, 1, 7, 4), (16, 64, 6, 3, 7, 4), (32, 32, 3, 2, 3, 3),
]  # fmt: skip


def leave_junk():
    """Free memory that holds NaN, for what is allocated next."""
    junk = [torch.full((size,), math.nan) for size in (1_000, 20_000, 300_000, 2_000_000)]
    del junk


def results(convolution, images, upstream, dtype):
    """Result and gradients of the images and the weight."""
    images = images.clone().requires_grad_()
    convolution.zero_grad()
    leave_junk()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        output = convolution(images)
    assert output.dtype == dtype
    output.backward(upstream.to(dtype))
    return output.detach().float(), images.grad, convolution.weight.grad.clone()


@pytest.fixture
def widths(monkeypatch):
    """Columns of what convolutions read."""
    seen = []
    forward = nn.Conv2d._conv_forward

    def watched(module, images, *rest):
        seen.append(images.shape[-1])
        return forward(module, images, *rest)

    monkeypatch.setattr(nn.Conv2d, "_conv_forward", watched)
    return seen


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("shape", NARROW, ids=str)
def test_result_and_gradients_are_those_of_float32(shape, channels_last):
    """Fails without the second column on a CPU with AVX-512 (weight gradients) or AMX (results too)."""
    cin, cout, height, width, kernel, stride = shape
    torch.manual_seed(0)
    convolution = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, bias=False)
    images = torch.randn(12, cin, height, width)
    if channels_last:
        convolution, images = (x.to(memory_format=torch.channels_last) for x in (convolution, images))
    expected = F.conv2d(images, convolution.weight, stride=stride, padding=kernel // 2)
    assert expected.shape[-1] == 1
    upstream = torch.randn_like(expected)
    expected = results(convolution, images, upstream, torch.float32)
    widen_narrow_maps(convolution)
    for found, right in zip(results(convolution, images, upstream, torch.bfloat16), expected, strict=True):
        assert found.shape == right.shape
        assert (found - right).abs().max() < 0.03 * right.abs().max()


def test_narrow_maps_are_widened_in_bfloat16_alone(widths):
    convolution = nn.Conv2d(4, 8, 3, 2, 1)
    widen_narrow_maps(convolution)
    images = torch.randn(2, 4, 4, 2)
    plain = convolution(images)
    assert torch.equal(plain, F.conv2d(images, convolution.weight, convolution.bias, 2, 1))
    with torch.autocast("cpu", torch.bfloat16):
        assert convolution(images).shape == (2, 8, 2, 1)
        assert convolution(torch.randn(2, 4, 4, 3)).shape == (2, 8, 2, 2)
    assert convolution.bfloat16()(images.bfloat16()).shape == (2, 8, 2, 1)
    assert widths == [2, 3, 3, 3]
    assert set(convolution.state_dict()) == {"weight", "bias"}


@pytest.mark.parametrize(
    "convolution", [nn.Conv2d(4, 8, 3, 1, 1), nn.Conv2d(4, 8, 1, 2), nn.Conv2d(4, 8, 2, 2, "valid")]
)
def test_convolutions_that_are_right_are_left_alone(convolution):
    widen_narrow_maps(nn.Sequential(convolution))
    assert type(convolution) is nn.Conv2d


def test_a_run_in_bfloat16_widens_and_another_does_not(compose):
    for precision, widened in (("bf16-mixed", True), ("32-true", False)):
        network = build_network(compose("data.weights=null", f"trainer.precision={precision}"), 5)
        assert any(isinstance(module, SecondColumnConv2d) for module in network.modules()) == widened


def test_an_averaged_copy_widens_too():
    convolution = nn.Conv2d(4, 8, 3, 2, 1)
    widen_narrow_maps(convolution)
    assert type(copy.deepcopy(convolution)) is SecondColumnConv2d
