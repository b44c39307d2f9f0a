"""Color, crop, noise and contrast against the arithmetic that they stand for."""

import albumentations as A
import matplotlib
import numpy as np
import pytest
from helpers import run_python
from hydra.utils import instantiate
from omegaconf import OmegaConf

from reid_lightning.data.augmentation import SampleRandomness
from reid_lightning.data.camera_augmentation import (
    AdditiveGaussianNoise,
    IntensityRescale,
    RandomSubWindow,
    rescale_intensity,
)
from reid_lightning.data.colour_augmentation import (
    GradientMapColour,
    continuous_colormaps,
    gradient,
    soft_light,
)

ALL = (GradientMapColour, RandomSubWindow, AdditiveGaussianNoise, IntensityRescale)


def picture(size=(64, 32), low=0, high=256):
    return np.random.default_rng(0).integers(low, high, (*size, 3), dtype=np.uint8)


def seeded(transform):
    """Return a function from a seed to the augmented image."""
    composed = A.Compose([transform])
    randomness = SampleRandomness(composed)

    def augmented(seed, image):
        randomness.seed(seed)
        return composed(image=image)["image"]

    return augmented


@pytest.mark.parametrize("kind", ALL)
def test_a_sample_is_repeatable_and_the_input_stays(kind):
    augmented, image = seeded(kind(p=1.0)), picture(low=40, high=200)
    first = [augmented(seed, image) for seed in range(6)]
    np.random.default_rng(7).random(3)
    again = [augmented(seed, image) for seed in reversed(range(6))][::-1]
    for a, b in zip(first, again, strict=True):
        assert a.dtype == np.uint8
        assert a.shape == image.shape
        np.testing.assert_array_equal(a, b)
    assert len({a.tobytes() for a in first}) == (1 if kind is IntensityRescale else 6)
    np.testing.assert_array_equal(image, picture(low=40, high=200))


def test_colour_of_a_pixel_computed_by_hand():
    # (200, 100, 50): luminance .299 * 200 + .587 * 100 + .114 * 50 = 124.2, so entry 124 of viridis:
    # (.1324, .5522, .5530). Red: a = .7843, soft light (1 - .2649) .7843² + .2649 * .7843 = .6599;
    # half of it and half of a: .7221 * 255 = 184.1.
    image = np.array([[[200, 100, 50]]], np.uint8)
    np.testing.assert_allclose(gradient("viridis")[124], (0.1324, 0.5522, 0.5530), atol=1e-4)
    red, green, blue = soft_light(image, gradient("viridis"), 0.5)[0, 0].tolist()
    assert red == 184
    expected = []
    for value, colour in zip((200, 100, 50), matplotlib.colormaps["viridis"](124)[:3], strict=True):
        a = value / 255
        blend = (1 - 2 * colour) * a**2 + 2 * colour * a
        expected.append(round(255 * (0.5 * blend + 0.5 * a)))
    assert [red, green, blue] == expected


def test_colour_equals_the_plain_formula_everywhere():
    image = picture()
    for name, share in (("magma", 1.0), ("coolwarm", 0.3), ("hsv", 0.77)):
        luminance = np.rint(image @ np.array([0.299, 0.587, 0.114])).astype(int)
        a, b = image / 255, matplotlib.colormaps[name](luminance)[..., :3]
        wanted = 255 * (share * ((1 - 2 * b) * a**2 + 2 * a * b) + (1 - share) * a)
        difference = np.abs(soft_light(image, gradient(name), share) - wanted)
        assert np.median(difference) <= 0.5
        assert (difference < 0.51).mean() > 0.99  # OpenCV's luminance rounds a little otherwise
        assert difference.max() < 8


def test_black_and_white_stay_and_grey_stays_grey_under_a_grey_map():
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    coloured = soft_light(ramp, gradient("plasma"), 1.0)
    np.testing.assert_array_equal(coloured[0, [0, 255]], ramp[0, [0, 255]])
    assert (coloured[0, 128].max() - coloured[0, 128].min()) > 30
    grey = soft_light(ramp, gradient("gray"), 1.0)
    assert (grey == grey[..., :1]).all()
    np.testing.assert_array_equal(soft_light(ramp, gradient("plasma"), 0.0), ramp)
    np.testing.assert_array_equal(soft_light(ramp, np.full((256, 3), 0.5, np.float32), 1.0), ramp)


def test_colormaps_are_continuous_and_drawn_from_the_list():
    names = continuous_colormaps()
    assert {"viridis", "magma_r", "jet", "twilight", "coolwarm"} <= set(names)
    assert not {"tab10", "Set1", "flag", "prism"} & set(names)
    augmented = seeded(GradientMapColour(["gray", "viridis"], weight=(1.0, 1.0), p=1.0))
    image = picture()
    possible = {soft_light(image, gradient(name), 1.0).tobytes() for name in ("gray", "viridis")}
    assert {augmented(seed, image).tobytes() for seed in range(20)} == possible


@pytest.mark.slow
def test_matplotlib_waits_until_colours_are_wanted():
    code = "import sys, reid_lightning.data.colour_augmentation; assert 'matplotlib' not in sys.modules"
    run_python("-c", code)


def test_sub_windows_are_uniform_over_the_pairs_of_edges():
    cut, least, length = RandomSubWindow(smallest=0.6, p=1.0), 60, 100
    randomness = SampleRandomness(A.Compose([cut]))
    windows = []
    for seed in range(3000):
        randomness.seed(seed)
        windows.append(cut.get_params_dependent_on_data({"shape": (length, 50, 3)}, {})["window"])
    top, bottom, left, right = np.array(windows).T
    assert top.min() == 0
    assert bottom.max() == length
    assert left.min() == 0
    assert right.max() == 50
    assert (bottom - top).min() == least
    assert (right - left).min() == 30
    # Of two uniform draws the mean distance is a third: the mean length least + (length - least) / 3.
    assert np.mean(bottom - top) == pytest.approx(least + (length - least) / 3, abs=0.6)
    assert np.mean(top) == pytest.approx((length - least) / 3, abs=0.6)
    assert abs(np.corrcoef(top, left)[0, 1]) < 0.06


def test_a_sub_window_shows_its_part_of_the_image():
    rows = np.repeat(np.arange(0, 200, 2, dtype=np.uint8)[:, None, None], 40, axis=1).repeat(3, axis=2)
    shown = RandomSubWindow(p=1.0).apply(rows, (20, 80, 0, 40))
    assert shown.shape == rows.shape
    assert abs(int(shown[0, 0, 0]) - 40) <= 1
    assert abs(int(shown[-1, 0, 0]) - 158) <= 1
    np.testing.assert_array_equal(RandomSubWindow(smallest=1.0, p=1.0)(image=rows)["image"], rows)


@pytest.mark.parametrize("monochrome", [False, True])
def test_noise_has_its_deviation_and_its_channels(monochrome):
    flat = np.full((200, 100, 3), 128, np.uint8)
    augmented = seeded(AdditiveGaussianNoise((8.0, 8.0), monochrome, p=1.0))
    noise = augmented(3, flat).astype(int) - 128
    assert noise.mean() == pytest.approx(0, abs=0.3)
    assert noise.std() == pytest.approx(8, rel=0.03)
    assert (np.abs(noise) < 8).mean() == pytest.approx(
        0.657, abs=0.02
    )  # a rounded normal within one deviation
    between = np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]
    assert between == pytest.approx(1.0 if monochrome else 0.0, abs=0.03)


def test_noise_deviations_cover_their_range_and_saturate():
    augmented = seeded(AdditiveGaussianNoise((2.0, 12.0), p=1.0))
    flat = np.full((64, 32, 3), 128, np.uint8)
    deviations = [augmented(seed, flat).std() for seed in range(200)]
    assert 1.9 < min(deviations) < 2.6
    assert 11 < max(deviations) < 12.5
    white = augmented(0, np.full((64, 32, 3), 255, np.uint8))
    assert white.max() == 255
    assert white.min() > 150  # no value wraps around


def test_rescaling_stretches_all_channels_together():
    image = picture(low=60, high=121)
    stretched = rescale_intensity(image)
    np.testing.assert_array_equal(stretched, np.rint((image.astype(int) - 60) * 255 / 60))
    tinted = image.copy()
    tinted[..., 2] //= 2  # a hue must not be stretched away
    assert rescale_intensity(tinted)[..., 2].max() < 128


@pytest.mark.parametrize(("low", "high"), [(1, 99), (5, 80), (0, 50)])
def test_rescaling_by_percentiles_is_numpys(low, high):
    image = np.random.default_rng(1).normal(110, 20, (60, 30, 3)).clip(0, 255).astype(np.uint8)
    dark, light = np.percentile(image, [low, high], method="inverted_cdf").astype(int)
    wanted = np.rint(np.clip((image.astype(int) - dark) * 255 / (light - dark), 0, 255))
    np.testing.assert_array_equal(rescale_intensity(image, low, high), wanted)


@pytest.mark.parametrize("value", [0, 90, 255])
def test_a_constant_image_stays(value):
    flat = np.full((8, 4, 3), value, np.uint8)
    np.testing.assert_array_equal(IntensityRescale((2, 98))(image=flat)["image"], flat)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: GradientMapColour(["viridis", "no_such_map"]), "^colormaps names no_such_map"),
        (lambda: GradientMapColour(weight=(0.5, 1.5)), r"^weight must be .* got \[0.5, 1.5\]"),
        (lambda: RandomSubWindow(smallest=0), "^smallest must be .* got 0"),
        (lambda: AdditiveGaussianNoise(deviation=(5, 1)), r"^deviation must be .* got \[5.0, 1.0\]"),
        (lambda: IntensityRescale(percentiles=(99, 1)), r"^percentiles must be .* got \[99.0, 1.0\]"),
    ],
)
def test_arguments_out_of_range_are_named(make, named):
    with pytest.raises(ValueError, match=named):
        make()


def test_the_shipped_augmentation_keeps_size_and_type(request):
    config = {
        "data": {"image_size": [64, 32]},
        "augmentation": OmegaConf.load(request.config.rootpath / "conf" / "augmentation" / "hiqo.yaml"),
    }
    transform, image = instantiate(OmegaConf.create(config).augmentation), picture()
    randomness, results = SampleRandomness(transform), []
    for seed in range(20):
        randomness.seed(seed)
        results.append(transform(image=image)["image"])
        assert results[-1].shape == image.shape
        assert results[-1].dtype == np.uint8
    assert len({result.tobytes() for result in results}) > 15
