"""The data page: its numbers are those counted by hand, and it holds in a browser whatever the data."""

import json
import re
import time

import cv2
import numpy as np
import pandas as pd
import pytest
from browser import NARROW, WIDE

from reid_lightning.errors import InputError
from reid_lightning.experiments.show_data import show_data

NASTY = "<script>alert(1)</script>"


def write_set(folder, people=15, cameras=3, shots=2, name="p{}", with_cameras=True):
    """Write a CSV file of people, half of whom train, with an image for each camera and shot."""
    drawn = np.random.default_rng(0)
    rows = []
    for person in range(people):
        color = drawn.integers(0, 256, 3)
        for place in range(cameras * shots):
            noise = drawn.integers(-40, 40, (16, 8, 3))
            pixels = cv2.resize(np.clip(color + noise, 0, 255).astype(np.uint8), (32, 64))
            file = folder / f"{person}_{place}.png"
            cv2.imwrite(str(file), pixels)
            split = "train" if person % 2 else "query" if place < cameras else "gallery"
            rows.append((file.name, name.format(person), split, place % cameras if with_cameras else None))
    pd.DataFrame(rows, columns=["path", "person_id", "split", "camera_id"]).to_csv(
        folder / "own.csv", index=False
    )
    return ["data=table", f"data.root={folder / 'own.csv'}", "data.validation=0.5"]


def text_of(page):
    return " ".join(re.sub(r"<[^>]+>", " ", page.read_text(encoding="utf-8")).split())


def people_of(page):
    said = (page.parent / "index_files" / "people.js").read_text(encoding="utf-8")
    return json.loads(said.splitlines()[0].removeprefix("const PEOPLE = ").removesuffix(";"))


def test_numbers_are_those_counted_by_hand(tmp_path):
    page = show_data(write_set(tmp_path), tmp_path / "page", tmp_path / "sizes.csv")
    said = text_of(page)
    assert "90 images of 15 people" in said
    assert "train 42 7 3 0 query 24 8 3 0 gallery 24 8 3 0" in said
    assert "0 14 8 8 30 1 14 8 8 30 2 14 8 8 30" in said, "images per camera"
    assert "0 15 15 15 1 15 15 15 2 15 15 15" in said, "pairs of cameras"
    assert "0 queries without a true match" in said
    assert "4 of 7 training people are held out" in said
    assert "people 4 queries 12 gallery 12 people left to train on 3 images left to train on 18" in said
    roles = [person["role"] for person in people_of(page)]
    assert {role: roles.count(role) for role in set(roles)} == {"training": 3, "validation": 4, "test": 8}
    sizes = pd.read_csv(tmp_path / "sizes.csv")
    assert sizes[["image_height", "image_width"]].drop_duplicates().to_numpy().tolist() == [[64, 32]]
    assert sizes["image_bytes"].tolist() == [(tmp_path / name).stat().st_size for name in sizes["path"]]


def test_no_cameras_and_one_person(tmp_path):
    options = write_set(tmp_path, people=2, cameras=1, shots=3, with_cameras=False)
    rows = pd.read_csv(tmp_path / "own.csv").iloc[3:]
    rows.to_csv(tmp_path / "own.csv", index=False)
    page = show_data(options, tmp_path / "page", tmp_path / "sizes.parquet")
    said = text_of(page)
    assert "3 images of 1 people" in said
    assert "Cameras are unknown" in said
    assert "Pairs of cameras" not in said
    assert "A run would refuse this data" in said
    assert pd.read_parquet(tmp_path / "sizes.parquet")["image_width"].tolist() == [32, 32, 32]


def test_all_images_are_missing(tmp_path):
    options = write_set(tmp_path, people=4)
    for file in tmp_path.glob("*.png"):
        file.unlink()
    said = text_of(show_data(options, tmp_path / "page"))
    assert "24 missing or damaged images" in said
    assert "all images are missing or damaged" in said


def test_damaged_images_are_left_out_of_the_validation_where_a_run_does(tmp_path):
    options = write_set(tmp_path)
    (tmp_path / "1_0.png").write_bytes(b"")
    assert "data.damaged=skip" in text_of(show_data(options, tmp_path / "page"))
    said = text_of(show_data([*options, "data.damaged=skip"], tmp_path / "page"))
    numbers = re.search(
        r"queries (\d+) gallery (\d+) people left to train on 3 images left to train on (\d+)", said
    )
    assert sum(map(int, numbers.groups())) == 41


def test_names_do_not_become_markup(tmp_path):
    page = show_data(write_set(tmp_path, name=NASTY + "{}"), tmp_path / "page")
    assert NASTY not in page.read_text(encoding="utf-8")


def test_thousands_of_cameras(tmp_path):
    options = write_set(tmp_path, people=10)
    rows = pd.read_csv(tmp_path / "own.csv")
    rows = pd.concat([rows] * 50, ignore_index=True).assign(camera_id=lambda table: range(len(table)))
    rows.to_csv(tmp_path / "own.csv", index=False)
    said = text_of(show_data(options, tmp_path / "page"))
    assert "the 40 of 1,000 with the most" in said
    assert "The 20 of 1,000 cameras with the most images" in said


def test_an_earlier_page_leaves_nothing(tmp_path):
    options = write_set(tmp_path)
    show_data(options, tmp_path / "page")
    (tmp_path / "page" / "mine.jpg").write_bytes(b"kept")
    rows = pd.read_csv(tmp_path / "own.csv")
    rows[rows["person_id"].isin(["p0", "p1"])].to_csv(tmp_path / "own.csv", index=False)
    show_data(options, tmp_path / "page")
    people = tmp_path / "page" / "index_files" / "people"
    assert sorted(file.name for file in people.iterdir()) == ["00000.jpg", "00001.jpg"]
    assert sorted(file.name for file in (tmp_path / "page").iterdir()) == [
        "index.html",
        "index_files",
        "mine.jpg",
    ]


@pytest.mark.parametrize(
    ("output", "table", "said"),
    [
        ("data.root=x", None, "is a setting"),
        ("own.csv", None, "own.csv is a file and not a folder"),
        ("page", "sizes.xlsx", "must end in one of .csv, .parquet"),
    ],
)
def test_what_cannot_be_written_is_said_first(tmp_path, monkeypatch, output, table, said):
    monkeypatch.chdir(tmp_path)
    options = write_set(tmp_path, people=2)
    with pytest.raises(InputError, match=said):
        show_data(options, output, table)


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_the_page_holds_in_a_browser(tmp_path, browser, width, dark):
    options = write_set(
        tmp_path, name=NASTY + "a_very_long_name_that_does_not_break_" * 3 + "{}", cameras=12, shots=1
    )
    (tmp_path / "1_0.png").write_bytes(b"")
    opened = browser.open(show_data(options, tmp_path / "page"), width, dark)
    opened.page.evaluate("document.querySelectorAll('details').forEach((item) => { item.open = true; })")
    opened.page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    time.sleep(0.3)
    assert opened.complaints == []
    assert opened.outside() == []
    assert opened.overflow() <= 0
    broken = "[...document.images].filter((image) => image.complete && !image.naturalWidth).length"
    assert opened.page.evaluate(broken) == 0
    assert opened.page.locator("img:not([alt])").count() == 0


@pytest.mark.slow
def test_people_by_keyboard(tmp_path, browser):
    opened = browser.open(show_data(write_set(tmp_path), tmp_path / "page"))
    page = opened.page
    assert page.locator("#place").inner_text() == "1 to 12 of 15"
    page.keyboard.press("ArrowRight")
    assert page.locator("#place").inner_text() == "13 to 15 of 15"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert page.locator("#place").inner_text() == "1 to 12 of 15"
    page.keyboard.press("/")
    page.keyboard.type("P13")
    assert page.locator("#sheet h3").all_inner_texts() == ["table/p13"]
    page.locator("#sheet .alike button").first.click()
    other = page.locator("#sheet .person:focus h3").inner_text()
    people = people_of(tmp_path / "page" / "index.html")
    place = [person["name"] for person in people].index("table/p13")
    assert other == people[people[place]["alike"][0][0]]["name"]
    page.locator("#search").fill("nobody")
    assert page.locator("#place").inner_text() == "Nobody has this name."
    page.locator("#search").fill("")
    page.locator("#role").select_option("test")
    assert page.locator("#place").inner_text() == "1 to 8 of 8"
    assert opened.complaints == []
