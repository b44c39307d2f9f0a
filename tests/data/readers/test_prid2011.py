import pytest

from reid_lightning.data.readers.prid2011 import read_prid2011, read_prid2011_video
from reid_lightning.data.table import describe_table
from reid_lightning.errors import InputError


def write_single(root, counts):
    for camera, people in zip("ab", counts, strict=True):
        folder = root / "prid_2011" / "single_shot" / f"cam_{camera}"
        folder.mkdir(parents=True)
        for person in range(1, people + 1):
            (folder / f"person_{person:04d}.png").touch()
    return root


def write_multi(root, people, frames):
    """Write `frames(camera, person)` frames of each person; with a stranger beyond person 200."""
    for camera in "ab":
        for person in [*range(1, people + 1), 201]:
            folder = root / "prid_2011" / "multi_shot" / f"cam_{camera}" / f"person_{person:04d}"
            folder.mkdir(parents=True)
            for frame in range(1, frames(camera, person) + 1):
                (folder / f"{frame:04d}.png").touch()
    return root


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return write_single(tmp_path_factory.mktemp("prid"), (385, 749))


def test_published_counts(published):
    table = read_prid2011(published)
    counts = describe_table(table)
    assert counts[["images", "identities"]].values.tolist() == [[200, 100], [100, 100], [649, 649]]
    assert table["protocol"][0].endswith("100 training identities, 100 queried among 649, from camera a")


def test_strangers_are_in_the_gallery_only_and_never_match(published):
    table = read_prid2011(published, query_camera="b")
    assert (table["split"] == "gallery").sum() == 285  # 100 and the 185 strangers of camera a
    query, gallery = (table[table["split"] == split] for split in ("query", "gallery"))
    assert set(query["camera_id"]) == {"b"}
    assert set(gallery["camera_id"]) == {"a"}
    strangers = gallery[gallery["path"].str.extract(r"person_(\d+)")[0].astype(int).gt(200).to_numpy()]
    assert strangers["person_id"].str.startswith("a").all()
    assert len(set(query["person_id"]) & set(gallery["person_id"])) == 100


def test_a_missing_half_is_named(tmp_path):
    root = write_single(tmp_path, (30, 40))
    with pytest.raises(
        InputError, match=r"holds person 0031 in camera b only \(and 9 more of 40 like that\)"
    ):
        read_prid2011(root, 10)
    with pytest.raises(InputError, match=r"lacks multi_shot/cam_a, multi_shot/cam_b: looked for"):
        read_prid2011_video(root)


def test_short_walks_are_left_out(tmp_path):
    root = write_multi(tmp_path, 5, lambda camera, person: 2 if (camera, person) == ("b", 4) else 3)
    table = read_prid2011_video(root, min_frames=3, test_identities=2)
    assert sorted(table["person_id"].unique()) == ["0001", "0002", "0003", "0005"]
    counts = describe_table(table)
    assert counts[["images", "identities"]].values.tolist() == [[12, 2], [6, 2], [6, 2]]
    walks = table.groupby("tracklet_id").agg(
        {"person_id": "nunique", "camera_id": "nunique", "frame_id": list}
    )
    assert len(walks) == 8
    assert (walks[["person_id", "camera_id"]] == 1).all(axis=None)
    assert walks["frame_id"].tolist() == [[1, 2, 3]] * 8
    assert table["protocol"][0].startswith("walks of 3 frames or more, split 0, 2 training identities")


def test_a_strange_folder_or_frame_is_refused(tmp_path):
    root = write_multi(tmp_path, 3, lambda camera, person: 2)
    folder = root / "prid_2011" / "multi_shot" / "cam_a"
    (folder / "person_0001" / "frame1.png").touch()
    with pytest.raises(
        InputError, match=r"frame1.png is not named like person_0001/0001.png \(person, frame\)"
    ):
        read_prid2011_video(root, 2, 1)
    (folder / "persons").mkdir()
    (folder / "person_0001" / "frame1.png").unlink()
    with pytest.raises(
        InputError, match=r"cam_a/persons is not named like the folder in person_0001/0001.png"
    ):
        read_prid2011_video(root, 2, 1)
