"""Pillow's filters in numpy, against Pillow."""

import sys

import numpy as np
import pytest
from PIL import Image

from reid_lightning.data.decoding import decode_pixels, resized
from reid_lightning.data.resampling import NAMES, resize
from reid_lightning.errors import InputError

SIZES = [
    ((128, 64), (256, 128)),
    ((300, 101), (256, 128)),
    ((640, 200), (256, 128)),
    ((256, 90), (300, 40)),
    ((7, 5), (3, 9)),
    ((1, 1), (4, 4)),
    ((256, 128), (256, 128)),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("before", "after"), SIZES)
def test_pixels_are_those_of_pillow(name, before, after):
    image = np.random.default_rng(0).integers(0, 256, (*before, 3), dtype=np.uint8)
    wanted = Image.fromarray(image).resize(after[::-1], Image.Resampling[name.upper()])
    assert np.array_equal(resize(image, after, name), np.asarray(wanted))


def test_images_are_resized_alike_without_pillow(monkeypatch):
    image = np.random.default_rng(0).integers(0, 256, (90, 40, 3), dtype=np.uint8)
    wanted = resized(image, (32, 16), "bicubic")
    monkeypatch.setitem(sys.modules, "PIL", None)
    found = resized(image, (32, 16), "bicubic")
    assert np.array_equal(found, wanted)
    assert found.flags.writeable


def test_kinds_of_images_that_need_pillow_say_so(monkeypatch, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.bmp")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(InputError, match=r"a\.bmp is neither a JPEG nor a PNG image.*pip install pillow"):
        decode_pixels(str(tmp_path / "a.bmp"))
