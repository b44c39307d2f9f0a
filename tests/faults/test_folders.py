"""Odd folders: every image belongs to the person that its folder says, or one sentence says why not."""

import os
import shutil

import cv2
import numpy as np
import pytest

from reid_lightning.data.readers.cuhk01 import read_cuhk01
from reid_lightning.data.readers.identity_folder import read_identity_folder
from reid_lightning.data.readers.image_files import IMAGE_SUFFIXES, images_below
from reid_lightning.data.readers.market1501 import read_market1501
from reid_lightning.data.readers.mars import INFO, read_mars
from reid_lightning.data.readers.msmt17 import LISTS, read_msmt17
from reid_lightning.data.readers.prid2011 import read_prid2011, read_prid2011_video
from reid_lightning.data.readers.viper import read_viper
from reid_lightning.errors import InputError

GROUP = "Folders"
LATIN1 = os.fsdecode("Jos\xe9".encode("latin1"))


def fill(root, *files):
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def people(root, *names, shots=("1.jpg", "2.jpg")):
    return fill(root, *(f"{name}/{shot}" for name in names for shot in shots))


def splits(root, *names):
    for name in names:
        people(root / name, "ann" if name.lower().startswith("tr") else "bob")
    return root


def linked(link, target):
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target, target_is_directory=True)


def test_capitals_make_no_people(tmp_path):
    table = read_identity_folder(splits(tmp_path, "Train", "QUERY", "Gallery"))
    pairs = table[["split", "person_id"]].drop_duplicates()
    assert set(pairs.itertuples(index=False, name=None)) == {
        ("train", "ann"),
        ("query", "bob"),
        ("gallery", "bob"),
    }


@pytest.mark.fault(GROUP, "folders of splits under other names")
@pytest.mark.parametrize(
    ("folders", "sentence"),
    [
        (("Training", "Query", "Gallery"), "Training, which looks like a split and not like a person: call it train"),
        (("train", "probe", "gallery"), "probe, which looks like a split .*: call it query"),
        (("train", "test"), "test, which looks like a split .*: sort its images into the folders query and gallery"),
        (("train", "Test_Set"), "Test_Set, which looks like a split"),
        (("train", "validation", "query", "gallery"), "validation, which looks like a split .*: call it val"),
        (("bounding_box_train", "bounding_box_test", "query"), "is read with data=market1501"),
        (("bounding_box_train", "bounding_box_test"), "is read with data=market1501"),
        (("train", "query", "gallery", "extras"), "holds the folder extras beside gallery"),
    ],
)  # fmt: skip
def test_other_names_of_splits_are_refused(tmp_path, folders, sentence, seen):
    with pytest.raises(InputError, match=sentence) as error:
        read_identity_folder(splits(tmp_path, *folders))
    seen(str(error.value).replace(str(tmp_path), "DIR"))


@pytest.mark.fault(GROUP, "folders a level off")
@pytest.mark.parametrize(
    ("trees", "sentence"),
    [
        (
            ("faces/ann", "faces/bob"),
            r"holds only the folder faces, as if it were a person: use data.root=.*/faces",
        ),
        (("all/train/ann", "all/query/bob", "all/gallery/bob"), "use data.root=.*/all"),
        (
            ("a/train/ann", "a/query/bob", "b/train/ann"),
            "a/query is a folder of a split where one of a person",
        ),
        (("train/train/ann", "query/bob", "gallery/bob"), "train/train is a folder of a split"),
        (("train/ann", "query/bob", "gallery/gallery/bob"), "gallery/gallery is a folder of a split"),
        (("ann/train", "ann/gallery", "bob/gallery"), "ann/gallery is a folder of a split"),
    ],
)
def test_levels_off_are_refused(tmp_path, trees, sentence, seen):
    with pytest.raises(InputError, match=sentence) as error:
        read_identity_folder(people(tmp_path, *trees))
    seen(str(error.value).replace(str(tmp_path), "DIR"))


@pytest.mark.fault(GROUP, "images beside the folders of people")
@pytest.mark.parametrize("file", ["x.jpg", "x.TIF", "train/x.webp"])
def test_images_of_nobody_are_refused(tmp_path, file, seen):
    splits(tmp_path, "train", "query", "gallery") if "/" in file else people(tmp_path, "ann", "bob")
    with pytest.raises(InputError, match="is not in a person's folder") as error:
        read_identity_folder(fill(tmp_path, file))
    seen(str(error.value).replace(str(tmp_path), "DIR"))


@pytest.mark.fault(GROUP, "endings of images, in small letters and capitals")
@pytest.mark.parametrize("ending", [*IMAGE_SUFFIXES, *(suffix.upper() for suffix in IMAGE_SUFFIXES)])
def test_every_ending_is_read_by_every_reader(tmp_path, ending, seen):
    fill(tmp_path / "folder", *(f"{name}/1{ending}" for name in ("ann", "bob")))
    assert len(read_identity_folder(tmp_path / "folder", test_fraction=0)) == 2
    market = fill(
        tmp_path / "market",
        *(f"bounding_box_train/000{k}_c1s1_000001_00{ending}" for k in (1, 2)),
        f"query/0003_c1s1_000001_00{ending}",
        f"bounding_box_test/0003_c2s1_000001_00{ending}",
    )
    assert len(read_market1501(market)) == 4
    viper = fill(tmp_path / "viper", *(f"cam_{c}/00{k}_45{ending}" for c in "ab" for k in (1, 2)))
    assert len(read_viper(viper, test_identities=1)) == 4
    campus = fill(tmp_path, *(f"campus/000{k}00{n}{ending}" for k in (1, 2) for n in (1, 3)))
    assert len(read_cuhk01(campus, test_identities=1)) == 4
    single = fill(
        tmp_path / "prid", *(f"single_shot/cam_{c}/person_000{k}{ending}" for c in "ab" for k in (1, 2))
    )
    assert len(read_prid2011(single, test_identities=1)) == 4
    seen("nothing: every reader reads them")


def test_every_ending_can_be_decoded(tmp_path):
    from reid_lightning.data.image_cache import decode_image

    for ending in IMAGE_SUFFIXES:
        assert cv2.imwrite(str(tmp_path / f"x{ending}"), np.full((8, 4, 3), 90, np.uint8))
        assert abs(int(decode_image(str(tmp_path / f"x{ending}"), (8, 4)).mean()) - 90) <= 1


@pytest.mark.fault(GROUP, "files that are not images, and people without any")
def test_what_is_not_read_is_said(tmp_path, caplog, seen):
    people(tmp_path, "ann", "bob")
    fill(
        tmp_path,
        "ann/3.heic",
        "ann/4.HEIC",
        "ann/5.gif",
        "bob/notes",
        "bob/Thumbs.db",
        "bob/.hidden.jpg",
        "cid/1.gif",
    )
    (tmp_path / "dan").mkdir()
    os.mkfifo(tmp_path / "ann" / "pipe.jpg")
    table = read_identity_folder(tmp_path, test_fraction=0)
    assert len(table) == 4
    assert set(table["person_id"]) == {"ann", "bob"}
    said = " ".join(caplog.messages).replace(str(tmp_path), "DIR")
    assert "DIR: 6 files are not read, because they are not images" in said
    assert "2 .heic, 2 .gif" in said
    assert "1 that are no files (a pipe, device or socket)" in said
    assert "DIR: 2 people have no image and are left out: cid, dan" in said
    seen(said)


def test_half_a_tree_in_another_format_is_half_a_tree_and_said(tmp_path, caplog):
    fill(
        tmp_path,
        *(f"bounding_box_train/000{k}_c1s1_000001_00.{'jpg' if k % 2 else 'heic'}" for k in range(1, 9)),
    )
    fill(tmp_path, "query/0010_c1s1_000001_00.jpg", "bounding_box_test/0010_c2s1_000001_00.jpg")
    assert len(read_market1501(tmp_path)) == 6
    assert "4 files are not read" in caplog.text
    assert "4 .heic" in caplog.text


LINKS = {
    "to the parent folder": ("ann/loop", ".."),
    "to itself": ("ann/loop", "."),
    "to the folder above the root": ("ann/loop", "../.."),
    "to the root of the disk": ("ann/loop", "/"),
    "to another person": ("ann/more", "../bob"),
    "a person twice": ("anna", "ann"),
    "in a ring": ("ann/a/b", "../../ann/a"),
}


@pytest.mark.fault(GROUP, "links to folders that are read already, or around them")
@pytest.mark.parametrize(("link", "target"), LINKS.values(), ids=LINKS)
def test_links_into_the_tree_are_refused(tmp_path, link, target, seen):
    root = people(tmp_path / "data", "ann", "bob")
    people(tmp_path, "other")
    linked(root / link, target)
    with pytest.raises(InputError, match=f"{link} leads to .* remove this link") as error:
        read_identity_folder(root)
    with pytest.raises(InputError, match=f"{link} leads to .* remove this link"):
        images_below(root)
    seen(str(error.value).replace(str(tmp_path), "DIR"))


@pytest.mark.fault(GROUP, "two links to one folder outside")
def test_one_folder_is_one_person(tmp_path, seen):
    outside = people(tmp_path / "outside", "x")
    root = people(tmp_path / "data", "bob")
    linked(root / "ann", outside / "x")
    linked(root / "cid", outside / "x")
    with pytest.raises(InputError, match=r"leads to .*, whose images are read already") as error:
        read_identity_folder(root)
    seen(str(error.value).replace(str(tmp_path), "DIR"))


def test_links_inside_a_folder_outside_end(tmp_path):
    outside = people(tmp_path / "outside", "x")
    linked(outside / "x" / "again", outside / "x")
    root = people(tmp_path / "data", "bob")
    linked(root / "ann", outside / "x")
    with pytest.raises(InputError, match="again leads to"):
        read_identity_folder(root)


def test_links_to_files_and_folders_outside_are_followed(tmp_path):
    outside = people(tmp_path / "outside", "x", "y")
    root = people(tmp_path / "data", "bob")
    linked(root / "ann", outside / "x")
    linked(root / "bob" / "more", outside / "y")
    (root / "bob" / "3.jpg").symlink_to(fill(tmp_path, "z.jpg") / "z.jpg")
    linked(tmp_path / "data_too", root)
    for folder in (root, tmp_path / "data_too"):
        table = read_identity_folder(folder, test_fraction=0)
        assert table["person_id"].value_counts().to_dict() == {"bob": 5, "ann": 2}


@pytest.mark.fault(GROUP, "links that lead nowhere")
@pytest.mark.parametrize("link", ["cid", "ann/3.jpg", "ann/more", "ann/self.jpg"])
def test_broken_links_are_refused(tmp_path, link, seen):
    people(tmp_path, "ann", "bob")
    (tmp_path / link).symlink_to("self.jpg" if "self" in link else "gone")
    with pytest.raises(InputError, match=f"{link} is a link to .*, which is not there") as error:
        read_identity_folder(tmp_path)
    seen(str(error.value).replace(str(tmp_path), "DIR"))


@pytest.mark.fault(GROUP, "names that are not UTF-8")
@pytest.mark.parametrize("where", ["person", "image", "folder", "root", "market", "split"])
def test_names_of_other_bytes_are_refused(tmp_path, where, seen):
    root = tmp_path / (LATIN1 if where == "root" else "data")
    read = read_identity_folder
    people(root, "ann", "bob")
    if where == "person":
        people(root, LATIN1)
    elif where == "image":
        fill(root, f"ann/{LATIN1}.jpg")
    elif where == "folder":
        fill(root, f"ann/{LATIN1}/1.jpg")
    elif where == "split":
        shutil.rmtree(root)
        people(root, "train/ann", f"query/{LATIN1}", f"gallery/{LATIN1}")
    elif where == "market":
        fill(root, f"bounding_box_train/{LATIN1}.jpg", "bounding_box_test/1.jpg", "query/1.jpg")
        read = read_market1501
    with pytest.raises(InputError, match="not UTF-8: rename it") as error:
        read(root)
    assert "Jos" in str(error.value)
    str(error.value).encode()
    seen(str(error.value).replace(str(tmp_path), "DIR"))


def test_names_that_are_not_read_may_be_of_any_bytes(tmp_path):
    people(tmp_path, "ann", "bob")
    fill(tmp_path, f"ann/{LATIN1}.txt")
    assert len(read_identity_folder(tmp_path)) == 4


def test_an_accent_is_one_letter_however_it_is_encoded(tmp_path):
    people(tmp_path, "train/cid", "query/Jos\xe9", "gallery/Jose\u0301")
    assert set(read_identity_folder(tmp_path)["person_id"]) == {"cid", "Jos\xe9"}


@pytest.mark.fault(GROUP, "folders of public data sets that are empty, flat or deep")
@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (["bounding_box_train/0001/1.jpg", "query/x", "bounding_box_test/x"], "holds no images named like"),
        (["bounding_box_train/cat.jpg", "query/x", "bounding_box_test/x"], "cat.jpg is not named like"),
        (["bounding_box_train/x"], "lacks query, bounding_box_test"),
        (["a/bounding_box_train/x", "a/query/x", "a/bounding_box_test/x"], "the level below does"),
    ],
)
def test_market_trees_that_are_none(tmp_path, files, sentence, seen):
    with pytest.raises(InputError, match=sentence) as error:
        read_market1501(fill(tmp_path, *files))
    seen(str(error.value).replace(str(tmp_path), "DIR"))


@pytest.mark.fault(GROUP, "lists of public data sets that are damaged")
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"\x00" * 40, b"0000/x.jpg\n", os.urandom(200)])
def test_damaged_lists_are_refused(tmp_path, content, seen):
    for name in (*LISTS.values(), *INFO.values()):
        fill(tmp_path, name)
        (tmp_path / name).write_bytes(content)
    fill(tmp_path, "train/x", "test/x", "bbox_train/x", "bbox_test/x")
    for read in (read_msmt17, read_mars):
        with pytest.raises(InputError) as error:
            read(tmp_path)
    seen(str(error.value).replace(str(tmp_path), "DIR").split(":")[0])


@pytest.mark.fault(GROUP, "walks whose folders link to each other")
def test_links_between_walks_are_refused(tmp_path, seen):
    for camera in "ab":
        people(
            tmp_path / "multi_shot" / f"cam_{camera}",
            *(f"person_000{k}" for k in (1, 2)),
            shots=("0001.png",),
        )
    linked(tmp_path / "multi_shot/cam_a/person_0003", "person_0001")
    with pytest.raises(InputError, match="person_0003 leads to") as error:
        read_prid2011_video(tmp_path, min_frames=1, test_identities=1)
    seen(str(error.value).replace(str(tmp_path), "DIR"))


@pytest.mark.fault(GROUP, "a folder with a link loop on the command line")
def test_commands_end_at_loops(commands, tmp_path, seen):
    linked(people(tmp_path, "ann", "bob") / "ann" / "loop", "..")
    ended = commands.run("reid", "data", "check", "data=identity_folder", f"data.root={tmp_path}")
    assert "ann/loop leads to" in ended.sentence
    seen(ended.sentence.replace(str(tmp_path), "DIR"))
