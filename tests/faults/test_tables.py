"""Odd tables are read right or refused in one sentence, and what is odd about their people is said."""

import os
import re
from contextlib import suppress

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reid_lightning.data.annotations import read_attributes
from reid_lightning.data.datamodule import ReIDDataModule
from reid_lightning.data.readers.table_file import read_table_file
from reid_lightning.data.table import concatenate_tables, tracklet_keys, validate_table
from reid_lightning.data.table_checks import remarks
from reid_lightning.errors import InputError

GROUP = "Tables"
CSV = "path,person_id,split,camera_id\na.jpg,7,query,1\nb.jpg,7,gallery,2\n"
RIGHT = [["a.jpg", "7", "query", "1"], ["b.jpg", "7", "gallery", "2"]]


def changed(old: str, new: str, count: int = -1) -> str:
    assert old in CSV
    return CSV.replace(old, new, count)


def headed(header: str) -> str:
    return CSV.replace("path,person_id,split,camera_id", header)


def fourth(name: str, value: str) -> str:
    return headed(f"path,person_id,split,{name}").replace(",2\n", f",{value}\n")


def beside(text: str, column: list[str]) -> str:
    return "\n".join(f"{line},{cell}" for line, cell in zip(text.splitlines(), column, strict=True))


READ_RIGHT = {
    "a byte order mark": b"\xef\xbb\xbf" + CSV.encode(),
    "UTF-16 of Windows": CSV.encode("utf-16"),
    "UTF-16, big end first": b"\xfe\xff" + CSV.encode("utf-16-be"),
    "UTF-32": CSV.encode("utf-32"),
    "semicolons": CSV.replace(",", ";"),
    "tabs in a .csv": CSV.replace(",", "\t"),
    "bars": CSV.replace(",", "|"),
    "lines of Windows": CSV.replace("\n", "\r\n"),
    "lines of an old Macintosh": CSV.replace("\n", "\r"),
    "no end of the last line": CSV.rstrip("\n"),
    "empty lines": CSV.replace("\n", "\n\n"),
    "spaces around names": headed("path , person_id,  split ,camera_id "),
    "spaces around cells": changed("a.jpg,7,query,1", "a.jpg , 7 ,query , 1 "),
    "tabs around cells": changed("a.jpg,7,query,1", "a.jpg\t,\t7,query,1"),
    "spaces that do not break": changed("7,query", "\xa07\xa0,query"),
    "all in quotes": re.sub(r"[^,\n]+", r'"\g<0>"', CSV),
    "quotes after spaces": re.sub(r"[^,\n]+", r' "\g<0>"', CSV),
    "splits in capitals": changed("query", "Query").replace("gallery", "GALLERY"),
    "cameras as fractions": changed(",1\n", ",1.0\n"),
    "people as fractions": changed("a.jpg,7", "a.jpg,7.00"),
    "a column without a name": "\n".join(
        f"{number},{line}" for number, line in zip(["", 0, 1], CSV.splitlines(), strict=True)
    ),
    "empty columns after the last": CSV.replace("\n", ",,\n"),
    "further columns": beside(CSV, ["note", "x", ""]),
    "an id beside person_id": beside(CSV, ["id", "1", "2"]),
}  # fmt: skip
REFUSED = {
    "nothing": ("", "it is empty"),
    "only empty lines": ("\n\n", "it is empty"),
    "only a header": (CSV.splitlines()[0], "holds no images"),
    "no header": ("a.jpg,7,query,1\nb.jpg,7,gallery,2\n", "is its first line, which names the columns, missing"),
    "a line too long": (changed("a.jpg,7,query,1", "a.jpg,7,query,1,2"), "row 1 has 5 cells.*names 4 columns"),
    "all lines too long": (changed(",1\n", ",1,\n").replace(",2\n", ",2,\n"), "row 1 has 5 cells"),
    "a line too short": (changed("b.jpg,7,gallery,2", "b.jpg,7,gallery"), "row 2 has 3 cells"),
    "a quote that never ends": (changed("b.jpg", '"b.jpg'), "cannot be read as CSV: line"),
    "text after a quote": (changed("b.jpg", '"b".jpg'), "cannot be read as CSV: line 3"),
    "bytes of Latin-1": (changed("7", "Jos\xe9").encode("latin1"), "is not UTF-8 text: save it as UTF-8"),
    "half a UTF-16 letter": (CSV.encode("utf-16")[:-1], "is not UTF-16 text"),
    "an image": (b"\xff\xd8\xff\xe0" + bytes(range(256)), "is not UTF-8 text"),
    "NUL bytes": (changed("b.jpg", "b\0.jpg"), "not a text file"),
    "a huge cell": (changed("b.jpg", "b" * 200_000), "cannot be read as CSV: line 3, field larger"),
    "HTML": ("<html><body>404</body></html>\n", "has no column path, person_id, split"),
    "two columns of one name": (headed("path,person_id,split,split"), "several columns split"),
    "camid": (headed("path,person_id,split,camid"), r"camid, which looks like camera_id: .*columns=\{camera_id: camid\}"),
    "cam": (headed("path,person_id,split,cam"), "cam, which looks like camera_id"),
    "CameraID": (headed("path,person_id,split,CameraID"), "CameraID, which looks like camera_id"),
    "cameraId": (headed("path,person_id,split,cameraId"), "cameraId, which looks like camera_id"),
    "Camera ID": (headed("path,person_id,split,Camera ID"), "Camera ID, which looks like camera_id"),
    "camera-id": (headed("path,person_id,split,camera-id"), "camera-id, which looks like camera_id"),
    "camra_id": (headed("path,person_id,split,camra_id"), "camra_id, which looks like camera_id"),
    "pid": (headed("path,pid,split,camera_id"), r"pid, which looks like person_id: .*columns=\{person_id: pid\}"),
    "id": (headed("path,id,split,camera_id"), "id, which looks like person_id"),
    "identity": (headed("path,identity,split,camera_id"), "identity, which looks like person_id"),
    "label": (headed("path,label,split,camera_id"), "label, which looks like person_id"),
    "PersonID": (headed("path,PersonID,split,camera_id"), "PersonID, which looks like person_id"),
    "image": (headed("image,person_id,split,camera_id"), "image, which looks like path"),
    "img_path": (headed("img_path,person_id,split,camera_id"), "img_path, which looks like path"),
    "file": (headed("file,person_id,split,camera_id"), "file, which looks like path"),
    "filename": (headed("filename,person_id,split,camera_id"), "filename, which looks like path"),
    "subset": (headed("path,person_id,subset,camera_id"), "subset, which looks like split"),
    "set": (headed("path,person_id,set,camera_id"), "set, which looks like split"),
    "fold": (headed("path,person_id,fold,camera_id"), "fold, which looks like split"),
    "several others' names": (
        headed("img,pid,split,camid"),
        r"img and pid and camid, which look like path and person_id and camera_id: rename them, or say "
        r".*\{path: img, person_id: pid, camera_id: camid\}",
    ),
    "an empty path": (changed("b.jpg", " "), "row 2 .*: path is empty"),
    "an empty split": (changed("gallery", ""), r"row 2 \(.*b.jpg\): split is empty"),
    "a split test": (changed("gallery", "test"), "split is not one of train, val, query, gallery but 'test'"),
    "one file, two people": (CSV + "a.jpg,8,gallery,1\n", "rows 1 and 3 name one file, .*a.jpg, but two people, 7 and 8"),
    "a frame that is a word": (fourth("frame_id", "two"), "not an integer but 'two'"),
    "a frame beyond all numbers": (fourth("frame_id", "1e300"), "not an integer"),
    "an infinite frame": (fourth("frame_id", "inf"), "not an integer"),
    "a distractor maybe": (fourth("distractor", "maybe"), "neither true nor false"),
    "a distractor among the queries": (fourth("distractor", "0"), "a distractor belongs to"),
    "a distractor with a person's name": (
        "path,person_id,split,distractor\na,7,query,0\nb,7,gallery,1\n",
        "it is a distractor, but other rows with its person_id are not",
    ),
    "an attribute that is no class": (fourth("age", "77"), "age is not within"),
}  # fmt: skip


def read(file, **arguments):
    """Return what a run makes of a file."""
    return concatenate_tables({"table": read_table_file(file, **arguments)})


def as_bytes(content) -> bytes:
    return content if isinstance(content, bytes) else content.encode()


@pytest.mark.fault(GROUP, "odd but readable: encodings, separators, spaces, numbers")
@pytest.mark.parametrize("content", READ_RIGHT.values(), ids=READ_RIGHT)
def test_odd_tables_are_read_right(tmp_path, content, seen):
    (tmp_path / "t.csv").write_bytes(as_bytes(content))
    table = read(tmp_path / "t.csv")
    table["path"] = table["path"].map(os.path.basename)
    assert table[["path", "person_id", "split", "camera_id"]].values.tolist() == RIGHT
    seen("nothing: they are read right")


@pytest.mark.fault(GROUP, "damaged, or ambiguous in names or people")
@pytest.mark.parametrize(("content", "sentence"), REFUSED.values(), ids=REFUSED)
def test_tables_that_cannot_be_used_are_refused(tmp_path, content, sentence, seen):
    (tmp_path / "t.csv").write_bytes(as_bytes(content))
    with pytest.raises(InputError, match=sentence) as error:
        read(tmp_path / "t.csv")
    assert "\n" not in str(error.value)
    assert "t.csv" in str(error.value) or "table, row" in str(error.value)
    seen(str(error.value).replace(f"{tmp_path}/", ""))


@pytest.mark.fault(GROUP, "columns={...} that does not fit")
@pytest.mark.parametrize(
    ("header", "columns", "sentence"),
    [
        ("path,person_id,split,pid", {"person_id": "pid"}, "a column person_id beside pid, which columns.person_id names"),
        ("path,x,split,y", {"person_id": "x", "camera_id": "x"}, "columns names x twice"),
        ("path,x,split,y", {"person_id": "z"}, "has no column z: it has path, x, split, y"),
        ("path,x,split,y", {"person": "x"}, "columns.person names no column of a table"),
        ("path,x,split,y", ["person_id"], "must be pairs"),
        ("path,x,split,y", {"person_id": None}, "has no column None"),
    ],
)  # fmt: skip
def test_names_for_columns_are_checked(tmp_path, header, columns, sentence, seen):
    (tmp_path / "t.csv").write_text(headed(header))
    with pytest.raises(InputError, match=sentence) as error:
        read(tmp_path / "t.csv", columns=columns)
    seen(str(error.value).replace(f"{tmp_path}/", ""))


def test_columns_may_change_places(tmp_path):
    (tmp_path / "t.csv").write_text("path,camera_id,split,person_id\na.jpg,7,query,1\nb.jpg,7,gallery,2\n")
    table = read(tmp_path / "t.csv", columns={"person_id": "camera_id", "camera_id": "person_id"})
    assert table[["person_id", "camera_id"]].values.tolist() == [["7", "1"], ["7", "2"]]


NAMES = {
    "text": ["1", "2"],
    "integers": [1, 2],
    "fractions": [1.0, 2.0],
    "fractions with a gap": [1.0, 2.0, np.nan],
    "text of fractions": ["1.0", "2.0"],
    "both": [1.0, "2"],
    "objects with gaps": [1, 2.0, None],
    "small integers": np.array([1, 2], np.uint8),
    "integers with gaps": pd.array([1, 2, None], "Int64"),
    "a category": pd.Categorical(["1", "2"]),
    "a category of numbers": pd.Categorical([1.0, 2.0]),
    "of pyarrow": pd.array([1, 2], "int64[pyarrow]"),
    "text with spaces": [" 1", "2 "],
    "halves of numbers": np.array([1, 2], np.float16),
    "halves of numbers with a gap": pd.array([1, 2, None], "Float32"),
    "-1 for unknown": [1, 2, -1],
    "-1.0 for unknown": [1, 2, -1.0],
    "empty text for unknown": ["1", "2", ""],
}


@pytest.mark.fault(GROUP, "names of one column in several types")
@pytest.mark.parametrize("column", ["person_id", "camera_id", "tracklet_id", "sequence_id"])
@pytest.mark.parametrize("values", NAMES.values(), ids=NAMES)
def test_names_have_one_type(values, column, seen):
    frame = pd.DataFrame({"path": [f"{row}.jpg" for row in range(len(values))], "split": "train"})
    frame = frame.assign(person_id="7").assign(**{column: values})
    table = concatenate_tables({"t": frame})
    assert table[column].tolist()[:2] == ["1", "2"]
    assert table[column].isna().tolist() == [False, False, True][: len(values)]
    seen("nothing: 1, 1.0 and their texts are one name")


@pytest.mark.fault(GROUP, "names that cannot be names")
@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([1.0, np.inf], "camera_id is not finite"),
        ([2.0**60, 1.0], "more digits than a floating-point number holds"),
        (np.array([2**24 + 1, 1], np.float32), "row 1 .*more digits than a floating-point number holds"),
        (np.array([1, 2**11 + 1], np.float16), "row 2 .*more digits than a floating-point number holds"),
        (pd.array([2**24 + 1, None], "Float32"), "row 1 .*more digits than a floating-point number holds"),
        (pd.Categorical(np.array([2**24 + 1, 1], np.float32)), "row 1 .*more digits than"),
        (["a", b"b"], "neither text nor a number"),
        (["a", ["b"]], "row 2 .*neither text nor a number"),
        ([{"a": 1}, "b"], "row 1 .*neither text nor a number"),
        (np.array(["a", "b\udcff"], object), "row 2 .*camera_id is not UTF-8 text"),
    ],
)
def test_what_is_no_name_is_refused(values, sentence, seen):
    frame = pd.DataFrame({"path": ["a", "b"], "person_id": 1, "split": "train"})
    frame["camera_id"] = pd.Series(values, dtype=getattr(values, "dtype", object))
    with pytest.raises(InputError, match=sentence) as error:
        validate_table(frame, "album")
    seen(error.value)


def test_leading_zeros_make_another_name_and_are_said():
    frame = pd.DataFrame({"path": ["a", "b", "c"], "person_id": ["1", "0001", "2"], "split": "train"})
    table = concatenate_tables({"t": frame.assign(camera_id=["C1", "c1", "c2"])})
    assert table["person_id"].nunique() == 3
    assert [text for text in remarks(table) if "different ones" in text] == [
        "t: person_id 0001 and 1 are read as different ones: write them alike if they are the same",
        "t: camera_id C1 and c1 are read as different ones: write them alike if they are the same",
    ]


ODD_PEOPLE = {
    "unknown people": (
        {"person_id": ["7", "7", None, "-1", " ", "8"]},
        "t: 3 images of unknown people (no person_id): left out of the training: 1, "
        "gallery images that count neither as right nor as wrong: 2",
    ),
    "a person called nan": ({"person_id": ["7", "7", "nan", "nan", "9", "8"]}, "2 images show a person called nan"),
    "a camera called None": (
        {"person_id": list("773498"), "camera_id": ["None", "None", "1", "NA", "2", "3"]},
        "3 images come from a camera called None: leave camera_id empty",
    ),
    "a tracklet called nan": (
        {"person_id": list("773498"), "tracklet_id": ["nan", "nan", "1", "2", "3", "4"]},
        "2 images belong to a tracklet called nan: leave tracklet_id empty",
    ),
    "digits of full width": (
        {"person_id": ["7", "\uff17", "3", "4", "9", "8"]},
        r"person_id 7 and \uff17 are read as different ones",
    ),
    "a character that is not seen": (
        {"person_id": ["7", "7\u200b", "3", "4", "9", "8"]},
        r"person_id 7 and 7\u200b are read as different ones",
    ),
    "sharp s and two": (
        {"person_id": ["Gro\u00df", "GROSS", "3", "4", "9", "8"]},
        "person_id GROSS and Gro\u00df are read as different ones",
    ),
    "Market-1501's distractors": ({"person_id": ["7", "7", "0000", "0000", "9", "8"]}, "called 0000: Market-1501 calls"),
    "people of the test that train": ({"person_id": ["7", "7", "3", "4", "7", "8"]}, "1 of 3 people of the test also train"),
    "a query in its own gallery": (
        {"path": ["a.jpg", "a.jpg", "c.jpg", "d.jpg", "e.jpg", "f.jpg"], "person_id": list("773498")},
        "1 is a file with several rows (a.jpg for one); 1 of them lie in several splits",
    ),
}  # fmt: skip


@pytest.mark.fault(GROUP, "people who are unknown, shared by training and test, or in doubled rows")
@pytest.mark.parametrize(("columns", "sentence"), ODD_PEOPLE.values(), ids=ODD_PEOPLE)
def test_odd_people_are_said(columns, sentence, seen):
    frame = pd.DataFrame({"path": [f"{row}.jpg" for row in range(6)]})
    frame["split"] = ["query", "gallery", "gallery", "gallery", "train", "train"]
    found = remarks(concatenate_tables({"t": frame.assign(**columns)}))
    assert any(sentence in text for text in found), found
    seen(found[0])


@pytest.mark.fault(GROUP, "names with a / that run into each other")
def test_names_with_slashes_stay_apart(seen):
    rows = pd.DataFrame({"path": ["a", "b"], "person_id": "p", "split": "train"})
    table = concatenate_tables({"s": rows.assign(camera_id=["hall/1", "hall"], tracklet_id=["3", "1/3"])})
    assert tracklet_keys(table).nunique() == 2
    tables = {"shop": rows.assign(person_id="x/1"), "shop/x": rows.assign(person_id="1")}
    with pytest.raises(
        InputError, match=r"data\.sources has shop and shop/x: the keys SOURCE/PERSON"
    ) as error:
        concatenate_tables(tables)
    seen(error.value)


@pytest.mark.fault(GROUP, "a person called distractor beside distractors without a name")
def test_nobody_is_not_a_person_called_distractor(seen):
    frame = pd.DataFrame({"path": ["a", "b", "c"], "person_id": ["distractor", "distractor", None]})
    frame = frame.assign(split=["query", "gallery", "gallery"], distractor=[False, False, True])
    with pytest.raises(InputError, match=r"row 3 .*other rows with its person_id are not") as error:
        concatenate_tables({"t": frame})
    seen(error.value)


def test_a_category_of_true_and_false_is_read():
    frame = pd.DataFrame({"path": ["a", "b"], "person_id": ["x", "y"], "split": "gallery"})
    for cells in ([True, None], [True, False], ["yes", "no"]):
        table = concatenate_tables({"t": frame.assign(distractor=pd.Categorical(cells))})
        assert table["distractor"].tolist() == [True, False]


def test_a_healthy_table_has_no_remarks():
    people = [*"7788", "distractor", *"1234"]
    frame = pd.DataFrame({"path": [f"{row}.jpg" for row in range(9)], "person_id": people})
    frame["split"] = ["query", "gallery", "query", "gallery", "gallery", *["train"] * 4]
    assert not remarks(concatenate_tables({"t": frame.assign(distractor=frame["person_id"] == "distractor")}))


def picture(path, seed):
    colors = np.random.default_rng(seed).integers(0, 256, (4, 2, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), cv2.resize(colors, (16, 32)))
    return str(path)


@pytest.fixture
def album(tmp_path):
    """Eight people to train on and four to test, two cameras; a frame to be written as a table."""
    rows = []
    for person in range(12):
        for shot, camera in enumerate("1212"):
            split = "train" if person < 8 else ("query" if shot < 2 else "gallery")
            path = picture(tmp_path / "images" / f"{person}_{shot}.png", [person, shot])
            rows.append((path, f"{person:02d}", split, camera))
    return pd.DataFrame(rows, columns=["path", "person_id", "split", "camera_id"])


@pytest.fixture
def table(album, tmp_path):
    """Return a function that writes the album with further rows, and returns the file."""

    def write(*rows, **columns):
        frame = pd.concat([album, pd.DataFrame(rows, columns=album.columns)], ignore_index=True)
        frame.assign(**columns).to_csv(tmp_path / "album.csv", index=False)
        return tmp_path / "album.csv"

    return write


def modules(*files):
    found = []
    for file in files:
        data = ReIDDataModule(
            {"album": file}, [32, 16], batch_size=64, num_workers=0, validation=None, cache=False
        )
        data.prepare_data()
        data.setup()
        found.append(data)
    return found


def test_unknown_people_are_kept_and_leave_training_and_ranking_as_they_are(table, tmp_path):
    """Their rows stand last, so that the codes of all others may be compared one by one."""
    plain = table().rename(tmp_path / "plain.csv")
    added = [(None, "train"), ("-1", "gallery"), (" ", "gallery"), ("-1", "query")]
    unknown = [
        (picture(tmp_path / f"{row}.png", row), person, split, "1")
        for row, (person, split) in enumerate(added)
    ]
    one, other = modules(plain, table(*unknown))
    assert len(other.table) == len(one.table) + 4
    assert other.identity_labels == one.identity_labels
    for name in ("train", "query", "gallery"):
        assert one._rows(name).tolist() == other._rows(name).tolist()
    assert other._coded().person_ids[-4:].tolist() == other._coded().labels[-4:].tolist() == [-1] * 4
    left, right = (next(iter(data.test_dataloader())) for data in (one, other))
    for name, values in left.items():
        assert bool((values == right[name]).all()), name


def test_a_split_val_in_which_nobody_is_known_leaves_the_share_to_be_held_out(table, tmp_path):
    """Without it, no epoch would be chosen by a validation that was asked for."""
    rows = [(picture(tmp_path / f"v{row}.png", row), None, "val", "1") for row in range(3)]
    data = ReIDDataModule({"album": table(*rows)}, [32, 16], num_workers=0, validation=0.25, cache=False)
    data.setup()
    assert data.has_validation
    assert data.num_identities == 6
    assert data.table.loc[data._rows("val"), "person_id"].nunique() == 2


def test_cameras_written_in_two_ways_are_one(table):
    cameras = ["1" if row % 2 else "1.0" for row in range(48)]
    (data,) = modules(table(camera_id=cameras))
    assert set(data._coded().camera_ids.tolist()) == {0}


TINY = (
    "data=table", "data.weights=null", "data.image_size=[32,16]", "data.num_workers=0", "data.validation=0.3",
    "sampler.identities=2", "sampler.images_per_identity=2", "trainer.accelerator=cpu", "trainer.max_epochs=1",
)  # fmt: skip


def trained(commands, file, folder, *overrides):
    """Train on a table; the run and its cache lie in a folder."""
    run = f"hydra.run.dir={folder / 'run'}"
    cache = str(folder / "cache")
    return commands.run("train.py", *TINY, f"data.root={file}", run, *overrides, REID_LIGHTNING_CACHE=cache)


@pytest.mark.fault(GROUP, "unknown people in a whole run")
def test_a_run_with_unknown_people(commands, table, tmp_path, seen):
    splits = ["train", "query", "gallery"]
    unknown = [(picture(tmp_path / f"{row}.png", row), None, split, "1") for row, split in enumerate(splits)]
    run = tmp_path / "run"
    ended = trained(commands, table(*unknown), tmp_path)
    assert ended.code == 0, ended.err
    said = [line for line in (ended.out + ended.err).splitlines() if "unknown people (no person_id)" in line]
    assert len(said) == 1, ended.out + ended.err
    queries = pd.read_csv(run / "queries.csv", dtype=str)
    assert len(queries) == 8
    assert queries["person_id"].notna().all()
    seen(said[0].split(" - ")[-1])


@pytest.mark.fault(GROUP, "images that are missing, with and without the image cache")
@pytest.mark.parametrize("cache", ["true", "false"])
def test_missing_images_are_found_before_anything_else(commands, table, tmp_path, cache, seen):
    file = table((tmp_path / "nowhere.png", "20", "gallery", "1"), (tmp_path, "21", "gallery", "1"))
    ended = trained(commands, file, tmp_path, f"data.cache={cache}")
    assert re.search(r"nowhere\.png cannot be read: .* \(1 more of 50 images are missing", ended.sentence)
    assert not (tmp_path / "run" / "checkpoints").exists()
    seen(ended.sentence.replace(f"{tmp_path}/", ""))


@pytest.mark.fault(GROUP, "`reid data check` of a table whose images are all missing")
def test_a_check_finds_missing_images(commands, tmp_path, seen):
    (tmp_path / "t.csv").write_text(CSV)
    ended = commands.run("reid", "data", "check", "data=table", f"data.root={tmp_path / 't.csv'}")
    assert "a.jpg cannot be read: No such file or directory (1 more of 2 images are missing" in ended.sentence
    seen(ended.sentence.replace(f"{tmp_path}/", ""))


@pytest.mark.fault(GROUP, "a table that cannot be tested or trained on, before its images are decoded")
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"split": ["train", "query"] * 24}, "only one of the splits query and gallery"),
        ({"person_id": None}, "no rows of split train whose person is known"),
        ({"split": "gallery"}, "no rows of split train"),
        (
            {"person_id": [f"p{row}" for row in range(48)]},
            "None of the queries has its person in the gallery",
        ),
    ],
)
def test_splits_are_checked_first(commands, table, tmp_path, changes, sentence, seen):
    file = table(**changes)
    for image in (tmp_path / "images").iterdir():
        image.write_bytes(b"not an image, which a run would say if it had decoded it")
    ended = trained(commands, file, tmp_path)
    assert sentence in ended.sentence
    seen(ended.sentence)


cells = st.one_of(
    st.none(), st.text(max_size=6), st.integers(), st.floats(), st.booleans(), st.binary(max_size=3),
    st.sampled_from(["1", "1.0", "-1", "0001", "nan", "train", "query", "gallery", " ", "a.jpg", "true"]),
    st.dates(), st.lists(st.integers(), max_size=1), st.decimals(allow_nan=False), st.just(pd.NaT), st.just(pd.NA),
)  # fmt: skip
names = st.sampled_from(["path", "person_id", "split", "camera_id", "tracklet_id", "frame_id", "distractor", "source",
                         "age", "keypoints", "note", "camid", "Path", 7, ""])  # fmt: skip
good = {
    "path": st.sampled_from([f"{row}.jpg" for row in range(9)]),
    "split": st.sampled_from(["train", "gallery"]),
}


@st.composite
def frames(draw):
    rows = draw(st.integers(0, 5))
    columns = {"path", "person_id", "split"} | set(draw(st.lists(names, max_size=4)))
    tame = draw(st.booleans())
    data = {
        name: pd.Series(
            [draw(good[name] if tame and name in good else cells) for _ in range(rows)], dtype=object
        )
        for name in sorted(columns, key=str)
    }
    return pd.DataFrame(data)


@pytest.mark.fault(GROUP, "random tables in memory (hypothesis)")
@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(frames())
def test_random_tables_are_read_or_refused(frame):
    try:
        table = concatenate_tables({"t": frame})
    except InputError:
        return
    remarks(table)
    pd.testing.assert_frame_equal(validate_table(table, "t"), table)


words = st.sampled_from(["path", "person_id", "split", "a", "1", "train", '"', "\r", "", " ", "é"])
lines_of_words = st.lists(st.lists(words, max_size=4).map(",".join))
lines_of_text = st.lists(st.lists(st.text(max_size=4), min_size=3, max_size=3).map(",".join), max_size=3)
with_header = lines_of_text.map(lambda lines: ["path,person_id,split", *lines])


@pytest.mark.fault(GROUP, "random text as a table (hypothesis)")
@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    st.one_of(
        st.binary(max_size=60),
        st.one_of(lines_of_words, with_header).map(lambda lines: "\n".join(lines).encode("utf-8", "replace")),
    ),
    st.sampled_from(["csv", "tsv", "parquet"]),
)
def test_random_files_are_read_or_refused(tmp_path_factory, content, ending):
    folder = tmp_path_factory.getbasetemp()
    (folder / f"random.{ending}").write_bytes(content)
    (folder / "attributes.csv").write_bytes(content)
    with suppress(InputError):
        read(folder / f"random.{ending}")
    with suppress(InputError):
        read_attributes(folder / "attributes.csv")
