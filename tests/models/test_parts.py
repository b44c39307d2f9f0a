import pytest
import torch
from torch.nn import functional

from reid_lightning.models.branches import cell_means
from reid_lightning.systems.stripes.parts import Stripes, stripe_means


@pytest.mark.parametrize("stripes", [1, 2, 3, 5, 6, 8])
@pytest.mark.parametrize("height", [2, 6, 16])
def test_stripe_means_are_adaptive_average_pooling(height, stripes):
    maps = torch.randn(2, 5, height, 3, dtype=torch.float64)
    expected = functional.adaptive_avg_pool2d(maps, (stripes, 1)).squeeze(3).mT
    torch.testing.assert_close(stripe_means(maps, stripes), expected)


def test_stripes_that_divide_the_map_are_plain_means():
    maps = torch.randn(2, 5, 6, 3)
    for stripe in range(3):
        expected = maps[:, :, 2 * stripe : 2 * stripe + 2].mean((2, 3))
        torch.testing.assert_close(stripe_means(maps, 3)[:, stripe], expected)


def test_half_types_are_averaged_in_float32():
    maps = torch.rand(1, 3, 64, 64).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = stripe_means(maps, 2)
    torch.testing.assert_close(ours, stripe_means(maps.float(), 2))


def test_cells_share_all_positions():
    assert torch.equal(cell_means(4, 4), torch.eye(4))
    torch.testing.assert_close(cell_means(12, 4).sum(0), torch.full((12,), 1 / 3))


IMAGES, MAPS = torch.zeros(4, 3, 8, 8), torch.randn(4, 12, 6, 3)


def test_every_stripe_has_a_reduction_of_its_own():
    torch.manual_seed(0)
    parts = Stripes(12, stripes=3, size=5).eval()
    pooled, local = parts(IMAGES, MAPS)
    assert pooled is None
    assert local.shape == (4, *parts.local_shape) == (4, 3, 5)
    means = stripe_means(MAPS, 3)
    for stripe, reduction in enumerate(parts.reductions):
        torch.testing.assert_close(local[:, stripe], reduction(means[:, stripe]))
    swapped = parts(IMAGES, MAPS.flip(2))[1]
    assert not torch.allclose(swapped.flip(1), local)


def test_a_shared_reduction_gives_a_stripe_the_same_feature_wherever_it_lies():
    torch.manual_seed(0)
    parts = Stripes(12, stripes=3, size=5, shared=True)
    assert len(parts.reductions) == 1
    for mode in (True, False):
        local, swapped = (parts.train(mode)(IMAGES, maps)[1] for maps in (MAPS, MAPS.flip(2)))
        torch.testing.assert_close(swapped.flip(1), local)


def test_normalised_stripes_have_length_one():
    local = Stripes(12, stripes=3, size=5, normalize=True)(IMAGES, MAPS)[1]
    lengths = torch.linalg.vector_norm(local, dim=-1)
    torch.testing.assert_close(lengths[lengths > 0], torch.ones(int((lengths > 0).sum())))


def test_stripes_without_a_size_share_the_channels():
    assert Stripes(12, stripes=3, size=None).local_shape == (3, 4)
    with pytest.raises(ValueError, match=r"^stripes must divide the backbone's 12 channels .* got 5"):
        Stripes(12, stripes=5, size=None)


@pytest.mark.parametrize("settings", [{"stripes": 0}, {"size": 0}])
def test_senseless_settings_are_refused(settings):
    with pytest.raises(ValueError, match=f"^{next(iter(settings))} must be >= 1.* got 0"):
        Stripes(12, **settings)
