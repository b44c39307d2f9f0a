"""The quality of a crop: blur against plain loops, light and shape against their formulas, and what changes it."""

import cv2
import numpy as np
import pytest

from reid_lightning.data.pedestrians.dataset import read_pedestrians
from reid_lightning.data.quality import PIXELS, SHARP, crop_quality, file_qualities
from reid_lightning.errors import InputError


@pytest.fixture(scope="module")
def paths():
    """Generated people, 128 x 64 pixels."""
    table = read_pedestrians(train_identities=10, test_identities=6)
    return table["path"].tolist()[:20]


@pytest.fixture(scope="module")
def images(paths):
    return [cv2.imread(path)[..., ::-1].copy() for path in paths]


def by_loops(image):
    """Crete's blur of an image, pixel by pixel: the share of differences that a mean of nine takes away."""
    grey = (image @ [0.299, 0.587, 0.114]).round() / 255
    shares = []
    for plane in (grey, grey.T):
        before = taken = 0.0
        for row in plane:
            mirrored = np.concatenate([row[3::-1], row, row[:-5:-1]])
            blurred = [mirrored[i : i + 9].mean() for i in range(len(row))]
            for i in range(1, len(row)):
                one, other = abs(row[i] - row[i - 1]), abs(blurred[i] - blurred[i - 1])
                before, taken = before + one, taken + max(0.0, one - other)
        shares.append(taken / before)
    return min(shares)


def test_sharpness_is_that_of_plain_loops(images):
    for image in images[:3]:
        blurred = cv2.GaussianBlur(image, (0, 0), 1.5)
        assert crop_quality(blurred).sharpness == pytest.approx(by_loops(blurred) / SHARP, abs=0.02)


def test_blur_lowers_sharpness_and_contrast_does_not(images):
    deviations = (0.5, 1, 2, 3, 4)
    found = np.array(
        [[crop_quality(cv2.GaussianBlur(image, (0, 0), s)).sharpness for s in deviations] for image in images]
    )
    assert (np.diff(found) <= 0).all()
    assert found[:, 0].mean() > 2 * found[:, 3].mean()
    blurred = [crop_quality(cv2.GaussianBlur(image, (0, 0), 4)) for image in images]
    assert np.mean(["blurred" in one.faults for one in blurred]) > 0.9
    for image in images:
        lower = (128 + (image.astype(float) - 128) / 2).astype(np.uint8)
        assert crop_quality(lower).sharpness == pytest.approx(crop_quality(image).sharpness, abs=0.08)


def test_a_larger_file_of_the_same_picture_is_as_good(images):
    image = images[0]
    large = cv2.resize(image, (256, 512), interpolation=cv2.INTER_CUBIC)
    assert crop_quality(large).score == pytest.approx(crop_quality(image).score, abs=0.15)


def test_light_and_contrast_are_their_formulas(images):
    image = images[0]
    for factor in (0.1, 0.2, 0.4):
        dark = (image * factor).astype(np.uint8)
        grey = cv2.cvtColor(dark, cv2.COLOR_RGB2GRAY) / 255
        found = crop_quality(dark)
        assert found.brightness == pytest.approx(min(1, grey.mean() / 0.2), abs=1e-3)
        assert found.contrast == pytest.approx(min(1, grey.std() / 0.1), abs=1e-3)
        assert found.score == pytest.approx(np.prod(found[:5]))
    assert "too dark" in crop_quality((image * 0.1).astype(np.uint8)).faults
    assert "too bright" in crop_quality(255 - (image * 0.1).astype(np.uint8)).faults
    assert "low contrast" in crop_quality((100 + image * 0.05).astype(np.uint8)).faults


@pytest.mark.parametrize(
    ("size", "crop", "part", "wanted"),
    [
        ((128, 64), "body", "size", 1.0),
        ((32, 16), "body", "size", 0.25),
        ((512, 256), "body", "size", 1.0),
        ((32, 32), "face", "size", 0.5),
        ((100, 100), "body", "shape", 1 / 1.5),
        ((160, 20), "body", "shape", 0.5),
        ((100, 100), "face", "shape", 1.0),
        ((40, 100), "face", "shape", 0.5),
        ((1, 1), "body", "size", PIXELS["body"] ** -0.5),
    ],
)
def test_size_and_shape(size, crop, part, wanted):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    assert getattr(crop_quality(image, crop), part) == pytest.approx(wanted)


def test_files_are_measured_as_they_are(paths, images, tmp_path):
    assert file_qualities(paths) == [crop_quality(image) for image in images]
    with pytest.raises(InputError, match=r"none\.jpg cannot be read"):
        file_qualities([*paths[:2], str(tmp_path / "none.jpg")])
    with pytest.raises(InputError, match="The kind of crop 'hand' is unknown; choose one of body, face"):
        crop_quality(images[0], "hand")
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ValueError, match="an image must be"):
            crop_quality(wrong)
