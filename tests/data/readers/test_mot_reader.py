"""Sequences with tracks become a table of crops, with splits by the stated rules."""

import os

import cv2
import numpy as np
import pytest

from reid_lightning.data.mot_text import read_boxes, write_boxes
from reid_lightning.data.readers.mot import read_mot
from reid_lightning.data.readers.mot_crops import crop_of
from reid_lightning.data.sequences import open_sequence
from reid_lightning.data.table import describe_table
from reid_lightning.errors import InputError
from reid_lightning.files import cache_dir

WIDTH, HEIGHT = 120, 100


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REID_LIGHTNING_CACHE", str(tmp_path / "cache"))


def write_sequence(folder, lines, frames=60, info=True, track="gt/gt.txt"):
    """Write frames in which pixel (x, y) of frame f has the colors x, y, f, and tracks."""
    (folder / "img1").mkdir(parents=True)
    for number in range(1, frames + 1):
        picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        picture[..., 0], picture[..., 1], picture[..., 2] = (
            np.arange(WIDTH),
            np.arange(HEIGHT)[:, None],
            number,
        )
        cv2.imwrite(str(folder / "img1" / f"{number:06d}.png"), picture[..., ::-1])
    if info:
        (folder / "seqinfo.ini").write_text("[Sequence]\nname=x\nimDir=img1\nframeRate=25\n")
    if lines is not None:
        (folder / track).parent.mkdir(exist_ok=True)
        (folder / track).write_text("".join(f"{line}\n" for line in lines))
    return folder


def walk(person, frames, left=21, top=11, wide=20, high=40, rest="1,1,1"):
    return [f"{frame},{person},{left},{top},{wide},{high},{rest}" for frame in frames]


@pytest.fixture
def tree(tmp_path):
    """Two sequences to train on, one to test, in MOT17's layout."""
    root = tmp_path / "MOT17"
    for name in ("MOT17-02-FRCNN", "MOT17-02-SDP", "MOT17-04-FRCNN"):
        write_sequence(root / "train" / name, walk(1, range(1, 61)) + walk(2, range(1, 31)))
    write_sequence(root / "test" / "MOT17-01-DPM", None, frames=1)
    return root


def test_crops_are_the_pixels_of_the_boxes(tree):
    table = read_mot(tree, every=10)
    first = table[(table["person_id"] == "MOT17-02/1") & (table["frame_id"] == 41)].iloc[0]
    crop = cv2.imread(first["path"])[..., ::-1].astype(int)
    assert crop.shape == (40, 20, 3)  # left 21 of MOTChallenge is column 20
    assert np.abs(crop[..., 0] - np.arange(20, 40)).max() <= 12  # as JPEG
    assert np.abs(crop[..., 1].mean(axis=1) - np.arange(10, 50)).max() < 4
    assert first["tracklet_id"] == "MOT17-02/1/1"
    assert first["sequence_id"] == "MOT17-02"
    assert table["camera_id"].isna().all()
    assert not any(str(tree) in path for path in table["path"])  # nothing is written beside the data
    assert sorted(os.listdir(tree / "train")) == ["MOT17-02-FRCNN", "MOT17-02-SDP", "MOT17-04-FRCNN"]


def test_one_of_three_copies_is_read_and_a_half_of_the_sequences_is_tested(tree, caplog):
    table = read_mot(tree, every=10)
    assert set(table["sequence_id"]) == {"MOT17-02", "MOT17-04"}
    assert table.groupby("sequence_id")["split"].agg(lambda s: "train" in set(s)).sum() == 1
    assert "1 sequences have no gt/gt.txt" in caplog.text
    test = table[table["split"] != "train"].groupby(["person_id", "split"])["frame_id"].agg(list)
    name = table.loc[table["split"] == "query", "sequence_id"].iloc[0]
    assert test[f"{name}/1", "query"] == [1]
    assert test[f"{name}/1", "gallery"] == [31, 41, 51]  # 26 frames and more after the first
    assert (f"{name}/2", "query") not in test.index  # seen to frame 21 only: nobody to find
    assert test[f"{name}/2", "gallery"] == [1, 11, 21]
    other = read_mot(tree, every=10, seed=1)
    assert (
        table["protocol"][0]
        == "every 10 frames, visibility from 0.5, 1 sequences of seed 0 tested, found again after 25 frames"
    )
    assert {frozenset(read_mot(tree, seed=k).query("split=='query'")["sequence_id"]) for k in range(6)} == {
        frozenset(["MOT17-02"]), frozenset(["MOT17-04"]),
    }  # fmt: skip
    assert len(other) == len(table)


def test_published_folders_are_the_split(tree):
    write_sequence(tree / "val" / "MOT17-09", walk(1, range(1, 41)))
    table = read_mot(tree, every=5)
    assert describe_table(table)["identities"].to_dict() == {"train": 4, "query": 1, "gallery": 1}
    assert set(table.loc[table["split"] != "train", "person_id"]) == {"MOT17-09/1"}
    assert "the folders' split" in table["protocol"][0]


def test_one_sequence_is_split_by_people(tmp_path):
    write_sequence(tmp_path / "yard", [line for k in range(6) for line in walk(k, range(1, 61))], info=False)
    for root in (tmp_path / "yard", tmp_path):
        table = read_mot(root, every=7, gap=20)
        people = table.groupby("person_id")["split"].agg(set)
        assert sum("train" in splits for splits in people) == 3
        assert all(set(splits) in ({"train"}, {"query", "gallery"}) for splits in people)


def test_shared_ids_make_sequences_cameras(tmp_path):
    for camera in ("door", "hall"):
        lines = [line for k in range(4) for line in walk(k, range(1, 31))]
        lines += walk(8, [1] if camera == "door" else [1, 11])
        write_sequence(tmp_path / camera, lines + (walk(9, range(1, 31)) if camera == "hall" else []))
    table = read_mot(tmp_path, every=10, shared_ids=True, test_fraction=1.0)
    queries = table[table["split"] == "query"]
    assert set(table["camera_id"]) == {"door", "hall"}
    assert sorted(queries["person_id"]) == sorted(
        [*2 * ["/0", "/1", "/2", "/3"], "/8"]
    )  # the one crop of 8 at the door is the match
    assert (queries["frame_id"] == 1).all()
    assert set(table.loc[table["person_id"] == "/9", "split"]) == {"gallery"}


def test_a_person_who_comes_back_begins_a_tracklet(tmp_path):
    write_sequence(tmp_path, walk(1, [1, 11, 21, 51, 57]) + walk(2, [1, 26, 51]))
    table = read_mot(tmp_path, every=5, test_fraction=0)
    pieces = table.groupby("person_id")["tracklet_id"].agg(lambda names: [name[-1] for name in names])
    assert [list(names) for names in pieces] == [["1", "1", "1", "2"], ["1", "1", "1"]]  # 57 is not read


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("1,5,21,11,20,40,1,1,1", True),
        ("1,5,21,11,20,40", True),  # six columns: no class, all in sight
        ("1,5,21,11,20,40,0.3,-1,-1,-1", True),  # a tracker's result
        ("1,5,21,11,20,40,0,1,1", False),  # marked to be ignored
        ("1,5,21,11,20,40,1,7,1", False),  # a static person
        ("1,5,21,11,20,40,1,1,0.4", False),  # hidden
        ("1,5,21,11,20,31,1,1,1", False),  # low
        ("1,5,-11,11,20,40,1,1,1", False),  # 12 of 20 columns are outside
        ("1,5,-8,11,20,40,1,1,1", True),
    ],
)
def test_which_boxes_count(tmp_path, line, kept):
    write_sequence(tmp_path, [*walk(1, [1]), line], frames=1)
    assert ("5" in set(read_mot(tmp_path, test_fraction=0)["person_id"].str.split("/").str[1])) == kept


def test_the_cache_is_used_and_follows_the_data(tree):
    before = read_mot(tree)
    stored = {path: os.stat(path).st_mtime_ns for path in before["path"]}
    assert read_mot(tree)["path"].tolist() == before["path"].tolist()
    assert {path: os.stat(path).st_mtime_ns for path in before["path"]} == stored
    truth = tree / "train" / "MOT17-02-FRCNN" / "gt" / "gt.txt"
    truth.write_text(truth.read_text() + "1,9,31,11,20,40,1,1,1\n")
    after = read_mot(tree)
    assert len(after) == len(before) + 1
    same = after[after["sequence_id"] == "MOT17-04"]["path"]
    assert set(same) <= set(before["path"])  # the other sequence is not cut again


def test_a_broken_frame_leaves_no_half_of_a_sequence_and_the_others_stay(tree):
    frame = tree / "train" / "MOT17-04-FRCNN" / "img1" / "000021.png"
    whole = frame.read_bytes()
    frame.write_bytes(whole[:200])
    with pytest.raises(InputError, match=r"000021\.png"):
        read_mot(tree)
    written = [name for name in os.listdir(cache_dir() / "mot") if name[0] != "."]
    assert [name.rsplit("-", 1)[0] for name in written] == ["MOT17-02"]
    frame.write_bytes(whole)
    assert len(read_mot(tree))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1,2,3", "line 2 has 3 cells"),
        ("1;2;3;4;5;6", "separated by commas"),
        ("1,x,3,4,5,6", "line 2: id is x, and not a number"),
        ("1,2,nan,4,5,6", "line 2: left is nan"),
        ("1,2,1e300,4,5,6", "line 2: left is 1e300"),
        ("1.5,2,3,4,5,6", "line 2: frame is 1.5; write a whole number"),
        ("0,2,3,4,5,6", "line 2: frame is 0, and frames count from 1"),
        ("1,2,3,4,-5,6", "line 2: the box is -5 wide"),
        ("1,-1,3,4,5,6", "line 2: id is -1"),
        ("1,1,3,4,5,6", "lines 1 and 2: id 1 has two boxes in frame 1"),
        ("7,1,3,4,5,6", "line 2 is about frame 7"),
        ("1,2,3,4,5,\udcff", "not text in UTF-8"),
    ],
)
def test_hostile_tracks_are_named_by_line(tmp_path, line, said):
    write_sequence(tmp_path, walk(1, [1]), frames=2)
    with (tmp_path / "gt" / "gt.txt").open("a", errors="surrogateescape") as file:
        file.write(f"\n{line}\n".lstrip("\n"))
    with pytest.raises(InputError, match=r"gt\.txt.*" + said):
        read_mot(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nothing", "cannot be read"),
        ("[Sequence]\nframeRate=x\n", "cannot be read"),
        ("[Sequence]\nframeRate=-1\n", "frameRate is -1"),
        ("[Sequence]\nimDir=../../elsewhere\n", "inside of the sequence"),
        ("[Sequence]\nimDir=img2\n", "holds no frames"),
    ],
)
def test_a_bad_seqinfo_is_named(tmp_path, text, said):
    write_sequence(tmp_path, walk(1, [1]), frames=1)
    (tmp_path / "seqinfo.ini").write_text(text)
    with pytest.raises(InputError, match=said):
        read_mot(tmp_path)


def test_a_seqinfo_of_windows_is_read_and_a_frame_beyond_all_numbers_is_named(tmp_path):
    folder = tmp_path / "a"
    (folder / "img1").mkdir(parents=True)
    (folder / "img1" / "000001.jpg").touch()
    (folder / "seqinfo.ini").write_text("[Sequence]\nframeRate=12.5\n", encoding="utf-8-sig")
    assert open_sequence(folder).rate == 12.5
    (folder / "img1" / f"{2**63}.jpg").touch()
    with pytest.raises(InputError, match=r"9223372036854775808\.jpg would be frame"):
        open_sequence(folder)


def test_folders_without_sequences(tmp_path):
    with pytest.raises(InputError, match="holds no sequence"):
        read_mot(tmp_path)
    with pytest.raises(InputError, match="is not a folder"):
        read_mot(tmp_path / "gone")
    write_sequence(tmp_path / "a", None, frames=1)
    with pytest.raises(InputError, match=r"1 sequences and no gt/gt\.txt"):
        read_mot(tmp_path)
    write_sequence(tmp_path / "b", walk(1, [1], rest="1,1,0.1"), frames=1)
    with pytest.raises(InputError, match=r"lower data\.min_visibility"):
        read_mot(tmp_path)


def test_settings_out_of_range(tmp_path):
    for setting in (
        {"every": 0},
        {"min_visibility": 1.1},
        {"gap": 0},
        {"test_fraction": 2},
        {"min_height": 0},
    ):
        with pytest.raises(ValueError, match=f"{next(iter(setting))} must be"):
            read_mot(tmp_path, **setting)


def test_frames_without_numbers_count_in_order(tmp_path):
    for name in ("a 10.jpg", "a 9.jpg"):
        cv2.imwrite(str(tmp_path / name), np.zeros((8, 8, 3), np.uint8))
    sequence = open_sequence(tmp_path)
    assert {number: path.name for number, path in sequence.frames.items()} == {1: "a 10.jpg", 2: "a 9.jpg"}
    for name in ("1.jpg", "01.jpg"):
        (tmp_path / name.replace(".jpg", ".png")).write_bytes(b"x")
    for path in tmp_path.glob("a*"):
        path.unlink()
    with pytest.raises(InputError, match="both are frame 1"):
        open_sequence(tmp_path)


def test_boxes_survive_writing(tmp_path):
    boxes = np.array([[0, 0, 10, 20], [5.25, 6.5, 25, 66.75]])
    write_boxes(tmp_path / "a.txt", [1, 3], [7, -1], boxes, np.array([0.5, 0.25]))
    found = read_boxes(tmp_path / "a.txt")
    assert found.boxes.tolist() == boxes.tolist()
    assert (tmp_path / "a.txt").read_text().splitlines()[0] == "1,7,1.00,1.00,10.00,20.00,0.5,-1,-1,-1"
    write_boxes(tmp_path / "gt.txt", [1], [7], boxes[:1], np.ones(1), np.array([0.25]))
    assert read_boxes(tmp_path / "gt.txt", tracks=True).visibility.tolist() == [0.25]
    with pytest.raises(InputError, match="id is -1"):
        read_boxes(tmp_path / "a.txt", tracks=True)


def test_a_crop_outside_is_empty():
    crop, inside = crop_of(np.zeros((10, 10, 3), np.uint8), np.array([20.0, 2, 30, 8]))
    assert (crop.size, inside) == (0, 0.0)
