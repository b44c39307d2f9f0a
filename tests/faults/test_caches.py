"""Cache files of images, and generated sets, that were damaged, cut, changed or cannot be written."""

import io
import logging
import os
import shutil
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from reid_lightning.data import image_cache
from reid_lightning.data.cache_file import CachedImages
from reid_lightning.data.decoding import decode_image
from reid_lightning.data.faces.dataset import read_faces
from reid_lightning.data.image_cache import DecodedImages, open_images
from reid_lightning.errors import InputError

SIZE, COUNT = (16, 8), 6
ROW, HEADER = 16 * 8 * 3, 128


@pytest.fixture
def paths(tmp_path):
    found = []
    for number in range(COUNT):
        found.append(str(tmp_path / f"{number}.png"))
        noise = np.random.default_rng(number).integers(0, 256, (20, 10, 3), dtype=np.uint8)
        cv2.imwrite(found[-1], noise)
    return found


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def put(data, place, part):
    return data[:place] + part + data[place + len(part) :]


def other_array(shape, dtype):
    def write(data):
        stream = io.BytesIO()
        np.save(stream, np.zeros(shape, dtype))
        return stream.getvalue()

    return write


DAMAGE = {
    "empty": lambda data: b"",
    "cut in the header": lambda data: data[:60],
    "cut in the pixels": lambda data: data[: HEADER + 2 * ROW],
    "cut by one byte": lambda data: data[:-1],
    "without the checksums": lambda data: data[: HEADER + COUNT * ROW],
    "longer": lambda data: data + b"\0",
    "twice": lambda data: data + data,
    "all zeros": lambda data: bytes(len(data)),
    "a text": lambda data: b"no images",
    "fewer images": other_array((COUNT - 1, *SIZE, 3), np.uint8),
    "another size": other_array((COUNT, 8, 16, 3), np.uint8),
    "another type": other_array((COUNT, *SIZE, 3), np.float32),
    "another header": lambda data: put(data, 0, b"PK\x03\x04"),
    "a changed checksum": lambda data: put(data, HEADER + COUNT * ROW + 3, b"\x17"),
    "a changed end": lambda data: put(data, len(data) - 20, b"\x17"),
}
IN_A_ROW = {
    "a row of zeros": lambda data: put(data, HEADER + 2 * ROW, bytes(ROW)),
    "one other byte": lambda data: put(data, HEADER + 2 * ROW + 7, bytes([data[HEADER + 2 * ROW + 7] ^ 1])),
    "a row of another image": lambda data: put(data, HEADER + 2 * ROW, data[HEADER : HEADER + ROW]),
    "all pixels zero": lambda data: put(data, HEADER, bytes(COUNT * ROW)),
}


def assert_right(images, paths):
    for row, path in enumerate(paths):
        assert np.array_equal(images[row], decode_image(path, SIZE))


@pytest.mark.fault("Caches", "a file of the image cache is cut, empty or another one")
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_cache_file_is_built_again(paths, folder, damage, caplog, seen):
    target = open_images(paths, SIZE, folder=folder).path
    target.write_bytes(DAMAGE[damage](target.read_bytes()))
    images = open_images(paths, SIZE, folder=folder)
    assert isinstance(images, CachedImages)
    assert_right(images, paths)
    (said,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "is damaged (" in said
    caplog.clear()
    assert_right(open_images(paths, SIZE, folder=folder), paths)
    assert not caplog.records
    seen(said.replace(str(folder), "CACHE").replace(target.name, "FILE"))


@pytest.mark.fault("Caches", "pixels in the image cache are changed")
@pytest.mark.parametrize("damage", IN_A_ROW)
@pytest.mark.parametrize("when", ["before it is opened", "while it is read"])
def test_changed_pixels_are_never_served(paths, folder, damage, when, caplog, seen):
    images = open_images(paths, SIZE, folder=folder)
    data = IN_A_ROW[damage](images.path.read_bytes())
    with images.path.open("r+b") as file:
        file.write(data)
    if when == "before it is opened":
        images = open_images(paths, SIZE, folder=folder)
    assert_right(images, paths)
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(said) == 1
    assert not images.path.exists()
    assert_right(images, paths)
    again = open_images(paths, SIZE, folder=folder)
    assert again.path.exists()
    assert_right(again, paths)
    seen(said[0].replace(str(folder), "CACHE").replace(images.path.name, "FILE"))


@pytest.mark.fault("Caches", "a file of the image cache is cut or removed while a run reads it")
@pytest.mark.parametrize("length", [0, 100, HEADER + 2 * ROW, HEADER + 2 * ROW + 10, None])
def test_a_file_that_is_cut_while_it_is_read_harms_nothing(paths, folder, length, seen):
    images = open_images(paths, SIZE, folder=folder)
    if length is None:
        images.path.unlink()
    else:
        os.truncate(images.path, length)
    assert_right(images, paths)
    seen("the run goes on, and decodes these images again")


@pytest.mark.fault("Caches", "a folder of the image cache that cannot be written")
@pytest.mark.parametrize("kind", ["a file", "below a file", "full while writing"])
def test_without_a_cache_folder_images_are_decoded_on_the_fly(
    paths, tmp_path, monkeypatch, kind, caplog, seen
):
    folder = tmp_path / "cache"
    if kind == "full while writing":

        def full(*arguments):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(image_cache.os, "posix_fallocate", full)
    else:
        folder.write_text("")
        folder = folder if kind == "a file" else folder / "images"
    images = open_images(paths, SIZE, folder=folder)
    assert isinstance(images, DecodedImages)
    assert_right(images, paths)
    (said,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "decoded on the fly" in said
    seen(said.replace(str(tmp_path), "DIR"))


@pytest.mark.fault("Caches", "a read-only folder of the image cache")
@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_cache_is_read(paths, folder):
    open_images(paths, SIZE, folder=folder)
    folder.chmod(0o500)
    try:
        assert isinstance(open_images(paths, SIZE, folder=folder), CachedImages)
        assert isinstance(open_images(paths[:2], SIZE, folder=folder), DecodedImages)
    finally:
        folder.chmod(0o700)


def test_a_whole_cache_file_is_opened_without_writing(paths, folder, monkeypatch):
    open_images(paths, SIZE, folder=folder)

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    for name in ("file_lock", "atomic_path"):
        monkeypatch.setattr(image_cache, name, refuse)
    monkeypatch.setattr(image_cache.os, "utime", refuse)
    assert isinstance(open_images(paths, SIZE, folder=folder), CachedImages)
    assert isinstance(open_images(paths[:2], SIZE, folder=folder), DecodedImages)


def test_a_cache_with_damaged_rows_is_refused_and_skipped_alike(paths, folder, tmp_path):
    (tmp_path / "3.png").write_text("a text")
    images = open_images(paths, SIZE, folder=folder, skip_damaged=True)
    again = open_images(paths, SIZE, folder=folder, skip_damaged=True)
    assert list(images.damaged) == list(again.damaged) == [3]
    kept = again.select(np.array([0, 1, 2, 4, 5]))
    assert np.array_equal(kept[3], decode_image(paths[4], SIZE))
    assert len(kept) == 5
    with pytest.raises(InputError, match=r"3\.png is corrupt"):
        open_images(paths, SIZE, folder=folder)
    with pytest.raises(InputError, match=r"3\.png is corrupt"):
        images[3]


@pytest.fixture
def faces(tmp_path, monkeypatch):
    monkeypatch.setenv("REID_LIGHTNING_CACHE", str(tmp_path / "home"))
    return lambda root=None: read_faces(root, 2, 2, 3, 32)


def contents(table):
    return [Path(path).read_bytes() for path in table["path"]]


CHANGES = {
    "a picture removed": lambda path: path.unlink(),
    "a picture changed": lambda path: path.write_bytes(path.read_bytes()[:-2] + b"\0\0"),
    "a picture cut": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "a picture replaced, its time kept": lambda path: keep_time(path, b"\0" * path.stat().st_size),
    "a picture added": lambda path: shutil.copy(path, path.with_name("999.jpg")),
    "a picture renamed": lambda path: path.rename(path.with_name("998.jpg")),
    "the list of pictures damaged": lambda path: (path.parents[2] / "faces.files.json").write_text("["),
}


def keep_time(path, data):
    status = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.fault("Caches", "pictures of a generated set are removed, changed or added")
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_generated_set_is_drawn_again(faces, change, caplog, seen):
    table = faces()
    before = contents(table)
    time.sleep(0.02)  # the clock of a file system
    CHANGES[change](Path(table["path"].iloc[1]))
    caplog.clear()
    again = faces()
    assert contents(again) == before
    assert list(again["path"]) == list(table["path"])
    (said,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    seen(said[said.index("is not as") :])
    caplog.clear()
    faces()
    assert not caplog.records


@pytest.mark.fault("Caches", "pictures of a generated set are removed, changed or added")
def test_a_generated_set_in_a_folder_of_the_users_is_refused(faces, tmp_path, seen):
    root = tmp_path / "mine"
    table = faces(root)
    os.unlink(table["path"].iloc[0])
    with pytest.raises(InputError, match=r"is not as it was drawn .* missing") as error:
        faces(root)
    assert root.exists()
    seen(str(error.value).replace(str(tmp_path), "DIR"))


def test_a_copied_or_earlier_generated_set_is_taken(faces, tmp_path, caplog):
    table = faces(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert contents(faces(tmp_path / "two")) == contents(table)
    (tmp_path / "two" / "faces.files.json").unlink()
    assert len(faces(tmp_path / "two")) == len(table)
    assert not [record for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.fault("Caches", "leftovers of a killed drawing")
@pytest.mark.parametrize(
    "name", ["{set}.{host}-4194304.0123abcd.part", "faces-0123456789ab.{host}-4194304.0123abcd.part"]
)
def test_leftovers_of_killed_drawings_are_removed(faces, tmp_path, name):
    from reid_lightning.files import _host

    folder = Path(faces()["path"].iloc[0]).parents[2]
    leftover = folder.parent / ("." + name.format(set=folder.name, host=_host()))
    leftover.mkdir()
    (leftover / "x.jpg").write_text("")
    faces()
    assert not leftover.exists()


def test_leftovers_of_earlier_versions_are_removed_after_a_day(faces):
    folder = Path(faces()["path"].iloc[0]).parents[2]
    old, young = (folder.with_name(f".{folder.name}.{mark}.part") for mark in ("01234567", "89abcdef"))
    for leftover in (old, young):
        leftover.mkdir()
    os.utime(old, (time.time() - 100_000,) * 2)
    faces()
    assert not old.exists()
    assert young.exists()


@pytest.mark.fault("Caches", "the image cache of a run is damaged between two commands")
@pytest.mark.parametrize("damage", ["a row of zeros", "all pixels zero", "cut in the pixels", "empty"])
def test_a_run_gives_the_same_numbers(tmp_path, commands, monkeypatch, damage, seen):
    monkeypatch.setenv("REID_LIGHTNING_CACHE", str(tmp_path / "home"))
    rows = []
    for person in range(4):
        for shot in range(4):
            path = tmp_path / f"{person}_{shot}.png"
            noise = np.random.default_rng([person, shot]).integers(0, 256, (20, 10, 3), dtype=np.uint8)
            cv2.imwrite(str(path), noise)
            split = "train" if person < 2 else ("query", "gallery")[shot % 2]
            rows.append({"path": path.name, "person_id": person, "split": split, "camera_id": shot})
    pd.DataFrame(rows).to_csv(tmp_path / "table.csv", index=False)

    def run(name):
        ended = commands.run(
            "train.py", "data=table", f"data.root={tmp_path / 'table.csv'}", "data.image_size=[16,8]",
            "data.num_workers=0", "data.validation=none", "sampler.identities=2", "sampler.images_per_identity=2",
            "trainer.accelerator=cpu", "trainer.max_epochs=1", f"hydra.run.dir={tmp_path / name}", cwd=tmp_path,
        )  # fmt: skip
        assert ended.code == 0, ended.err[-2000:]
        return pd.read_csv(tmp_path / name / "queries.csv"), ended.out + ended.err

    numbers, _ = run("before")
    (cache,) = (tmp_path / "home" / "images").glob("*.npy")
    cache.write_bytes((DAMAGE | IN_A_ROW)[damage](cache.read_bytes()))
    again, said = run("after")
    pd.testing.assert_frame_equal(again, numbers)
    assert "The image cache file" in said
    seen("the same numbers, and a line in the log")
