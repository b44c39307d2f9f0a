"""Image files of odd kinds, damaged images, and images that occur twice."""

import os
import socket
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import odd_images
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from reid_lightning.data.decoding import MAX_PIXELS, decode_image
from reid_lightning.data.image_cache import DecodedImages, find_damaged, open_images
from reid_lightning.errors import InputError

SIZE = (32, 16)
ODD, BROKEN = "an image of an odd kind", "a damaged image"
TINY = (
    "data=table", "data.image_size=[32,16]", "data.num_workers=0", "data.validation=none",
    "sampler.identities=2", "sampler.images_per_identity=2", "trainer.accelerator=cpu", "trainer.max_epochs=1",
)  # fmt: skip


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REID_LIGHTNING_CACHE", str(tmp_path / "cache"))


def written(folder, name, data):
    path = folder / name
    path.write_bytes(data)
    return str(path)


@pytest.mark.fault("Images", ODD)
@pytest.mark.parametrize("name", odd_images.WHOLE)
def test_an_odd_image_is_decoded(tmp_path, name, seen):
    path = written(tmp_path, name, odd_images.WHOLE[name])
    image = decode_image(path, SIZE)
    assert image.shape == (*SIZE, 3)
    assert image.dtype == np.uint8
    assert np.array_equal(open_images([path], SIZE)[0], image)
    assert find_damaged(DecodedImages([path], SIZE), [path]) == {}
    seen("the image is used")


@pytest.mark.fault("Images", BROKEN)
@pytest.mark.parametrize("name", odd_images.DAMAGED | odd_images.TENTHS)
def test_a_damaged_image_is_named(tmp_path, name, seen):
    path = written(tmp_path, name, (odd_images.DAMAGED | odd_images.TENTHS)[name])
    with pytest.raises(InputError) as error:
        decode_image(path, SIZE)
    sentence = str(error.value)
    assert sentence.startswith(f"{path} ")
    assert sentence.endswith(".")
    assert "\n" not in sentence
    seen(sentence.replace(str(tmp_path), "DIR"))


@pytest.mark.fault("Images", BROKEN)
@pytest.mark.parametrize("name", odd_images.CUT_WITH_END)
def test_a_cut_jpeg_that_was_given_an_end_is_found_while_caching_and_checking(tmp_path, name):
    path = written(tmp_path, name, odd_images.CUT_WITH_END[name])
    with pytest.raises(InputError, match=rf"{name} is corrupt or ends too early \(.*premature end"):
        open_images([path], SIZE)
    assert list(find_damaged(DecodedImages([path], SIZE), [path])) == [0]


def test_the_pixels_of_odd_images(tmp_path):
    def decoded(name, size):
        return decode_image(written(tmp_path, name, odd_images.WHOLE[name]), size)

    whole = (odd_images.HEIGHT, odd_images.WIDTH)
    assert np.array_equal(decoded("rgb.png", whole), odd_images.picture())
    assert np.array_equal(decoded("alpha.png", whole), odd_images.picture())
    assert (decoded("sixteen_bit.png", SIZE) == 40000 // 256).all()
    turned = decoded("exif.jpg", whole[::-1])
    assert np.array_equal(turned, np.rot90(decoded("upright.jpg", whole), -1))
    assert np.array_equal(decoded("animated.gif", whole), decoded("still.gif", whole))
    grey = decoded("grey.jpg", whole)
    assert np.array_equal(grey[..., 0], grey[..., 2])


@pytest.mark.fault("Images", "a pipe, socket, device or folder with the name of an image")
@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "folder"])
@pytest.mark.parametrize("cached", [True, False])
def test_what_is_no_file_is_refused_at_once(tmp_path, monkeypatch, kind, cached, seen):
    monkeypatch.chdir(tmp_path)  # the name of a socket may be 100 characters long
    if kind == "pipe":
        os.mkfifo("x.jpg")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("x.jpg")
    elif kind == "device":
        Path("x.jpg").symlink_to("/dev/zero")
    else:
        Path("x.jpg").mkdir()
    with pytest.raises(InputError, match=r"x\.jpg (is a (pipe|folder)|cannot be read)") as error:
        open_images(["x.jpg"], SIZE) if cached else decode_image("x.jpg", SIZE)
    seen(error.value)


@pytest.mark.fault("Images", "an image of more pixels than memory should hold")
@pytest.mark.parametrize(
    ("name", "size"),
    [("huge.png", "30000 x 30000"), ("huge.jpg", "65000 x 65000"), ("long.jpg", "15000 x 12500")],
)
def test_the_header_says_that_an_image_is_too_large(tmp_path, name, size, seen):
    path = written(tmp_path, name, odd_images.DAMAGED[name])
    with pytest.raises(InputError, match=f"{size} pixels.*{MAX_PIXELS // 10**6} million") as error:
        decode_image(path, SIZE)
    seen(str(error.value).replace(str(tmp_path), "DIR"))


@st.composite
def mutated(draw):
    """Bytes of an image with some of them changed, removed, repeated or added."""
    name = draw(st.sampled_from(sorted(odd_images.WHOLE)))
    data = bytearray(odd_images.WHOLE[name][:4000])
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        stop = draw(st.integers(start, min(len(data), start + 600)))
        data[start:stop] = draw(st.binary(max_size=40))
    return bytes(data)


@pytest.mark.fault("Images", "random bytes and images with random changes")
@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@example(data=b"")
@given(
    data=st.one_of(
        mutated(), st.binary(max_size=2000), st.binary(max_size=200).map(odd_images.JPEG[:200].__add__)
    )
)
def test_any_bytes_are_an_image_or_an_error(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.jpg"
    path.write_bytes(data)
    with suppress(InputError):
        assert decode_image(str(path), SIZE).shape == (*SIZE, 3)


@pytest.fixture
def table(tmp_path):
    """Return a function that writes four people's images, changed by it, and their table."""

    def write(change=lambda rows: rows):
        rows = []
        for person in range(4):
            for shot in range(4):
                path, rng = tmp_path / f"{person}_{shot}.png", np.random.default_rng([person, shot])
                cv2.imwrite(str(path), rng.integers(0, 256, (40, 20, 3), dtype=np.uint8))
                split = "train" if person < 2 else ("query", "gallery")[shot % 2]
                rows.append({"path": path.name, "person_id": person, "split": split, "camera_id": shot})
        rows = change(pd.DataFrame(rows))
        rows.to_csv(tmp_path / "table.csv", index=False)
        return tmp_path / "table.csv"

    return write


def train(commands, tmp_path, file, *overrides):
    return commands.run(
        "train.py", *TINY, f"data.root={file}", f"hydra.run.dir={tmp_path / 'run'}", *overrides, cwd=tmp_path
    )


def check(commands, file, *overrides):
    return commands.run(
        "reid", "data", "check", "data=table", f"data.root={file}", "data.image_size=[32,16]", *overrides
    )


def break_two(tmp_path):
    (tmp_path / "0_1.png").unlink()
    (tmp_path / "3_0.png").write_text("a text")


@pytest.mark.fault("Images", "missing and damaged images, data.damaged=error")
@pytest.mark.parametrize("cached", ["true", "false"])
def test_damaged_images_are_refused_with_their_number(tmp_path, commands, table, cached, seen):
    file = table()
    for shot in (1, 2):
        (tmp_path / f"0_{shot}.png").unlink()
    ended = train(commands, tmp_path, file, f"data.cache={cached}")
    assert "0_1.png cannot be read: No such file or directory (1 more of 16 images" in ended.sentence
    assert not (tmp_path / "run" / "checkpoints").exists()
    seen(ended.sentence.replace(str(tmp_path), "DIR"))


@pytest.mark.fault("Images", "missing and damaged images, data.damaged=skip")
def test_damaged_images_are_left_out_and_listed(tmp_path, commands, table, seen):
    file = table()
    break_two(tmp_path)
    ended = train(commands, tmp_path, file, "data.damaged=skip")
    assert ended.code == 0, ended.err[-2000:]
    listed = pd.read_csv(tmp_path / "run" / "damaged.csv")
    assert [Path(path).name for path in listed["path"]] == ["0_1.png", "3_0.png"]
    assert "No such file" in listed["reason"][0]
    assert "no known kind of image" in listed["reason"][1]
    assert "2 missing or damaged images left out" in (tmp_path / "run" / "metrics.json").read_text()
    assert "2 missing or damaged images left out" in (tmp_path / "run" / "report.html").read_text()
    seen("the run says '2 missing or damaged images left out' and lists them in damaged.csv")


@pytest.mark.fault("Images", "missing and damaged images, data.damaged=skip")
def test_missing_images_are_left_out_without_a_cache_and_damaged_ones_are_named(tmp_path, commands, table):
    file = table()
    (tmp_path / "0_1.png").unlink()
    assert train(commands, tmp_path, file, "data.damaged=skip", "data.cache=false").code == 0
    (tmp_path / "3_1.png").write_text("a text")
    ended = train(
        commands,
        tmp_path,
        file,
        "data.damaged=skip",
        "data.cache=false",
        f"hydra.run.dir={tmp_path / 'other'}",
    )
    assert "3_1.png is corrupt" in ended.sentence


@pytest.mark.fault("Images", "missing and damaged images, reid data check")
@pytest.mark.parametrize("cached", ["true", "false"])
def test_check_finds_them_all(tmp_path, commands, table, cached, seen):
    file = table()
    assert check(commands, file).code == 0
    break_two(tmp_path)
    ended = check(commands, file, f"data.cache={cached}")
    assert "(1 more of 16 images are missing or damaged" in ended.sentence
    assert "Missing or damaged images: 2 of 16" in ended.out
    assert "3_0.png is corrupt" in ended.out
    assert check(commands, file, "data.damaged=skip").code == 0
    for path in tmp_path.glob("*.png"):
        path.unlink()
    ended = check(commands, file, f"data.cache={cached}")
    assert "(15 more of 16 images" in ended.sentence
    seen(ended.sentence.replace(str(tmp_path), "DIR"))


def copy(tmp_path, source, target):
    (tmp_path / target).write_bytes((tmp_path / source).read_bytes())


LEAKS = {
    "test_in_train": ("0_0.png", "2_1.png"),
    "query_in_gallery": ("2_0.png", "2_1.png"),
    "two_people": ("0_0.png", "1_0.png"),
    "doubled": ("0_0.png", "0_1.png"),
}


@pytest.mark.fault("Images", "the same image in training and test, or under two people")
@pytest.mark.parametrize("finding", LEAKS)
def test_an_image_that_occurs_twice_is_reported(tmp_path, commands, table, finding, seen):
    from reid_lightning.data.content import FINDINGS

    file = table()
    copy(tmp_path, *LEAKS[finding])
    ended = train(commands, tmp_path, file)
    assert ended.code == 0, ended.err[-2000:]
    sentence = f"1 {FINDINGS[finding]}" if finding != "two_people" else f"2 {FINDINGS[finding]}"
    assert sentence in ended.out + ended.err
    page = (tmp_path / "run" / "report.html").read_text()
    assert sentence in page
    assert sentence in check(commands, file).out
    seen(sentence)


@pytest.mark.fault("Images", "the same image in training and test, or under two people")
def test_without_a_cache_the_paths_are_compared(tmp_path, commands, table):
    def change(rows):
        return pd.concat([rows, rows.iloc[:1].assign(split="gallery")])

    ended = train(commands, tmp_path, table(change), "data.cache=false")
    assert ended.code == 0, ended.err[-2000:]
    assert (
        "1 test images that are also training or validation images (a path in two rows"
        in ended.out + ended.err
    )
    assert "only paths compared" in (tmp_path / "run" / "report.html").read_text()
