"""Small files that claim more pixels than memory holds are not decoded for a page."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from reid_lightning.errors import InputError
from reid_lightning.reporting import pictures
from reid_lightning.reporting.pictures import read_picture, read_pictures


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_a_png_of_a_few_bytes_and_900_million_pixels(tmp_path, monkeypatch):
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    monkeypatch.setattr(cv2, "imdecode", lambda *arguments: pytest.fail("it was decoded"))
    with pytest.raises(InputError, match="more than 200 million pixels"):
        read_picture(tmp_path / "bomb.png")
    assert (read_pictures([tmp_path / "bomb.png"])[str(tmp_path / "bomb.png")] == pictures._TILE).all()


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp", "tif"])
def test_pixels_are_counted_in_every_format(tmp_path, monkeypatch, ending):
    file = tmp_path / f"a.{ending}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 40, 3), dtype=np.uint8)).save(file)
    assert read_picture(file).shape == (60, 40, 3)
    monkeypatch.setattr(pictures, "_SMALL", 0)
    assert pictures._pixels(file.read_bytes()) == 2400
    monkeypatch.setattr(pictures, "MOST_PIXELS", 2399)
    with pytest.raises(InputError, match="cannot be shown"):
        read_picture(file)
