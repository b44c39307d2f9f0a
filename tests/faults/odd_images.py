"""Image files of odd kinds, whole and damaged, as bytes by name."""

import io
import zipfile
import zlib

import cv2
import numpy as np
from PIL import Image, ImageCms

HEIGHT, WIDTH = 128, 64


def picture():
    """Return smooth random colors, uint8 (H, W, 3)."""
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)


def saved(image, form, **options):
    """Return an image as the bytes of a file."""
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


COLOR = Image.fromarray(picture())
GREY = COLOR.convert("L")
JPEG, PNG = saved(COLOR, "JPEG", quality=90), saved(COLOR, "PNG")
PROGRESSIVE = saved(COLOR, "JPEG", progressive=True)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
_exif = Image.Exif()
_exif[0x0112] = 6  # turned by 90 degrees
ROTATED = saved(COLOR, "JPEG", exif=_exif)
_plain = Image.new("RGB", (1600, 1600), "white")


def png(width, height, data=b""):
    """Return a PNG whose header states a size; gray, 8 bits."""
    header = width.to_bytes(4) + height.to_bytes(4) + bytes([8, 0, 0, 0, 0])
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(body).to_bytes(4) + kind + body + zlib.crc32(kind + body).to_bytes(4) for kind, body in chunks
    )


def huge_jpeg(width, height):
    """Return a JPEG whose header states another size."""
    place = JPEG.index(b"\xff\xc0") + 5
    return JPEG[:place] + height.to_bytes(2) + width.to_bytes(2) + JPEG[place + 4 :]


def _with_garbage(data):
    middle, rest = len(data) // 2, np.random.default_rng(1).bytes(len(data) // 2)
    return data[:middle] + rest


def _flipped(data, place):
    return data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :]


def _zip():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.jpg", JPEG)
    return stream.getvalue()


WHOLE = {
    "baseline.jpg": JPEG,
    "progressive.jpg": PROGRESSIVE,
    "optimized.jpg": saved(COLOR, "JPEG", optimize=True),
    "grey.jpg": saved(GREY, "JPEG"),
    "cmyk.jpg": saved(COLOR.convert("CMYK"), "JPEG"),
    "profile.jpg": saved(COLOR, "JPEG", icc_profile=PROFILE),
    "exif.jpg": ROTATED,
    "upright.jpg": saved(COLOR, "JPEG"),
    "thumbnail_of_zeros.jpg": JPEG[:2] + b"\xff\xe1\x10\x02" + bytes(4096) + JPEG[2:],
    "plain_white_optimized.jpg": saved(_plain, "JPEG", optimize=True),
    "plain_grey.jpg": saved(Image.new("RGB", (64, 128), (128, 128, 128)), "JPEG"),
    "padded_with_zeros.jpg": JPEG + bytes(4096),
    "trailing_text.jpg": JPEG + b"maker's notes",
    "rgb.png": PNG,
    "sixteen_bit.png": saved(Image.fromarray(np.full((9, 9), 40000, np.uint16)), "PNG"),
    "palette.png": saved(COLOR.convert("P"), "PNG"),
    "alpha.png": saved(COLOR.convert("RGBA"), "PNG"),
    "grey_alpha.png": saved(GREY.convert("LA"), "PNG"),
    "one_bit.png": saved(GREY.convert("1"), "PNG"),
    "profile.png": saved(COLOR, "PNG", icc_profile=PROFILE),
    "one_pixel.png": saved(COLOR.crop((0, 0, 1, 1)), "PNG"),
    "one_row.png": saved(COLOR.crop((0, 0, 64, 1)), "PNG"),
    "one_column.jpg": saved(COLOR.crop((0, 0, 1, 128)), "JPEG"),
    "still.gif": saved(COLOR, "GIF"),
    "animated.gif": saved(COLOR, "GIF", save_all=True, append_images=[GREY.convert("RGB")]),
    "lossy.webp": saved(COLOR, "WEBP"),
    "picture.bmp": saved(COLOR, "BMP"),
    "picture.tif": saved(COLOR, "TIFF"),
    "compressed.tif": saved(COLOR, "TIFF", compression="tiff_lzw"),
    "png_called.jpg": PNG,
    "jpeg_called.png": JPEG,
    "without_ending": JPEG,
}

DAMAGED = {
    "empty.jpg": b"",
    "text.jpg": b"this is a text and no picture\n",
    "page.jpg": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "pointer.jpg": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    "archive.jpg": _zip(),
    "only_magic.jpg": b"\xff\xd8\xff",
    "magic_and_end.jpg": b"\xff\xd8\xff\xd9",
    "zeros.jpg": bytes(4096),
    "half_zeros.jpg": JPEG[: len(JPEG) // 2] + bytes(len(JPEG) // 2),
    "half_zeros_and_end.jpg": JPEG[: len(JPEG) // 2] + bytes(len(JPEG) // 2) + b"\xff\xd9",
    "zeros_in_the_middle.jpg": JPEG[: len(JPEG) // 2] + bytes(512) + JPEG[len(JPEG) // 2 + 512 :],
    "progressive_half_zeros.jpg": PROGRESSIVE[: len(PROGRESSIVE) // 2] + bytes(len(PROGRESSIVE) // 2),
    "short_rest_of_zeros.jpg": JPEG[:-400] + bytes(400),
    "garbage_at_the_end.jpg": _with_garbage(JPEG),
    "progressive_garbage.jpg": _with_garbage(PROGRESSIVE),
    "bad_checksum.png": _flipped(PNG, len(PNG) // 2),
    "zeros_in_the_middle.png": PNG[: len(PNG) // 2] + bytes(512) + PNG[len(PNG) // 2 + 512 :],
    "cut_with_end.png": PNG[: len(PNG) // 2] + PNG[-12:],
    "no_rows.png": png(0, 5),
    "no_data.png": png(64, 128),
    "huge.png": png(30_000, 30_000),
    "huge.jpg": huge_jpeg(65_000, 65_000),
    "long.jpg": huge_jpeg(15_000, 12_500),
    "cut.bmp": saved(COLOR, "BMP")[:-500],
    "cut.tif": saved(COLOR, "TIFF")[:-500],
    "cut.webp": saved(COLOR, "WEBP")[:-100],
    "cut.gif": saved(COLOR, "GIF")[:-500],
}
CUT_WITH_END = {
    "cut_with_end.jpg": JPEG[: len(JPEG) // 2] + b"\xff\xd9",
}
TENTHS = {
    f"{tenth}_tenths.{ending}": data[: len(data) * tenth // 10]
    for ending, data in {"jpg": JPEG, "progressive.jpg": PROGRESSIVE, "png": PNG}.items()
    for tenth in range(10)
}
