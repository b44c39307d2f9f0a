"""Files that a sheet can be written to, which is known before any work."""

import pytest
from PIL import Image

from reid_lightning.errors import InputError
from reid_lightning.reporting.sheet import Sheet, require_sheet


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_ending_is_refused_first_or_can_be_written(tmp_path):
    Image.init()
    written = set()
    for ending in Image.registered_extensions():
        file = tmp_path / f"x{ending}"
        try:
            require_sheet(file)
        except InputError:
            continue
        Sheet(1, 2, 1).save(file)
        written.add(ending)
        file.unlink()
    assert {".png", ".jpg", ".pdf", ".webp"} <= written
    assert not {".xbm", ".msp", ".h5", ".wmf"} & written


def test_a_file_that_is_no_picture_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"names no picture: give it an ending such as \.png"):
        require_sheet(tmp_path / "x.html")
