"""Pictures that cannot be drawn again later, such as those of a training: their captions, in a file beside them."""

import json
from collections.abc import Sequence
from pathlib import Path

from reid_lightning.config.plain_file import read_plain
from reid_lightning.files import atomic_path
from reid_lightning.reporting.page import Picture


def keep_pictures(pictures: Sequence[Picture], folder: Path, name: str) -> None:
    """Write title, file, caption and width of each picture of a folder into a JSON file in it."""
    listed = [
        {"title": p.title, "file": p.path.name, "caption": p.caption, "width": p.width} for p in pictures
    ]
    with atomic_path(folder / name) as temporary:
        temporary.write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")


def kept_pictures(folder: Path, name: str) -> list[Picture]:
    """Return the pictures that such a file lists and that are still there; none where there is no such file."""
    try:
        pictures = [
            Picture(
                str(kept["title"]),
                folder / Path(kept["file"]).name,
                str(kept["caption"]),
                float(kept["width"]),
            )
            for kept in read_plain(folder / name, [])
        ]
    except (ValueError, KeyError, TypeError, OverflowError):
        return []
    return [picture for picture in pictures if picture.path.suffix == ".png" and _is_own(picture.path)]


def _is_own(file: Path) -> bool:
    """Tell whether a file lies in the folder itself: what a link leads to is not put on a page."""
    return file.is_file() and not file.is_symlink()
