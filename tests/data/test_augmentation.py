import random

import albumentations as A
import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from reid_lightning.data.augmentation import RandomErasing, SampleRandomness

SIZE = (64, 32)


def shipped(name, root):
    config = {
        "data": {"image_size": list(SIZE)},
        "augmentation": OmegaConf.load(root / "conf" / "augmentation" / f"{name}.yaml"),
    }
    return instantiate(OmegaConf.create(config).augmentation)


@pytest.fixture
def root(request):
    return request.config.rootpath


def picture(size=SIZE):
    return np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["none", "basic", "strong", "kiel"])
def test_shipped_augmentations_keep_size_and_type(name, root):
    transform, image = shipped(name, root), picture()
    randomness = SampleRandomness(transform)
    results = []
    for seed in range(20):
        randomness.seed(seed)
        results.append(transform(image=image)["image"])
        assert results[-1].shape == image.shape
        assert results[-1].dtype == np.uint8
    different = len({result.tobytes() for result in results})
    assert different == {"none": 1, "basic": 2}.get(name, 20)
    assert np.array_equal(image, picture())


def test_a_misspelt_argument_is_an_error(root):
    config = OmegaConf.load(root / "conf" / "augmentation" / "basic.yaml")
    config.transforms[0].probability = 0.3
    with pytest.warns(UserWarning, match="probability"), pytest.raises(Exception, match="probability"):
        instantiate(config)


def test_seeding_reaches_nested_transforms_and_both_generators():
    transform = A.Compose(
        [A.OneOf([A.GaussNoise(p=1.0), A.ColorJitter(p=1.0)], p=0.9), A.Affine(rotate=20, p=1.0)]
    )
    randomness, image = SampleRandomness(transform), picture()

    def augmented(seed):
        randomness.seed(seed)
        return transform(image=image)["image"].tobytes()

    first = [augmented(seed) for seed in range(8)]
    random.seed(9)
    np.random.seed(9)  # noqa: NPY002  global state must not matter
    assert [augmented(seed) for seed in range(7, -1, -1)] == first[::-1]
    assert len(set(first)) == 8


def test_reseeding_equals_a_fresh_philox_stream():
    transform = A.Compose([A.HorizontalFlip()])
    randomness = SampleRandomness(transform)
    generator = transform.transforms[0].random_generator
    generator.integers(0, 100, 3, dtype=np.uint8)  # leaves a half-used buffer behind
    randomness.seed(2**63 - 1)
    expected = np.random.Generator(np.random.Philox(key=2**63 - 1))
    assert generator.random(5).tolist() == expected.random(5).tolist()
    assert transform.transforms[0].py_random.random() == random.Random(2**63 - 1).random()


def test_erased_rectangles_have_the_papers_areas_and_ratios():
    erase = RandomErasing(area=(0.02, 0.4), ratio=0.3, fill=(1, 2, 3), p=1.0)
    transform = A.Compose([erase])
    randomness = SampleRandomness(transform)
    size = (256, 128)
    areas, ratios = [], []
    for seed in range(400):
        randomness.seed(seed)
        erased = (transform(image=np.full((*size, 3), 255, np.uint8))["image"] == (1, 2, 3)).all(axis=2)
        top, left = np.argwhere(erased).min(axis=0)
        height, width = np.argwhere(erased).max(axis=0) - (top, left) + 1
        assert erased[top : top + height, left : left + width].all()
        assert erased.sum() == height * width
        areas.append(height * width / erased.size)
        ratios.append(height / width)
    assert 0.019 < min(areas) < 0.04
    assert 0.35 < max(areas) < 0.41
    assert min(ratios) < 0.4
    assert max(ratios) > 2.9
    # The largest areas fit at some ratios only, so the mean lies below the middle of the range, 0.21.
    assert 0.15 < np.mean(areas) < 0.21


def test_erasing_happens_with_its_probability_and_leaves_the_input():
    transform, image = A.Compose([RandomErasing(p=0.5)]), picture()
    randomness = SampleRandomness(transform)
    erased = 0
    for seed in range(400):
        randomness.seed(seed)
        erased += not np.array_equal(transform(image=image)["image"], image)
    assert abs(erased - 200) < 4 * 10  # four standard deviations
    assert np.array_equal(image, picture())


def test_a_rectangle_that_never_fits_is_left_out():
    transform, image = A.Compose([RandomErasing(area=(5.0, 6.0), p=1.0)]), picture()
    assert np.array_equal(transform(image=image)["image"], image)
