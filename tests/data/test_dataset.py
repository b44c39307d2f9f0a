import albumentations as A
import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader

from reid_lightning.data.augmentation import RandomErasing
from reid_lightning.data.dataset import Annotations, ReIDDataset, keep_batch
from reid_lightning.data.samplers import ShuffleSampler
from reid_lightning.data.table import concatenate_tables
from reid_lightning.errors import InputError

COUNT, SIZE = 12, (8, 4)


def pictures():
    return np.random.default_rng(0).integers(0, 256, (COUNT, *SIZE, 3), dtype=np.uint8)


def annotations(**columns):
    rows = {"path": [f"{row}.jpg" for row in range(COUNT)], "person_id": [row // 2 for row in range(COUNT)]}
    table = concatenate_tables({"a": pd.DataFrame(rows | {"split": "train"} | columns)})
    return Annotations.from_table(
        table, {f"a/{label}": label for label in range(4)}, np.arange(COUNT) % 3 == 0
    )


def noisy(p=1.0):
    return A.Compose([A.HorizontalFlip(p=0.5), A.ColorJitter(p=p), A.GaussNoise(p=p), RandomErasing(p=0.5)])


def test_batch_fields():
    dataset = ReIDDataset(
        pictures(), annotations(camera_id=["x", "y"] * 6, hat=[1, None] * 6), evaluation=True
    )
    batch = dataset.__getitems__([(9, 0), (0, 0), (3, 0)])
    assert batch["images"].dtype == torch.uint8
    assert torch.equal(batch["images"].permute(0, 2, 3, 1), torch.from_numpy(pictures()[[9, 0, 3]]))
    assert batch["images"].is_contiguous(memory_format=torch.channels_last)
    assert batch["labels"].tolist() == [-1, 0, 1]
    assert batch["person_ids"].tolist() == [4, 0, 1]
    assert batch["camera_ids"].tolist() == [1, 0, 1]
    assert batch["index"].tolist() == [9, 0, 3]
    assert batch["is_query"].tolist() == [True, True, True]
    assert batch["attributes"].shape == (3, 12)
    assert batch["attributes"].sum(dim=1).tolist() == [-12, -10, -12]  # hat is 1 in row 0, unknown elsewhere
    assert {field.dtype for name, field in batch.items() if name not in ("images", "is_query")} == {
        torch.int64
    }


def test_cameras_and_attributes_are_unknown_without_columns():
    batch = ReIDDataset(pictures(), annotations())[(5, 0)]
    assert batch["camera_ids"].tolist() == [-1]
    assert (batch["attributes"] == -1).all()
    assert "is_query" not in batch


def test_people_of_several_sources_have_codes_of_their_own():
    rows = pd.DataFrame({"path": ["1.jpg", "2.jpg"], "person_id": [1, 2], "split": "train", "camera_id": 1})
    coded = Annotations.from_table(concatenate_tables({"b": rows, "a": rows}), {}, np.zeros(4, bool))
    assert coded.person_ids.tolist() == [2, 3, 0, 1]
    assert coded.camera_ids.tolist() == [1, 1, 0, 0]


def epoch_images(workers, epoch, seed=0, context=None):
    sampler = ShuffleSampler(4, rows=np.arange(COUNT), labels=None, cameras=None, seed=seed)
    sampler.set_epoch(epoch)
    loader = DataLoader(
        ReIDDataset(pictures(), annotations(), noisy()),
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=keep_batch,
        multiprocessing_context=context,
    )
    return {
        row: image
        for batch in loader
        for row, image in zip(batch["index"].tolist(), batch["images"].numpy().copy(), strict=True)
    }


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")
def test_augmentation_does_not_depend_on_the_number_of_workers():
    alone = epoch_images(0, epoch=3)
    for workers in (1, 4):
        others = epoch_images(workers, epoch=3)
        assert alone.keys() == others.keys()
        assert all(np.array_equal(alone[row], others[row]) for row in alone)


@pytest.mark.slow
def test_augmentation_is_the_same_in_spawned_workers():
    alone, others = epoch_images(0, epoch=1), epoch_images(2, epoch=1, context="spawn")
    assert all(np.array_equal(alone[row], others[row]) for row in alone)


def test_augmentation_is_distinct_per_image_epoch_and_seed_and_repeats():
    runs = [epoch_images(0, epoch, seed) for epoch, seed in ((0, 0), (1, 0), (0, 1))]
    again = epoch_images(0, 0, 0)
    for row in range(COUNT):
        assert len({run[row].tobytes() for run in runs}) == 3
        assert np.array_equal(again[row], runs[0][row])


def test_equal_images_are_augmented_differently():
    same = np.repeat(pictures()[:1], COUNT, axis=0)
    dataset = ReIDDataset(same, annotations(), noisy())
    batch = dataset.__getitems__([(row, 1000 + row) for row in range(COUNT)])["images"]
    assert len({image.numpy().tobytes() for image in batch}) == COUNT


def test_the_images_behind_stay_as_they_are():
    images = pictures()
    images.setflags(write=False)  # as those of a cache file
    ReIDDataset(images, annotations(), noisy()).__getitems__([(row, row) for row in range(COUNT)])
    assert np.array_equal(images, pictures())


@pytest.mark.parametrize("wrong", [A.RandomCrop(height=4, width=4), A.Normalize()])
def test_an_augmentation_that_changes_the_form_is_refused(wrong):
    dataset = ReIDDataset(pictures(), annotations(), A.Compose([wrong]))
    with pytest.raises(InputError, match=r"The augmentation returns .* instead of uint8 of \(8, 4, 3\)"):
        dataset.__getitems__([(0, 0)])


def test_tracklets_are_those_of_a_person_in_a_camera():
    """The same tracklet number of another person or in another camera is another tracklet."""
    tracklets, cameras = [1, 1, 1, None, 1, 1, 2, 2, 1, 1, 1, 1], ["x", "x", "x", "y"] * 3
    dataset = ReIDDataset(pictures(), annotations(tracklet_id=tracklets, camera_id=cameras), evaluation=True)
    batch = dataset.__getitems__([(row, 0) for row in range(12)])
    codes, people = batch["tracklet_ids"].tolist(), batch["person_ids"].tolist()
    assert codes[3] == -1
    keys = {}
    for code, key in zip(codes, zip(people, cameras, tracklets, strict=True), strict=True):
        if key[2] is not None:
            assert keys.setdefault(key, code) == code
    assert len(set(keys.values())) == len(keys) < 11
