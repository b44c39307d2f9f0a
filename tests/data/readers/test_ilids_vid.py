import numpy as np
import pytest
from scipy.io import savemat

from reid_lightning.data.readers.ilids_vid import SPLITS, read_ilids_vid
from reid_lightning.data.table import describe_table
from reid_lightning.errors import InputError


@pytest.fixture
def tree(tmp_path):
    """Six people with gaps between their numbers, two frames in each camera, three splits."""
    for camera in (1, 2):
        for person in (1, 2, 9, 10, 100, 319):
            folder = tmp_path / "i-LIDS-VID" / "sequences" / f"cam{camera}" / f"person{person:03d}"
            folder.mkdir(parents=True)
            for frame in (317, 318):
                (folder / f"cam{camera}_person{person:03d}_{frame:05d}.png").touch()
    write_splits(tmp_path, [[1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1], [3, 6, 1, 2, 4, 5]])
    return tmp_path


def write_splits(root, orders):
    (root / SPLITS).parent.mkdir(exist_ok=True)
    savemat(root / SPLITS, {"ls_set": np.array(orders, dtype=np.float64)})


@pytest.mark.parametrize(
    ("split", "tested"), [(0, ["001", "002", "009"]), (1, ["010", "100", "319"]), (2, ["001", "009", "319"])]
)
def test_the_first_half_of_a_split_is_tested(tree, split, tested):
    table = read_ilids_vid(tree, split=split)
    assert sorted(set(table.loc[table["split"] == "query", "person_id"])) == tested
    counts = describe_table(table)
    assert counts[["images", "identities", "cameras"]].values.tolist() == [[12, 3, 2], [6, 3, 1], [6, 3, 1]]
    assert table["tracklet_id"].nunique() == 12
    assert set(table["frame_id"]) == {317, 318}


def test_wrong_splits_are_named(tree):
    with pytest.raises(ValueError, match=r"^split must be the number of a split, from 0 to 2, got 3"):
        read_ilids_vid(tree, split=3)
    write_splits(tree, [[1, 2, 3, 4]])
    with pytest.raises(InputError, match=r"orders 4 people, but .*sequences holds 6"):
        read_ilids_vid(tree)
    (tree / SPLITS).unlink()
    with pytest.raises(InputError, match=r"lacks train-test people splits/train_test_splits_ilidsvid.mat"):
        read_ilids_vid(tree)
