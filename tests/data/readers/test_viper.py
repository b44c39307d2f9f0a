import pytest

from reid_lightning.data.readers.viper import read_viper
from reid_lightning.data.table import describe_table
from reid_lightning.errors import InputError


def write_viper(root, people):
    for camera, angle in (("cam_a", 0), ("cam_b", 90)):
        (root / "VIPeR" / camera).mkdir(parents=True)
        for person in range(people):  # the numbers have gaps, and the angles vary
            name = f"{person + 3 * (person // 10):03d}_{(angle + 45 * (person % 3)) % 180}.bmp"
            (root / "VIPeR" / camera / name).touch()
    return root


def test_published_counts(tmp_path):
    table = read_viper(write_viper(tmp_path, 632))
    counts = describe_table(table)
    assert counts[["images", "identities"]].values.tolist() == [[632, 316], [316, 316], [316, 316]]
    assert table["protocol"][0] == "split 0, 316 training identities, 316 queried among 316, from camera a"


def test_pairs_stay_together(tmp_path):
    table = read_viper(write_viper(tmp_path, 30), test_identities=10, query_camera="b")
    assert (table.groupby("person_id").size() == 2).all()
    query = table[table["split"] == "query"]
    assert query["path"].str.contains("/cam_b/").all()
    assert set(query["person_id"]) == set(table.loc[table["split"] == "gallery", "person_id"])
    assert len(query) == 10


def test_a_broken_tree_is_refused(tmp_path):
    root = write_viper(tmp_path, 3)
    (root / "VIPeR" / "cam_a" / "002_90.bmp").unlink()
    with pytest.raises(InputError, match=r"holds person 002 in camera b only"):
        read_viper(root, 1)
    (root / "VIPeR" / "cam_b" / "person.bmp").touch()
    with pytest.raises(InputError, match=r"person.bmp is not named like 000_45.bmp"):
        read_viper(root, 1)
    with pytest.raises(InputError, match=r"is not a folder; it should hold cam_a, cam_b"):
        read_viper(root / "nowhere")
