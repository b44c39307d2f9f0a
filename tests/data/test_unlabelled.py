"""Data whose people are not known: tables, folders, what is set aside, and batches of groups."""

import cv2
import numpy as np
import pandas as pd
import pytest

from reid_lightning.data.datamodule import ReIDDataModule
from reid_lightning.data.group_sampler import GroupSampler
from reid_lightning.data.readers.crops import read_crops
from reid_lightning.data.readers.table_file import read_table_file
from reid_lightning.data.samplers import PKSampler
from reid_lightning.errors import InputError


def rows(people, split="train", **columns):
    count = len(people)
    return pd.DataFrame(
        {"path": [f"{split}{i}.jpg" for i in range(count)], "person_id": people, "split": split} | columns
    )


TEST = pd.concat([rows(["x", "y"], "query"), rows(["x", "y"], "gallery")])


def module(tables, **settings):
    data = ReIDDataModule(tables, (8, 4), lambda **k: GroupSampler(2, 2, **k), **settings)
    data.setup("fit")
    return data


def test_all_identities_are_set_aside_and_those_of_the_test_stay():
    table = pd.concat([rows(["a", "a", "b", "b"]), TEST])
    data = module({"shop": table}, unlabelled=True)
    assert data.train_rows.tolist() == [0, 1, 2, 3]
    assert (data.annotations.labels[:4] == -1).all()
    assert data.num_identities == 0
    assert data.truth.iloc[:4].tolist() == ["shop/a", "shop/a", "shop/b", "shop/b"]
    assert data.has_test
    assert not data.has_validation
    assert data.annotations.person_ids[4:].tolist() == [0, 1, 0, 1]
    assert data.annotations.person_ids[:4].tolist() == [-1] * 4  # nothing that trains carries them


def test_a_list_of_sources_leaves_the_identities_of_the_others():
    known = rows([str(i // 2) for i in range(40)])
    data = module({"market": known, "shop": rows(["a", "a", "b"])}, unlabelled=["shop"], validation=0.2)
    assert data.num_identities == 16
    assert data.has_validation
    labels = data.annotations.labels[data.train_rows]
    assert (labels >= 0).sum() == 32
    assert (labels < 0).sum() == 3
    assert set(data.table.loc[data.table["split"] == "val", "source"]) == {"market"}


def test_without_the_setting_unknown_people_are_left_out():
    data = module({"shop": rows(["a", "a", "b", "b", None])}, validation=None)
    assert data.train_rows.tolist() == [0, 1, 2, 3]


def test_a_table_without_person_id_trains_without_identities(tmp_path):
    file = tmp_path / "own.csv"
    file.write_text("path,split,camera_id\na.jpg,train,1\nb.jpg,train,2\n")
    table = read_table_file(file)
    assert table["person_id"].isna().all()
    assert module({"own": table}, unlabelled=True).train_rows.tolist() == [0, 1]
    with pytest.raises(
        InputError, match=r"no rows of split train whose person is known.*experiment=unlabelled"
    ):
        module({"own": table})


def test_an_unknown_source_is_refused():
    with pytest.raises(
        ValueError, match=r"unlabelled must be true, false or a list of sources \(shop\), got market"
    ):
        module({"shop": rows(["a"])}, unlabelled=["market"])


def test_tracklets_are_told_by_the_identities_that_are_set_aside():
    table = rows(["a", "a", "b", None, None], camera_id="1", tracklet_id=["1", "1", "1", "1", None])
    data = module({"shop": table}, unlabelled=True)
    codes = data.train_tracklets
    assert codes[0] == codes[1]
    assert codes[4] == -1
    assert len({codes[0], codes[2], codes[3]}) == 3


def test_identity_samplers_refuse_unlabelled_rows():
    with pytest.raises(ValueError, match="sampler=groups"):
        PKSampler(1, 1, rows=np.arange(2), labels=np.array([-1, 0]), cameras=np.zeros(2, int), seed=0)


def test_a_folder_of_crops_tells_cameras_and_tracklets(tmp_path):
    for name in ("c1/t3_0.jpg", "c1/t3_1.jpg", "c2/t3_0.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), np.zeros((4, 2, 3), np.uint8))
    table = read_crops(tmp_path, r"(?P<camera>c\d+)/", r"/t(?P<tracklet>\d+)")
    assert table["camera_id"].tolist() == ["c1", "c1", "c2"]
    assert table["tracklet_id"].tolist() == ["3", "3", "3"]
    assert table["person_id"].isna().all()
    assert set(table["split"]) == {"train"}
    codes = module({"crops": table}, unlabelled=True).train_tracklets
    assert codes.tolist() == [codes[0], codes[0], codes[2]]
    assert codes[0] != codes[2]


@pytest.mark.parametrize(
    ("patterns", "said"),
    [
        ({"camera_pattern": "("}, "is not a regular expression"),
        ({"camera_pattern": "c"}, "has no group named camera"),
        ({"tracklet_pattern": "(?P<tracklet>z)"}, "does not match tracklet_pattern"),
    ],
)
def test_patterns_that_do_not_fit_are_refused(tmp_path, patterns, said):
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((4, 2, 3), np.uint8))
    with pytest.raises(InputError, match=said):
        read_crops(tmp_path, **patterns)


def test_a_missing_and_an_empty_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        read_crops(tmp_path / "none")
    with pytest.raises(InputError, match="holds no images"):
        read_crops(tmp_path)


def sampler(images=60, p=4, k=3, batches=None, cameras=None, seed=3):
    cameras = np.arange(images) % 4 if cameras is None else cameras
    return GroupSampler(
        p, k, batches, rows=1000 + np.arange(images), labels=np.full(images, -1), cameras=cameras, seed=seed
    )


def test_batches_hold_p_groups_of_k_images_and_nothing_outside():
    drawn = sampler(batches=30)
    groups = np.where(np.arange(60) < 50, np.arange(60) // 5, -1)
    drawn.regroup(groups)
    batches = drawn.global_batches()
    assert batches.shape == (30, 12)
    assert len(drawn) == 30
    for batch in batches.reshape(30, 4, 3) - 1000:
        own = groups[batch]
        assert (own == own[:, :1]).all()
        assert (own >= 0).all()
        assert len(set(own[:, 0].tolist())) == 4
        assert all(len(set(part.tolist())) == 3 for part in batch)
    assert set((batches - 1000).ravel().tolist()) == set(range(50))  # all images come by
    visits = np.bincount(groups[batches.reshape(-1, 3)[:, 0] - 1000], minlength=10)
    assert visits.max() - visits.min() <= 10  # of 120: two of ten are left out in each round


def test_batches_are_a_function_of_seed_epoch_and_groups():
    first, second = sampler(), sampler()
    for drawn in (first, second):
        drawn.regroup(np.arange(60) // 6)
        drawn.set_epoch(2)
    assert (first.global_batches() == second.global_batches()).all()
    assert len(first) == 60 // 12
    second.set_epoch(3)
    assert (first.global_batches() != second.global_batches()).any()


def test_fewer_groups_than_p_and_fewer_images_than_k_are_repeated():
    drawn = sampler(images=7, p=4, k=3, batches=2)
    drawn.regroup(np.array([0, 0, 1, 1, 1, -1, -1]))
    batches = drawn.global_batches() - 1000
    assert set(batches.ravel().tolist()) == {0, 1, 2, 3, 4}
    assert sorted(np.bincount((batches.reshape(-1, 3)[:, 0] >= 2).astype(int)).tolist()) == [4, 4]


def test_a_group_shows_different_cameras_first():
    drawn = sampler(images=12, p=1, k=3, batches=4, cameras=np.array([0] * 6 + [1] * 3 + [2] * 3))
    drawn.regroup(np.zeros(12, int))
    first = drawn.global_batches()[0] - 1000
    assert sorted(np.array([0] * 6 + [1] * 3 + [2] * 3)[first].tolist()) == [0, 1, 2]


def test_kinds_share_every_batch_evenly():
    drawn = sampler(images=60, p=4, k=2, batches=10)
    groups = np.concatenate([np.arange(52) // 2, 26 + np.arange(8) // 2])
    drawn.regroup(groups, np.array([0] * 26 + [1] * 4))
    chosen = groups[drawn.global_batches().reshape(10, 4, 2)[:, :, 0] - 1000]
    assert ((chosen >= 26).sum(axis=1) == 2).all()


def test_no_group_at_all_is_refused():
    with pytest.raises(InputError, match="No training image is in a group"):
        sampler().regroup(np.full(60, -1))
    with pytest.raises(ValueError, match="batches must be a whole number >= 1 or null, got 0"):
        sampler(batches=0)
