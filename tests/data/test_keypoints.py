import numpy as np
import pandas as pd
import pytest
from PIL import Image

from reid_lightning.data.keypoints import has_keypoints, mirrored_joints, read_keypoints
from reid_lightning.data.pedestrians.dataset import read_pedestrians
from reid_lightning.errors import InputError

JOINTS = ("nose", "left_knee", "right_knee")
POINTS = np.array(
    [[[10, 20, 2], [0, 5, 1], [90, 5, 0]], [[1, 2, 2], [3, 4, 2], [5, 6, 2]]],
    np.float32,
)


@pytest.fixture
def tree(tmp_path):
    """Two images of different sizes and their key points, and the table that names them."""
    (tmp_path / "train").mkdir()
    for name, size in (("a.png", (40, 80)), ("b.png", (10, 20))):
        Image.new("RGB", size).save(tmp_path / "train" / name)
    np.savez(tmp_path / "points.npz", names=["train/a.png", "train/b.png"], points=POINTS, joints=JOINTS)
    paths = [str(tmp_path / "train" / name) for name in ("b.png", "a.png")]
    return pd.DataFrame({"path": paths, "keypoints": str(tmp_path / "points.npz")})


def test_points_are_fractions_in_the_order_of_the_rows(tree):
    found = read_keypoints(tree)
    assert found.joints == JOINTS
    np.testing.assert_allclose(found.points[0], [[0.1, 0.1, 2], [0.3, 0.2, 2], [0.5, 0.3, 2]])
    np.testing.assert_allclose(found.points[1], [[0.25, 0.25, 2], [0, 0.0625, 1], [2.25, 0.0625, 0]])


def test_rows_without_key_points_are_told_apart(tree):
    tree["keypoints"] = tree["keypoints"].astype("string")
    tree.loc[1, "keypoints"] = pd.NA
    assert has_keypoints(tree).tolist() == [True, False]
    assert has_keypoints(tree[["path"]]).tolist() == [False, False]


def test_files_that_do_not_fit_are_refused_by_name(tree, tmp_path):
    np.savez(tmp_path / "other.npz", names=["train/a.png"], points=POINTS[:1, :2], joints=JOINTS[:2])
    other = str(tmp_path / "other.npz")
    with pytest.raises(InputError, match=r"other\.npz has no key points of train/b\.png"):
        read_keypoints(tree.assign(keypoints=other))
    tree.loc[1, "keypoints"] = other
    with pytest.raises(InputError, match=r"other\.npz has the joints"):
        read_keypoints(tree)
    np.savez(tmp_path / "other.npz", names=["train/a.png"], points=POINTS, joints=JOINTS)
    with pytest.raises(InputError, match=r"other\.npz has points of shape \(2, 3, 3\) for 1 images"):
        read_keypoints(tree[1:])
    (tmp_path / "other.npz").write_text("no archive")
    with pytest.raises(InputError, match=r"other\.npz cannot be read as key points"):
        read_keypoints(tree[1:])
    with pytest.raises(InputError, match=r"nowhere\.npz cannot be read as key points"):
        read_keypoints(tree.assign(keypoints="nowhere.npz"))


def test_a_mirror_swaps_sides_and_needs_both():
    assert mirrored_joints(["left_hip", "nose", "right_hip"]) == [2, 1, 0]
    with pytest.raises(InputError, match="left_hip has no right_hip"):
        mirrored_joints(["left_hip", "nose"])


def test_generated_people_have_their_joints_within_the_image(tmp_path):
    table = read_pedestrians(tmp_path / "people", train_identities=2, test_identities=2)
    found = read_keypoints(table)
    seen = found.points[..., 2]
    assert found.points.shape == (len(table), 17, 3)
    assert set(np.unique(seen)) <= {0, 1, 2}
    inside = found.points[seen > 0][:, :2]
    assert (inside >= 0).all()
    assert (inside < 1).all()
    assert (seen[~table["distractor"]] == 2).sum(1).mean() > 8
    mirrored_joints(found.joints)
