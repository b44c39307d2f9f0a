import numpy as np
import pytest
from helpers import write_plain_image
from matplotlib.colors import to_rgb
from PIL import Image

from reid_lightning.errors import InputError
from reid_lightning.reporting.ranked_lists import (
    QUERY,
    RIGHT,
    WRONG,
    RankedImage,
    RankedList,
    choose_queries,
    ranked_lists,
)


@pytest.fixture
def blue(tmp_path):
    path = tmp_path / "blue.png"
    write_plain_image(path, (40, 90, 220), (128, 64))
    return path


def pixels_of(picture, color):
    """Where a color is, as sorted positions of its columns and rows."""
    target = np.round(255 * np.array(to_rgb(color)))
    rows, columns = np.nonzero((np.abs(picture - target) < 2).all(axis=2))
    return columns, rows


def row(blue, flags, label=""):
    images = tuple(RankedImage(blue, flag, 0.25 * i, f"000{i} c1") for i, flag in enumerate(flags))
    return RankedList(blue, "0001 c2", 0.5, images, label)


def test_borders_tell_query_right_and_wrong_in_their_order(blue, tmp_path):
    ranked_lists([row(blue, [True, False]), row(blue, [False, False])], tmp_path / "lists.png")
    picture = np.asarray(Image.open(tmp_path / "lists.png").convert("RGB")).astype(float)
    middle = picture.shape[0] / 2
    right, wrong, query = (pixels_of(picture, color) for color in (RIGHT, WRONG, QUERY))
    assert right[1].max() < middle  # green only in the first list
    first_list, second_list = wrong[1] < middle, wrong[1] > middle
    assert query[0].max() < right[0].min() < right[0].max() < wrong[0][first_list].min()
    assert abs(wrong[0][second_list].min() - right[0].min()) <= 1
    assert pixels_of(picture, "#285adc")[0].size > 6 * 1000  # the images themselves


def test_images_keep_their_shape_and_captions_their_room(tmp_path, blue):
    wide = tmp_path / "wide.png"
    write_plain_image(wide, (40, 90, 220), (50, 200))
    entries = tuple(
        RankedImage(wide, flag, 0.1, "a very long name of a person $x_1$") for flag in (True, False)
    )
    ranked_lists([RankedList(blue, "0001", 0.5, entries)], tmp_path / "lists.png")
    picture = np.asarray(Image.open(tmp_path / "lists.png").convert("RGB")).astype(float)
    (left, right), (border_left, border_right) = (
        (pixels_of(picture, color)[0].min(), pixels_of(picture, color)[0].max()) for color in (RIGHT, WRONG)
    )
    shown = picture[:, left:right]
    columns, rows = pixels_of(shown, "#285adc")
    assert (np.ptp(columns) + 1) / (np.ptp(rows) + 1) == pytest.approx(4, rel=0.05)
    below = pixels_of(picture, RIGHT)[1].max() + 1
    ink = (picture[below:] < 128).all(axis=2).any(axis=0)
    assert ink[left:right].any()
    assert not ink[right + 8 : border_left - 8].any()  # a cut caption ends before the next image
    assert not ink[border_right + 16 :].any()


def test_picture_files_that_cannot_be_written_are_named(tmp_path, blue):
    for name in ("lists.svg", "lists.webm", "lists"):
        with pytest.raises(InputError, match="names no picture"):
            ranked_lists([row(blue, [True])], tmp_path / name)
    ranked_lists([row(blue, [True])], tmp_path / "lists.JPG")
    with Image.open(tmp_path / "lists.JPG") as image:
        assert image.format == "JPEG"


def test_an_unreadable_image_is_a_grey_tile_and_an_empty_list_is_named(tmp_path, blue, caplog):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"not a picture")
    entry = RankedImage(broken, True, 0.1, "0001")
    ranked_lists([RankedList(blue, "0001", 0.5, (entry,))], tmp_path / "lists.png")
    picture = np.asarray(Image.open(tmp_path / "lists.png").convert("RGB")).astype(float)
    assert pixels_of(picture, "#c8c8c8")[0].size > 6 * 1000
    assert "gray tiles: 1; the first: " in caplog.text
    assert "broken.jpg cannot be read as an image" in caplog.text
    with pytest.raises(InputError, match="no ranked list"):
        ranked_lists([], tmp_path / "lists.png")


def test_choose_queries_takes_worst_and_typical_once():
    values = np.array([0.9, 0.5, np.nan, 0.0, 0.51, 0.1, 0.99, 0.48])
    assert choose_queries(values, 4) == [(3, "worst"), (5, "worst"), (1, "typical"), (4, "typical")]
    assert choose_queries(values, 1) == [(3, "worst")]
    chosen = [position for position, _ in choose_queries(values, 100)]
    assert sorted(chosen) == [0, 1, 3, 4, 5, 6, 7]
    assert choose_queries([0.5] * 6, 4) == [(0, "worst"), (1, "worst"), (2, "typical"), (3, "typical")]
    assert choose_queries([np.nan], 4) == []
