"""A white sheet for pictures and small text, drawn pixel by pixel."""

from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from reid_lightning.errors import InputError, printable
from reid_lightning.files import atomic_path, require_output
from reid_lightning.reporting.figures import DPI, FAINT, INK
from reid_lightning.reporting.pictures import Picture

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

IMAGE_HEIGHT = 1.05  # inches
GAP = 0.1  # inches, between images
CHARACTER = 0.055  # inches: mean width in a caption
BORDER = 4  # pixels, around an image
WRONG = "#d8342b"


def require_sheet(path: str | Path) -> None:
    """Refuse a file for ranked lists that cannot be written, before any work; its folder is made.

    Raises:
        InputError: The ending is not that of a picture of pixels, or the file cannot be written.
    """
    from PIL import Image

    kind = Image.registered_extensions().get(Path(path).suffix.lower(), "")
    try:
        Image.new("RGB", (16, 16)).save(BytesIO(), kind)
    except (KeyError, OSError, ValueError):  # unknown, read only, or of black and white alone
        raise InputError(f"{path} names no picture: give it an ending such as .png, .jpg or .pdf.") from None
    require_output(path)


class Sheet:
    """A white sheet that is drawn on in inches from its left upper corner, pixel by pixel.

    matplotlib takes six times as long for a hundred images with captions.

    Args:
        width: Of the sheet, inches.
        height: Of the sheet, inches.
        cell: Width of an image's cell, inches.
        cell_height: Its height, inches.
    """

    def __init__(self, width: float, height: float, cell: float, cell_height: float = IMAGE_HEIGHT) -> None:
        from PIL import Image, ImageDraw

        self._image = Image.new("RGB", (_pixels(width), _pixels(height)), "white")
        self._pen = ImageDraw.Draw(self._image)
        self._cell, self._cell_height = cell, cell_height

    def write(self, left: float, top: float, text: str, color: str, points: float) -> None:
        """Write a line of text, its left upper corner in inches."""
        self._pen.text((_pixels(left), _pixels(top)), printable(text), fill=color, font=_font(points))

    def show(self, left: float, top: float, picture: Picture, border: str, first: str, second: str) -> None:
        """Draw a picture inside its border and two small lines below it."""
        from PIL import Image

        x, y, width, height = map(_pixels, (left, top, self._cell, self._cell_height))
        image = Image.fromarray(picture)
        # The cell's shape is kept, so a differently shaped image is padded and not stretched.
        scale = min(width / image.width, height / image.height)
        shown = image.resize(
            (max(1, round(scale * image.width)), max(1, round(scale * image.height))),
            Image.Resampling.LANCZOS,
        )
        self._pen.rectangle((x, y, x + width - 1, y + height - 1), fill="#f2f2f2")
        self._image.paste(shown, (x + (width - shown.width) // 2, y + (height - shown.height) // 2))
        frame = x - BORDER, y - BORDER, x + width - 1 + BORDER, y + height - 1 + BORDER
        self._pen.rectangle(frame, outline=border, width=BORDER)
        longest = int((self._cell + GAP) / CHARACTER)
        if len(first) > longest:
            first = first[: longest - 1] + "…"
        below = top + self._cell_height
        self.write(left, below + 0.04, first, INK, 6)
        self.write(left, below + 0.15, second, border if border == WRONG else FAINT, 6)

    def bar(self, left: float, top: float, width: float, height: float, color: str) -> None:
        """Fill a rectangle."""
        x, y = _pixels(left), _pixels(top)
        self._pen.rectangle((x, y, x + max(1, _pixels(width)) - 1, y + _pixels(height) - 1), fill=color)

    def save(self, path: str | Path) -> None:
        """Write the picture atomically."""
        require_sheet(path)
        with atomic_path(path) as temporary:
            self._image.save(temporary, dpi=(DPI, DPI), compress_level=1)  # of a PNG: a quarter of the time


def _pixels(inches: float) -> int:
    return round(inches * DPI)


@cache
def _font(points: float) -> "FreeTypeFont":
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(
        Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", points * DPI / 72
    )
