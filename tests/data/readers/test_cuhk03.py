import os

import cv2
import numpy as np
import pytest
from release_file import write_release
from scipy.io import savemat

from reid_lightning.data.readers.cuhk03 import read_cuhk03, read_cuhk03_classic
from reid_lightning.data.table import describe_table
from reid_lightning.errors import InputError

PAIRS = {1: 6, 2: 3}  # people of each pair of cameras
TEST_SETS = [[(1, 2), (2, 3)], [(1, 1), (1, 6)]]


def picture(boxes, pair, person, number):
    """A picture unlike all others, taller than wide and not gray, so that no axis can be mistaken."""
    seed = [len(boxes), pair, person, number]
    return np.random.default_rng(seed).integers(0, 256, (16, 8, 3), dtype=np.uint8)


def images_of(boxes, pair):
    """Two images from view 1 and three from view 2; person 1 lacks one of them."""
    numbers = (1, 2, 6, 7, 10)
    rows = {
        (person, number): picture(boxes, pair, person, number)
        for person in range(1, PAIRS[pair] + 1)
        for number in numbers
    }
    del rows[1, 10]
    return rows


@pytest.fixture
def release(tmp_path, monkeypatch):
    monkeypatch.setenv("REID_LIGHTNING_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "cuhk03_release"
    folder.mkdir()
    boxes = {name: [images_of(name, pair) for pair in PAIRS] for name in ("detected", "labeled")}
    write_release(folder / "cuhk-03.mat", boxes, TEST_SETS)
    return folder


def write_lists(root, boxes="detected", missing=()):
    """Write the new protocol over the pictures of `images_of`: the last person of each pair is tested."""
    names, labels = [], []
    for pair, people in PAIRS.items():
        for person in range(1, people + 1):
            for number in (1, 2, 6, 7, 10):
                if (person, number) != (1, 10):
                    names.append(f"{pair}_{person:03d}_{1 if number < 6 else 2}_{number:02d}.png")
                    labels.append(person + 10 * pair)
    tested = {16: None, 23: None}
    rows = {"train": [], "query": [], "gallery": []}
    for position, (name, label) in enumerate(zip(names, labels, strict=True), start=1):
        split = (
            "train"
            if label not in tested
            else "query"
            if name.endswith(("_01.png", "_06.png"))
            else "gallery"
        )
        rows[split].append(position)
    cells = np.empty((len(names), 1), dtype=object)
    cells[:, 0] = names
    content = {"filelist": cells, "labels": np.array(labels, np.uint16)[:, None]}
    content |= {f"{split}_idx": np.array(positions, np.uint16)[:, None] for split, positions in rows.items()}
    for name in missing:
        del content[name]
    savemat(root / f"cuhk03_new_protocol_config_{boxes}.mat", content)


def test_images_come_out_of_the_release_unchanged(release):
    write_lists(release.parent, "labeled")
    table = read_cuhk03(release.parent, boxes="labeled")
    assert len(table) == sum(5 * people - 1 for people in PAIRS.values())
    for path in table["path"]:
        pair, person, _, number = map(int, path.rsplit("/", 1)[1].removesuffix(".png").split("_"))
        assert np.array_equal(cv2.imread(path)[..., ::-1], picture("labeled", pair, person, number))


def test_new_protocol(release):
    write_lists(release.parent)
    table = read_cuhk03(release.parent)
    counts = describe_table(table)
    assert counts[["images", "identities"]].values.tolist() == [[33, 7], [4, 2], [6, 2]]
    assert set(table["camera_id"]) == {"1_1", "1_2", "2_1", "2_2"}
    assert table["protocol"].unique().tolist() == [
        "detected boxes, new protocol, 7 training identities, 2 queried among 2"
    ]
    row = table[table["path"].str.endswith("2_003_2_06.png")].iloc[0]
    assert row[["person_id", "split", "camera_id"]].tolist() == ["23", "query", "2_2"]


def test_a_folder_of_images_is_taken_without_the_release(release):
    write_lists(release.parent)
    extracted = read_cuhk03(release.parent)["path"].iloc[0].rsplit("/", 1)[0]
    (release.parent / "images_detected").symlink_to(extracted)
    (release / "cuhk-03.mat").unlink()
    table = read_cuhk03(release.parent)
    assert table["path"].str.startswith(str(release.parent / "images_detected")).all()


def test_images_are_extracted_once(release):
    first = read_cuhk03_classic(release.parent)
    (release / "cuhk-03.mat").rename(release.parent / "cuhk-03.mat")
    again = read_cuhk03_classic(release.parent)  # another path: another folder
    assert first["path"].iloc[0] != again["path"].iloc[0]
    folder = again["path"].iloc[0].rsplit("/", 1)[0]
    written = [os.stat(path).st_mtime_ns for path in again["path"]]
    read_cuhk03_classic(release.parent)
    assert [os.stat(path).st_mtime_ns for path in again["path"]] == written
    assert folder.startswith(str(release.parent / "cache"))


@pytest.mark.parametrize("split", [0, 1])
def test_classic_splits_test_whom_the_file_names(release, split):
    table = read_cuhk03_classic(release, split=split)
    tested = {f"{pair}_{person:03d}" for pair, person in TEST_SETS[split]}
    assert set(table.loc[table["split"] == "query", "person_id"]) == tested
    assert set(table.loc[table["split"] == "gallery", "person_id"]) == tested
    assert set(table.loc[table["split"] == "train", "person_id"]).isdisjoint(tested)
    assert set(table.loc[table["split"] == "query", "camera_id"]) == {"1"}
    assert set(table.loc[table["split"] == "gallery", "camera_id"]) == {"2"}
    assert table["person_id"].nunique() == 9
    other = read_cuhk03_classic(release, split=split, query_view="2")
    assert set(other.loc[other["split"] == "query", "camera_id"]) == {"2"}


def test_classic_errors_name_the_key(release):
    with pytest.raises(ValueError, match=r"^split must be the number of a split, from 0 to 1, got 2"):
        read_cuhk03_classic(release, split=2)
    with pytest.raises(ValueError, match=r"^boxes must be detected or labeled, got manual"):
        read_cuhk03_classic(release, boxes="manual")
    with pytest.raises(ValueError, match=r"^query_view must be 1 or 2, got 3"):
        read_cuhk03_classic(release, query_view="3")
    (release / "cuhk-03.mat").write_bytes(b"text")
    with pytest.raises(InputError, match=r"cuhk-03.mat cannot be read as a MATLAB 7.3 file"):
        read_cuhk03_classic(release)


def test_new_protocol_errors_name_file_and_count(release):
    root = release.parent
    with pytest.raises(InputError, match=r"lacks cuhk03_new_protocol_config_detected.mat"):
        read_cuhk03(root)
    write_lists(root, missing=["labels"])
    with pytest.raises(InputError, match=r"detected.mat lacks the variable labels"):
        read_cuhk03(root)
    write_lists(root)
    (root / "images_detected").mkdir()
    with pytest.raises(InputError, match=r"lacks 1_001_1_01.png \(and 42 more of the 43 images that"):
        read_cuhk03(root)
    (root / "images_detected").rmdir()
    (release / "cuhk-03.mat").unlink()
    with pytest.raises(InputError, match=r"holds no images: put cuhk-03.mat .* or a folder images_detected"):
        read_cuhk03(root)
    (root / "cuhk03_new_protocol_config_detected.mat").write_bytes(b"text")
    with pytest.raises(InputError, match=r"cannot be read as a MATLAB file"):
        read_cuhk03(root)
