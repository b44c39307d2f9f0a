"""The parts of a server by themselves: batches, the rate of a client, uploads, settings, kept pictures."""

import asyncio
import io
import struct
import threading
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from reid_lightning.errors import InputError
from reid_lightning.inference.serve import rate
from reid_lightning.inference.serve.batching import Batcher, Closed
from reid_lightning.inference.serve.pictures import Kept, Pictures
from reid_lightning.inference.serve.problems import Problem
from reid_lightning.inference.serve.rate import Rate
from reid_lightning.inference.serve.settings import Settings, read_token
from reid_lightning.inference.serve.uploads import pixels_of


def doubled(items):
    return [ValueError(f"not {item}") if item < 0 else 2 * item for item in items]


def encoded(kind, picture=None, **options):
    picture = np.arange(60, dtype=np.uint8).reshape(5, 4, 3) if picture is None else picture
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind, **options)
    return file.getvalue()


def png_of_size(width, height):
    """A PNG whose header states a size and whose data are not there."""

    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_what_waits_while_the_thread_works_is_one_batch():
    sizes, begun, go = [], threading.Event(), threading.Event()

    def work(items):
        begun.set()
        assert go.wait(10)
        return doubled(items)

    batcher = Batcher("test", work, most=4, seen=sizes.append)
    first = batcher.submit(1)
    assert begun.wait(10)
    others = [batcher.submit(item) for item in range(2, 9)]
    go.set()
    assert [future.result(10) for future in (first, *others)] == [2 * item for item in range(1, 9)]
    assert sizes == [1, 4, 3]
    batcher.close(10)


def test_each_caller_gets_its_own_answer_or_error():
    async def ask():
        answers = await asyncio.gather(*(batcher(item) for item in (3, -1, 5)), return_exceptions=True)
        return [answer if isinstance(answer, int) else str(answer) for answer in answers]

    batcher = Batcher("test", doubled, most=8, wait=0.01)
    assert asyncio.run(ask()) == [6, "not -1", 10]
    batcher.close(10)


def test_a_failing_batch_does_not_end_the_thread():
    def work(items):
        if items == [0]:
            raise MemoryError("full")
        return doubled(items)

    batcher = Batcher("test", work, most=1)
    with pytest.raises(MemoryError, match="full"):
        batcher.submit(0).result(10)
    assert batcher.submit(4).result(10) == 8
    batcher.close(10)


def test_an_item_that_nobody_waits_for_is_not_worked_on():
    seen, begun, go = [], threading.Event(), threading.Event()

    def work(items):
        seen.extend(items)
        begun.set()
        assert go.wait(10)
        return doubled(items)

    batcher = Batcher("test", work, most=1)
    first = batcher.submit(1)
    assert begun.wait(10)
    given_up, kept = batcher.submit(2), batcher.submit(3)
    assert given_up.cancel()
    go.set()
    assert (first.result(10), kept.result(10)) == (2, 6)
    assert seen == [1, 3]
    batcher.close(10)


def test_what_waits_is_finished_before_the_end_and_nothing_more_is_taken():
    begun, go = threading.Event(), threading.Event()

    def work(items):
        begun.set()
        assert go.wait(10)
        return doubled(items)

    batcher = Batcher("test", work, most=2)
    futures = [batcher.submit(item) for item in range(5)]
    assert begun.wait(10)
    ending = threading.Thread(target=batcher.close)
    ending.start()
    go.set()
    ending.join(10)
    assert [future.result(0) for future in futures] == [0, 2, 4, 6, 8]
    with pytest.raises(Closed):
        batcher.submit(1)


def test_a_client_has_its_requests_at_once_and_then_one_at_a_time():
    now = [0.0]
    limit = Rate(60, lambda: now[0])
    assert [limit.wait("10.0.0.1") for _ in range(60)] == [0] * 60
    assert limit.wait("10.0.0.1") == 1
    assert limit.wait("10.0.0.2") == 0
    now[0] = 1.0
    assert [limit.wait("10.0.0.1") for _ in range(2)] == [0, 1]
    now[0] = 1000.0
    assert [limit.wait("10.0.0.1") for _ in range(61)] == [0] * 60 + [1]


def test_addresses_of_one_household_are_one_client_and_few_are_remembered(monkeypatch):
    monkeypatch.setattr(rate, "MOST_CLIENTS", 3)
    limit = Rate(1, lambda: 0.0)
    assert limit.wait("2001:db8:1:2::1") == 0
    assert limit.wait("2001:db8:1:2:ffff::7") > 0
    assert limit.wait("2001:db8:1:3::1") == 0
    for number in range(10):
        assert limit.wait(f"10.0.0.{number}") == 0
    assert len(limit._clients) == 3


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP", "JPEG"])
def test_an_upload_is_what_a_file_would_be(kind, tmp_path):
    data = encoded(kind, **({"lossless": True} if kind == "WEBP" else {}))
    file = tmp_path / "a"
    file.write_bytes(data)
    found = pixels_of(data, 20)
    assert np.array_equal(found, cv2.imread(str(file))[..., ::-1])


def test_an_upload_is_turned_as_its_camera_says():
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = np.zeros((40, 80, 3), np.uint8)
    assert pixels_of(encoded("JPEG", picture, exif=exif), 3200).shape == (80, 40, 3)


@pytest.mark.parametrize(
    ("data", "status", "said"),
    [
        (b"", 422, "an empty file"),
        (b"these are words", 422, "not an image file that this server reads: send JPEG, PNG, WEBP or BMP"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 422, "not an image file"),
        (encoded("GIF"), 422, "not an image file"),
        (encoded("TIFF"), 422, "not an image file"),
        (encoded("PNG")[:60], 422, "choose another one"),
        (encoded("JPEG")[:-40], 422, "choose another one"),
        (encoded("WEBP")[:-9], 422, "choose another one"),
        (png_of_size(30_000, 30_000), 413, "pixels"),
        (png_of_size(1001, 1000), 413, "1001 x 1000 pixels, and this server takes 1 million"),
        (png_of_size(0, 5), 422, "not an image file"),
        (png_of_size(2**31, 2**31), 413, "pixels"),
        (encoded("JPEG") + 300 * b"\xff\xda", 422, "more than 200 scans"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_is_no_small_picture_is_refused_by_a_sentence(data, status, said):
    with pytest.raises(Problem) as refused:
        pixels_of(data, 1_000_000)
    assert refused.value.status_code == status
    assert said in refused.value.detail
    assert refused.value.detail.endswith(".")
    assert "/" not in refused.value.detail


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"host": "0.0.0.0"}, "needs a token"),
        ({"host": "::"}, "needs a token"),
        ({"host": "people.example"}, "needs a token"),
        ({"port": 70_000}, "--port"),
        ({"max_megabytes": float("nan")}, "--max-megabytes"),
        ({"max_megapixels": 0}, "--max-megapixels"),
        ({"queue": 0}, "--queue"),
        ({"batch": 0}, "--batch"),
        ({"wait_ms": -1}, "--wait"),
        ({"timeout": 0}, "--timeout"),
        ({"per_minute": -1}, "--per-minute"),
    ],
)
def test_impossible_settings_are_refused(values, said):
    with pytest.raises(InputError, match=said):
        Settings(**values)


def test_a_token_comes_from_a_file_or_else_from_the_environment(tmp_path, monkeypatch):
    file = tmp_path / "token"
    file.write_text("a-token-of-a-file-0123\n")
    monkeypatch.setenv("REID_TOKEN", "a-token-of-the-environment")
    assert read_token(file) == "a-token-of-a-file-0123"
    assert read_token(None) == "a-token-of-the-environment"
    monkeypatch.delenv("REID_TOKEN")
    assert read_token(None) is None
    Settings(host="0.0.0.0", token=read_token(file))
    for wrong in ("", "short", "two words of a token", "x" * 20 + "\x07"):
        file.write_text(wrong)
        with pytest.raises(InputError, match="must hold one token"):
            read_token(file)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_token(tmp_path / "nowhere")


def test_kept_pictures_lose_nothing_and_go_with_their_rows(tmp_path):
    pictures = Pictures(tmp_path / "gallery")
    one, other = (np.random.default_rng(seed).integers(0, 256, (9, 7, 3), np.uint8) for seed in (1, 2))
    assert pictures.sweep([]) == 0
    for pixels in (one, other, one):
        pictures.write(Kept.of(pixels))
    (pictures.folder / "notes.txt").write_text("mine")
    kept = pictures.path(Kept.of(one).name)
    assert np.array_equal(cv2.imread(str(kept))[..., ::-1], one)
    assert Kept.of(one.reshape(7, 9, 3)).name != kept.name
    assert pictures.sweep([f"/moved/{kept.name}", None]) == 1
    assert sorted(path.name for path in pictures.folder.iterdir()) == sorted([kept.name, "notes.txt"])


def test_a_thumbnail_is_small_and_of_images_alone(tmp_path):
    pictures = Pictures(tmp_path)
    large = tmp_path / "large.png"
    large.write_bytes(encoded("PNG", np.full((2000, 500, 3), 90, np.uint8)))
    words = tmp_path / "words.jpg"
    words.write_text("root:x:0:0")
    huge = tmp_path / "huge.png"
    huge.write_bytes(png_of_size(30_000, 30_000))
    with Image.open(io.BytesIO(pictures.thumbnail(str(large)))) as shown:
        assert (shown.format, shown.size) == ("JPEG", (64, 256))
    for path in (words, huge, tmp_path, tmp_path / "nowhere.jpg", "/etc/passwd", "/dev/zero"):
        assert pictures.thumbnail(str(path)) is None
