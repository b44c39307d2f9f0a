import os
import pickle
import signal
import subprocess
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import start_python, wait_until
from tiny_trees import write_image

from reid_lightning.data import image_cache
from reid_lightning.data.image_cache import CachedImages, DecodedImages, cache_key, decode_image, open_images
from reid_lightning.errors import InputError

SIZE = (16, 8)
BYTES = 16 * 8 * 3


@pytest.fixture
def paths(tmp_path):
    return [str(write_image(tmp_path / "images" / f"{name}.jpg", name)) for name in range(5)]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def test_rows_are_the_decoded_images_in_order(paths, folder):
    images = open_images(paths, SIZE, folder=folder)
    assert isinstance(images, CachedImages)
    assert len(images) == 5
    for row, path in enumerate(paths):
        whole = cv2.imread(path)[..., ::-1]  # OpenCV reads blue first
        expected = cv2.resize(whole, SIZE[::-1], interpolation=cv2.INTER_AREA)
        assert np.array_equal(images[row], expected)
        assert np.array_equal(DecodedImages(paths, SIZE)[row], expected)


def test_enlarging_is_bilinear(paths):
    expected = cv2.resize(cv2.imread(paths[0])[..., ::-1], (40, 60), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(decode_image(paths[0], (60, 40)), expected)


def test_grey_and_transparent_images_become_three_channels(tmp_path):
    grey, transparent = np.full((20, 10), 7, np.uint8), np.full((20, 10, 4), 200, np.uint8)
    cv2.imwrite(str(tmp_path / "grey.png"), grey)
    cv2.imwrite(str(tmp_path / "transparent.png"), transparent)
    assert (decode_image(str(tmp_path / "grey.png"), SIZE) == 7).all()
    assert decode_image(str(tmp_path / "transparent.png"), SIZE).shape == (*SIZE, 3)


def test_the_second_opening_decodes_nothing(paths, folder, monkeypatch):
    first = open_images(paths, SIZE, folder=folder)
    monkeypatch.setattr(image_cache, "decode_image", lambda *_: pytest.fail("decoded again"))
    second = open_images(paths, SIZE, folder=folder)
    assert first.path == second.path


def test_the_key_is_files_and_size(paths):
    key = cache_key(paths, SIZE)
    assert cache_key(list(paths), SIZE) == key
    assert cache_key(paths[::-1], SIZE) != key
    assert cache_key(paths, (8, 16)) != key
    assert cache_key([os.path.relpath(path) for path in paths], SIZE) == key
    os.utime(paths[2], ns=(1, 1))
    touched = cache_key(paths, SIZE)
    assert touched != key
    Path(paths[2]).write_bytes(Path(paths[2]).read_bytes() + b"\0")
    os.utime(paths[2], ns=(1, 1))
    assert cache_key(paths, SIZE) not in (key, touched)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp"])
@pytest.mark.parametrize("keep", [0, 0.3, 0.9])
def test_truncated_images_are_named(tmp_path, folder, suffix, keep):
    path = tmp_path / f"broken{suffix}"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (40, 20, 3), dtype=np.uint8))
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(InputError, match=rf"broken\{suffix}"):
        open_images([str(path)], SIZE, folder=folder)
    assert not list(folder.glob("*.npy"))


def test_corrupt_and_missing_images_are_named(paths, folder):
    Path(paths[3]).write_bytes(b"\xff\xd8 no picture \xff\xd9")
    with pytest.raises(InputError, match=r"3.jpg cannot be decoded"):
        open_images(paths, SIZE, folder=folder)
    Path(paths[3]).write_text("no picture")
    with pytest.raises(InputError, match=r"3.jpg is corrupt or ends too early \(no known kind of image\)"):
        open_images(paths, SIZE, folder=folder)
    Path(paths[3]).unlink()
    with pytest.raises(InputError, match=r"3.jpg cannot be read: No such file"):
        open_images(paths, SIZE, folder=folder)
    with pytest.raises(InputError, match=r"3.jpg cannot be read: No such file"):
        DecodedImages(paths, SIZE)[3]


def test_bytes_after_the_end_of_a_jpeg_do_no_harm(paths):
    before = decode_image(paths[0], SIZE)
    Path(paths[0]).write_bytes(Path(paths[0]).read_bytes() + b"maker's notes")
    assert np.array_equal(decode_image(paths[0], SIZE), before)


def test_images_travel_to_workers_by_path(paths, folder):
    for images in (open_images(paths, SIZE, folder=folder), DecodedImages(paths, SIZE)):
        data = pickle.dumps(images)
        assert np.array_equal(pickle.loads(data)[4], images[4])
    assert len(pickle.dumps(open_images(paths, SIZE, folder=folder))) < 1000


def limit(files):
    """Return a limit in gigabytes that this many one-image cache files fit into."""
    return files * (BYTES + 128) / 1e9


def test_the_longest_unused_file_is_evicted(paths, folder):
    made = []
    for age, path in ((3, paths[0]), (9, paths[1]), (6, paths[2])):
        made.append(open_images([path], SIZE, folder=folder).path)
        os.utime(made[-1], (time.time() - age * 1000,) * 2)
    used = open_images(paths[1:2], SIZE, folder=folder).path  # no longer the longest unused
    newest = open_images(paths[3:4], SIZE, limit(3), folder=folder).path
    assert set(folder.glob("*.npy")) == {made[0], used, newest}


def test_files_in_use_are_not_evicted(paths, folder, caplog):
    held = open_images(paths[:1], SIZE, folder=folder)
    images = open_images(paths[1:2], SIZE, limit(1), folder=folder)
    assert isinstance(images, DecodedImages)
    assert "decoded on the fly" in caplog.text
    assert "data.cache_limit" in caplog.text
    assert held.path.exists()
    del held
    assert isinstance(open_images(paths[1:2], SIZE, limit(1), folder=folder), CachedImages)


def test_what_exceeds_the_limit_evicts_nothing(paths, folder):
    kept = open_images(paths[:1], SIZE, folder=folder).path
    assert isinstance(open_images(paths, SIZE, limit(1), folder=folder), DecodedImages)
    assert kept.exists()


def test_a_full_disk_means_decoding_on_the_fly(paths, folder, monkeypatch):
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(image_cache.shutil, "disk_usage", lambda _: usage)
    assert isinstance(open_images(paths, SIZE, folder=folder), DecodedImages)


BUILD = """
import sys, time
from pathlib import Path
from reid_lightning.data import image_cache
decode, calls, pause, folder = image_cache.decode_image, [], float(sys.argv[1]), Path(sys.argv[2])
def counted(path, size, interpolation):
    calls.append(path)
    time.sleep(pause)
    return decode(path, size, interpolation)
image_cache.decode_image = counted
images = image_cache.open_images(sys.argv[3:], (16, 8), folder=folder)
print(len(calls), int(images[len(images) - 1].sum()))
"""


def build(pause, folder, paths):
    return start_python("-c", BUILD, pause, folder, *paths, stdout=subprocess.PIPE)


def test_two_jobs_at_once_build_once(paths, folder):
    jobs = [build(0.1, folder, paths) for _ in range(2)]
    outputs = [job.communicate(timeout=60)[0].split() for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0]
    assert sorted(int(output[0]) for output in outputs) == [0, 5]
    assert outputs[0][1] == outputs[1][1]


def test_a_killed_build_is_done_again_and_leaves_nothing(paths, folder):
    job = build(600, folder, paths)
    wait_until(lambda: list(folder.glob(".*.part.npy")), job)
    job.send_signal(signal.SIGKILL)
    job.communicate()
    images = open_images(paths, SIZE, folder=folder)
    assert np.array_equal(images[4], decode_image(paths[4], SIZE))
    assert not list(folder.glob(".*.part.npy"))


def test_leftovers_of_other_data_sets_make_room(paths, folder):
    job = build(600, folder, paths)
    wait_until(lambda: list(folder.glob(".*.part.npy")), job)
    open_images(paths[:1], SIZE, folder=folder)
    assert list(folder.glob(".*.part.npy"))  # still being built: left alone
    job.send_signal(signal.SIGKILL)
    job.communicate()
    open_images(paths[1:2], SIZE, folder=folder)
    assert not list(folder.glob(".*.part.npy"))
