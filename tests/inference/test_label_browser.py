"""The page of a round of labeling in a real browser."""

import csv

import pandas as pd
import pytest
from browser import NARROW, WIDE
from helpers import write_plain_image

from reid_lightning.reporting.label_page import Pair, write_label_page

pytestmark = pytest.mark.slow

FACTS = {"model": "abc", "first pair": "1"}
NAMES = ("plain.jpg", "=1+1, two.jpg", 'a "quoted" <b>.jpg', "ünï.jpg", "e.jpg", "f.jpg")


@pytest.fixture
def page(tmp_path):
    paths = [str(write_plain_image(tmp_path / "crops" / name)) for name in NAMES]
    pairs = [
        Pair(1, "nearly joined", 0.25, paths[:3], paths[3:4]),
        Pair(2, "far from its group", 0.3, paths[4:5], paths[5:]),
        Pair(3, "just joined", 0.31, [paths[1]], [paths[2]]),
    ]
    folder = tmp_path / "round"
    folder.mkdir()
    write_label_page(folder, "label.html", "images", pairs, FACTS)
    return folder / "label.html", paths


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_asks_nobody_and_complains_of_nothing(browser, page, width, dark):
    opened = browser.open(page[0], width, dark)
    opened.until("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    assert opened.overflow() == 0
    assert opened.complaints == []
    assert opened.outside() == []


def test_answers_by_click_and_key_come_down_as_the_csv(browser, page, tmp_path):
    file, paths = page
    opened = browser.open(file)
    opened.page.click("#pair-1 button[data-answer=same]")
    opened.page.focus("#pair-2")
    opened.page.keyboard.press("d")
    opened.page.keyboard.press("u")
    opened.page.keyboard.press("ArrowUp")
    opened.page.keyboard.press("ArrowDown")
    opened.until("document.getElementById('progress').textContent === '3 of 3 answered'")
    opened.page.click("#pair-3 button[data-answer=unknown]")  # a second time takes it back
    with opened.page.expect_download() as begun:
        opened.page.click("#download")
    assert begun.value.suggested_filename == "answers.csv"
    begun.value.save_as(tmp_path / "answers.csv")
    with (tmp_path / "answers.csv").open(newline="", encoding="utf-8") as text:
        rows = list(csv.DictReader(text))
    assert [row["answer"] for row in rows] == ["same", "different", ""]
    assert [row["path_a"] for row in rows] == [paths[0], paths[4], paths[1]]
    assert pd.read_csv(tmp_path / "answers.csv")["pair"].tolist() == [1, 2, 3]
    opened.page.check("#open-only")
    assert opened.page.locator("#pairs li:visible").count() == 1
    opened.page.reload()
    opened.until("document.getElementById('progress').textContent === '2 of 3 answered'")
    assert opened.complaints == []
