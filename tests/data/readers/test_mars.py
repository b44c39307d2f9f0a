import numpy as np
import pytest
from scipy.io import savemat

from reid_lightning.data.readers.mars import read_mars
from reid_lightning.data.table import describe_table
from reid_lightning.errors import InputError

# Person, camera, tracklet, frames: in the order of the lists.
TRAIN = [(1, 1, 1, 3), (1, 2, 1, 2), (3, 6, 1, 4)]
TEST = [(-1, 1, 1, 2), (0, 1, 1, 2), (2, 1, 1, 5), (2, 1, 2, 3), (2, 3, 1, 2), (4, 1, 1, 3), (4, 5, 1, 1)]
QUERIES = [3, 6]  # positions in TEST, from 1


def write_half(root, half, tracks, names=None):
    rows, listed = [], []
    for person, camera, tracklet, frames in tracks:
        folder = f"{person:04d}" if person >= 0 else "00-1"
        start = len(listed) + 1
        listed += [f"{folder}C{camera}T{tracklet:04d}F{frame:03d}.jpg" for frame in range(1, frames + 1)]
        rows.append([start, len(listed), person, camera])
    (root / "info" / f"{half}_name.txt").write_text("\n".join(names or listed) + "\n")
    savemat(root / "info" / f"tracks_{half}_info.mat", {f"track_{half}_info": np.array(rows, np.int32)})


@pytest.fixture
def tree(tmp_path):
    for folder in ("bbox_train", "bbox_test", "info"):
        (tmp_path / folder).mkdir()
    write_half(tmp_path, "train", TRAIN)
    write_half(tmp_path, "test", TEST)
    savemat(tmp_path / "info" / "query_IDX.mat", {"query_IDX": np.array([QUERIES], np.uint16)})
    return tmp_path


def test_tracklets_and_splits(tree):
    table = read_mars(tree)
    assert describe_table(table).values.tolist() == [[9, 2, 3, 0], [8, 2, 1, 0], [8, 2, 3, 2]]
    tracklets = table.groupby(["split", "tracklet_id"], sort=False)["path"].agg(list)
    assert [len(paths) for paths in tracklets] == [3, 2, 4, 5, 3, 2, 3, 2, 1]
    assert tracklets["query", "test00003"][1] == f"{tree}/bbox_test/0002/0002C1T0001F002.jpg"
    assert table["split"].drop_duplicates().tolist() == ["train", "query", "gallery"]
    assert not table["path"].str.contains("00-1").any()
    assert table.loc[table["distractor"], "person_id"].tolist() == ["0000"] * 2
    assert table.loc[table["tracklet_id"] == "test00004", "frame_id"].tolist() == [1, 2, 3]
    assert table["protocol"][0] == "all frames of each tracklet"


@pytest.mark.parametrize(
    ("frames", "kept"), [(1, [1]), (2, [1, 5]), (3, [1, 3, 5]), (4, [1, 2, 4, 5]), (9, [1, 2, 3, 4, 5])]
)
def test_frames_are_evenly_spaced(tree, frames, kept):
    table = read_mars(tree, frames=frames)
    assert table.loc[table["tracklet_id"] == "test00003", "frame_id"].tolist() == kept
    assert table["tracklet_id"].nunique() == 9
    assert table["protocol"][0] == f"{frames} frames of each tracklet"


def test_contradicting_lists_are_named(tree):
    names = (tree / "info" / "test_name.txt").read_text().split()
    write_half(tree, "test", TEST, names[:-1])
    with pytest.raises(
        InputError, match=r"test_name.txt holds 17 names, but .*tracks_test_info.mat counts up to 18"
    ):
        read_mars(tree)
    names[4], names[8] = names[8], "0002C2T0001F005.jpg"
    write_half(tree, "test", TEST, names)
    with pytest.raises(
        InputError, match=r"line 9 is 0002C2T0001F005.jpg, where person 0002 in camera 1 is expected"
    ):
        read_mars(tree)
    savemat(tree / "info" / "query_IDX.mat", {"query_IDX": np.array([[8]], np.uint16)})
    with pytest.raises(InputError, match=r"query_IDX.mat does not fit .*, which lists 7 tracklets"):
        read_mars(tree)
    (tree / "info" / "query_IDX.mat").unlink()
    with pytest.raises(InputError, match=r"lacks info/query_IDX.mat"):
        read_mars(tree)
    with pytest.raises(ValueError, match=r"^frames must be >= 1, or null for all frames, got 0"):
        read_mars(tree, frames=0)
