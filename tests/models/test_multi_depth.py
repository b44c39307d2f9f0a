import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn
from torch.nn import functional

from reid_lightning.errors import InputError
from reid_lightning.models.backbone import Backbone
from reid_lightning.models.convolutional_backbones import osnet, resnet, vgg16
from reid_lightning.models.timm_backbone import TimmBackbone
from reid_lightning.systems.multi_depth.descriptor import MultiDepthDescriptor, filter_gains, smooth


def smoothed_by_scipy(maps, frame, box):
    """Resize to the frame, then a uniform filter with zeros outside, map by map."""
    resized = functional.interpolate(maps, size=frame, mode="bilinear", align_corners=False).double().numpy()
    return np.stack([[ndimage.uniform_filter(m, box, mode="constant") for m in image] for image in resized])


@pytest.mark.parametrize("box", [1, 2, 5, 20])
@pytest.mark.parametrize("size", [(8, 4), (3, 5), (40, 24), (1, 1)])
def test_smoothing_equals_scipys(box, size):
    maps = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    ours = smooth(maps, (40, 24), box)
    np.testing.assert_allclose(ours.numpy(), smoothed_by_scipy(maps, (40, 24), box), atol=1e-5)


@pytest.mark.parametrize("stride", [1, 3, 8, 100])
def test_a_stride_keeps_some_of_the_values(stride):
    maps = torch.randn(2, 3, 8, 4)
    whole = smooth(maps, (40, 24), 5)
    rows, columns = (range(min(stride // 2, size - 1), size, stride) for size in (40, 24))
    torch.testing.assert_close(smooth(maps, (40, 24), 5, stride), whole[:, :, rows][:, :, :, columns])


def test_gains_are_differences_of_distances_between_whole_smoothed_maps():
    query, same, different = torch.randn(3, 4, 5, 6, 3, generator=torch.Generator().manual_seed(1))
    ours = filter_gains(query, same, different, (48, 24), 20)
    q, s, d = (smoothed_by_scipy(maps, (48, 24), 20) for maps in (query, same, different))
    for triple in range(4):
        for channel in range(5):
            near = np.linalg.norm(q[triple, channel] - s[triple, channel])
            far = np.linalg.norm(q[triple, channel] - d[triple, channel])
            assert ours[triple, channel].item() == pytest.approx(far - near, abs=1e-3)
    assert torch.equal(filter_gains(query, query, query, (48, 24), 20), torch.zeros(4, 5))


class Planted(nn.Module):
    """Two layers whose filters copy a color, times a factor, or show noise."""

    def __init__(self, first, second):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 1, bias=False), nn.Conv2d(4, 4, 2, stride=2, bias=False)
        with torch.no_grad():
            self.first.weight.zero_()
            for position, (colour, factor) in enumerate(first):
                self.first.weight[position, colour] = factor
            self.second.weight.zero_()
            for position, source in enumerate(second):
                self.second.weight[position, source] = 0.25

    def forward(self, images):
        return self.second(self.first(images))


def planted_triples(batches, batch, generator):
    """Red tells people apart, green is the same for all, blue tells the two images of one person apart."""
    for _ in range(batches):
        red = torch.rand(batch, 2, generator=generator)
        images = torch.zeros(batch, 3, 3, 8, 4)
        images[:, :, 0] = red[:, [0, 0, 1]][:, :, None, None]
        images[:, :, 1] = 0.5
        images[:, 1, 2] = 1.0
        yield images.flatten(0, 1)


@pytest.fixture
def planted():
    body = Planted(first=[(1, 9.0), (0, 0.5), (2, 1.0), (0, 1.0)], second=[3, 0, 1, 2]).eval()
    return Backbone(body, [body.first, body.second], out_channels=4)


def test_exploration_finds_planted_filters(planted):
    descriptor = MultiDepthDescriptor(planted, filters=2, box=2)
    assert not descriptor.explored
    descriptor.explore(planted, planted_triples(5, 4, torch.Generator().manual_seed(2)))
    assert descriptor.explored
    assert descriptor.filters.tolist() == [[3, 1], [0, 2]]
    assert (descriptor.gains[:, 0] > descriptor.gains[:, 1]).all()
    assert (descriptor.gains > 0).all()


def test_gains_are_the_mean_over_all_triples_however_they_are_batched(planted):
    whole, parts, twice = (MultiDepthDescriptor(planted, layers=[1], filters=4, box=3) for _ in range(3))
    images = next(planted_triples(1, 6, torch.Generator().manual_seed(3)))
    whole.explore(planted, [images])
    parts.explore(planted, [images[:3], images[3:12], images[12:]])
    twice.explore(planted, [images], total=lambda sums: 2 * sums)  # two processes with the same triples
    assert torch.equal(whole.filters, parts.filters)
    torch.testing.assert_close(parts.gains, whole.gains)
    torch.testing.assert_close(twice.gains, whole.gains)
    maps = planted.body(images).unflatten(0, (6, 3)).detach()
    expected = filter_gains(maps[:, 0], maps[:, 1], maps[:, 2], (8, 4), 3).mean(0)
    torch.testing.assert_close(whole.gains[0], expected[whole.filters[0]])
    assert whole.gains[0].tolist() == sorted(whole.gains[0].tolist(), reverse=True)


def test_mean_distances_are_those_of_whole_smoothed_maps_however_they_are_batched(planted):
    descriptor = MultiDepthDescriptor(planted, layers=[0, 1], box=3)
    images = next(planted_triples(1, 6, torch.Generator().manual_seed(5)))
    found = descriptor.mean_distances(planted, [images[:6], images[6:]])
    with torch.no_grad():
        layers = [planted.body.first(images), planted.body(images)]
    for (same, different), maps in zip(found, layers, strict=True):
        smoothed = smoothed_by_scipy(maps, (8, 4), 3).reshape(6, 3, 4, -1)
        for other, means in ((1, same), (2, different)):
            expected = np.linalg.norm(smoothed[:, 0] - smoothed[:, other], axis=-1).mean(axis=0)
            np.testing.assert_allclose(means.numpy(), expected, atol=1e-5)
    with pytest.raises(InputError, match="no triples"):
        descriptor.mean_distances(planted, [])


def test_descriptor_equals_plain_loops(planted):
    descriptor = MultiDepthDescriptor(planted, filters=2, box=3, stride=2)
    descriptor.explore(planted, planted_triples(2, 4, torch.Generator().manual_seed(4)))
    images = torch.randn(3, 3, 8, 4)
    with torch.no_grad():
        last, vectors = descriptor(planted, images)
        layers = [planted.body.first(images), planted.body(images)]
    torch.testing.assert_close(last, layers[1])
    for image, vector in enumerate(vectors):
        expected = []
        for maps, chosen in zip(layers, descriptor.filters.tolist(), strict=True):
            for channel in chosen:
                smoothed = smoothed_by_scipy(maps[image : image + 1, channel : channel + 1], (8, 4), 3)[0, 0]
                expected += [smoothed[row, column] for row in range(1, 8, 2) for column in range(1, 4, 2)]
        np.testing.assert_allclose(vector.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "depths"),
    [
        (lambda: resnet("resnet18", None), 9),
        (lambda: vgg16(None), 13),
        (lambda: osnet(0.25), 10),
        (lambda: TimmBackbone("test_vit", None, image_size=(64, 32)), 6),
        (lambda: TimmBackbone("test_convnext", None), 4),
    ],
)
def test_any_backbone_has_depths(make, depths):
    backbone = make().eval()
    descriptor = MultiDepthDescriptor(backbone, stride=4)
    images = torch.randn(6, 3, 64, 32)
    descriptor.explore(backbone, [images])
    with torch.no_grad():
        last, vectors = descriptor(backbone, images)
        torch.testing.assert_close(last, backbone(images))
    assert len(descriptor.layers) == depths
    assert vectors.shape == (6, depths * 16 * 8)
    assert not any(module._forward_hooks for module in backbone.modules())


def test_vgg_maps_are_those_after_the_activation():
    backbone = vgg16(None).eval()
    descriptor = MultiDepthDescriptor(backbone, filters=64)
    descriptor.explore(backbone, [torch.randn(3, 3, 32, 32)])
    with torch.no_grad():
        _, chosen = descriptor.chosen_maps(backbone, torch.randn(2, 3, 32, 32))
    assert all((maps >= 0).all() for maps in chosen)
    assert [maps.shape[-1] for maps in chosen] == [32] * 2 + [16] * 2 + [8] * 3 + [4] * 3 + [2] * 3


def test_the_choice_is_saved_with_the_weights(planted):
    descriptor, other = (MultiDepthDescriptor(planted, filters=2, box=2) for _ in range(2))
    descriptor.explore(planted, planted_triples(2, 4, torch.Generator().manual_seed(5)))
    other.load_state_dict(descriptor.state_dict())
    assert other.explored
    images = torch.randn(2, 3, 8, 4)
    assert torch.equal(other(planted, images)[1], descriptor(planted, images)[1])


def test_half_precision_maps_are_smoothed_in_float32(planted):
    descriptor = MultiDepthDescriptor(planted, box=2, stride=1)
    descriptor.explore(planted, planted_triples(1, 4, torch.Generator().manual_seed(6)))
    images = torch.rand(2, 3, 8, 4)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        _, vectors = descriptor(planted, images)
    assert vectors.dtype == torch.float32
    half = planted.body.first(images)[:, descriptor.filters[0]].bfloat16().float()
    torch.testing.assert_close(vectors[:, :32], smooth(half, (8, 4), 2).flatten(1), rtol=1e-2, atol=1e-2)
    assert math.isfinite(float(vectors.sum()))


def test_exploring_in_inference_mode_leaves_no_trace(planted):
    descriptor = MultiDepthDescriptor(planted, box=7, stride=3)
    with torch.inference_mode():
        descriptor.explore(planted, planted_triples(1, 2, torch.Generator().manual_seed(7)))
        descriptor(planted, torch.randn(1, 3, 8, 4))
    images = torch.randn(1, 3, 8, 4, requires_grad=True)
    descriptor(planted, images)[1].sum().backward()
    assert images.grad is not None


def test_what_cannot_be_explored_is_refused(planted):
    with pytest.raises(InputError, match="not been explored"):
        MultiDepthDescriptor(planted)(planted, torch.randn(1, 3, 8, 4))
    with pytest.raises(ValueError, match=r"^layers must be numbers from 0 to 1, .* got \[2\]"):
        MultiDepthDescriptor(planted, layers=[2])
    with pytest.raises(ValueError, match=r"^box must be >= 1, got 0"):
        MultiDepthDescriptor(planted, box=0)
    with pytest.raises(InputError, match="no triples"):
        MultiDepthDescriptor(planted).explore(planted, [])
    images = next(planted_triples(1, 1, torch.Generator()))
    with pytest.raises(InputError, match=r"filters=5 exceeds the 4 filters of layer 0"):
        MultiDepthDescriptor(planted, filters=5).explore(planted, [images])
