"""The page of a sweep: whole, shut off from the network, and safe from what a config may hold."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from reid_lightning.reporting.sweep_charts import Curve, Point, interval, parallel_coordinates, scatter, ticks
from reid_lightning.reporting.sweep_page import write_sweep_page

EVIL = "loss=</script><script>alert(1)</script>\"'<img src=x onerror=alert(2)>"
NAMES = ("validation/mAP", "test/mAP", "test/rank1")
VOID = ("meta", "input", "path", "circle", "img")


class Page(HTMLParser):
    """The tags, attributes and words of a page; every tag must be closed."""

    def __init__(self, html):
        super().__init__()
        self.words, self.open, self.tags = [], [], []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data.strip())


def option(name, level, word=None, gap=None):
    row = {"option": name, "cost/parameters/mean": 2e6 * (1 + level), "cost/gflops/mean": None}
    for score in NAMES:
        row |= {f"{score}/mean": level, f"{score}/std": 0.01, f"{score}/count": 3}
    for score in NAMES[1:]:
        spread = None if word in (None, "unknown") else 0.05
        row |= {
            f"{score}/difference": gap,
            f"{score}/low": None if spread is None else gap - spread,
            f"{score}/high": None if spread is None else gap + spread,
            f"{score}/word": word,
        }
    return row


def page(tmp_path, **changes):
    content = {
        "title": "2026 <sweep>",
        "note": "9 of 10 jobs finished",
        "against": "loss=triplet",
        "over": "seeds and people",
        "options": [
            option("loss=triplet", 0.6),
            option(EVIL, 0.4, "worse", -0.2),
            option("loss=circle", 0.35, "unknown", -0.25),
        ],
        "scores": dict(zip(NAMES, ("val mAP", "test mAP", "Rank-1"), strict=True)),
        "costs": {"cost/parameters": ("M parameters", 1e6), "cost/gflops": ("GFLOPs", 1)},
        "choices": {"loss": {"loss=triplet": "triplet", EVIL: EVIL[5:], "loss=circle": "circle"}},
        "effects": [
            {"choice": "loss", "value": EVIL, "validation/mAP": 0.4, "test/mAP": None, "combinations": 1}
        ],
        "curves": [Curve(EVIL, "1", ((1.0, 0.1), (2.0, 0.3))), Curve("loss=triplet", "<2>", ((1.0, 0.2),))],
        "notes": [f"failed: job 3 ({EVIL})"],
    }
    return write_sweep_page(tmp_path / "sweep.html", **(content | changes)).read_text(encoding="utf-8")


def test_the_page_holds_everything(tmp_path):
    shown = Page(page(tmp_path))
    for words in (
        "2026 <sweep>",
        "9 of 10 jobs finished.",
        "60.0 ± 1.0",
        "-20.0 [-25.0, -15.0]",
        "worse",
        "unknown",
        "-25.0",
        "reference",
        "3.20",
        "Effect of each choice",
        "Learning curves",
        "Choices and scores",
        "Score and cost",
        f"failed: job 3 ({EVIL})",
    ):
        assert words in shown.words, words
    assert shown.words.count(EVIL) >= 3


def test_marks_of_an_option_can_be_found_by_its_place(tmp_path):
    tags = Page(page(tmp_path)).tags
    places = [(tag, attributes["data-option"]) for tag, attributes in tags if "data-option" in attributes]
    for place in "012":
        assert places.count(("tr", place)) == 1
    assert places.count(("g", "1")) == 3  # a curve, a line through the choices, a point


def test_nothing_of_a_config_is_code_and_nothing_is_fetched(tmp_path):
    html = page(tmp_path)
    shown = Page(html)
    assert [tag for tag, _ in shown.tags].count("script") == 1
    assert "img" not in {tag for tag, _ in shown.tags}
    assert not [name for _, attributes in shown.tags for name in attributes if name.startswith("on")]
    assert not [name for _, attributes in shown.tags for name in attributes if name in ("src", "href")]
    assert not re.search(r"https?:|url\(|@import|<link|fetch\(|innerHTML", html)
    policy = next(a["content"] for tag, a in shown.tags if tag == "meta" and "http-equiv" in a)
    assert "default-src 'none'" in policy


def test_what_was_not_measured_has_no_section(tmp_path):
    html = page(
        tmp_path,
        against=None,
        costs={},
        choices={},
        effects=[],
        curves=[],
        notes=[],
        options=[option("a", 0.1)],
    )
    assert "<h2>" not in html
    assert "Holm" not in html
    failed = dict.fromkeys(option("a", 0.1)) | {"option": "a"}
    assert "0 of" not in page(tmp_path, options=[failed], against=None, curves=[])


def test_ticks_are_round_and_enclose():
    for low, high in (
        (0.0, 1.0),
        (3.2, 3.9),
        (-7.0, 12.0),
        (120.4, 120.40000000000001),
        (5.0, 5.0),
        (0.0, 0.0),
    ):
        steps = ticks(low, high)
        assert steps[0] <= low + 1e-9
        assert steps[-1] >= high - 1e-9
        assert 2 <= len(steps) <= 7
        gaps = {round(after - before, 9) for before, after in pairwise(steps)}
        assert len(gaps) == 1


def test_higher_is_further_up_and_right():
    drawn = scatter([Point(0, "a", 1.0, 10.0), Point(1, "b", 2.0, 20.0)], "cost")
    found = re.findall(r'data-option="(\d)".*?cx="([\d.]+)" cy="([\d.]+)"', drawn)
    by_place = {place: (float(x), float(y)) for place, x, y in found}
    assert by_place["1"][0] > by_place["0"][0]
    assert by_place["1"][1] < by_place["0"][1]


def test_numbers_are_placed_by_size_and_over_decades_by_their_logarithm():
    rates = {"a": "1e-5", "b": "1e-4", "c": "1e-3"}
    drawn = parallel_coordinates(
        list("abc"), {"optimizer.lr": rates}, {"mAP": {"a": 1.0, "b": 2.0, "c": 3.0}}
    )
    starts = {place: float(y) for place, y in re.findall(r'data-option="(\d)".*?d="M[\d.]+ ([\d.]+)L', drawn)}
    assert starts["0"] - starts["1"] == pytest.approx(starts["1"] - starts["2"], abs=0.2)
    assert starts["0"] > starts["2"]
    assert ">0.0001</text>" in drawn


def test_an_interval_that_leaves_zero_out_does_so_in_its_picture():
    low, high = map(float, re.search(r'd="M([\d.]+) 7H([\d.]+)"', interval(-3, -5, -1, 10)).groups())
    assert 0 < low < high < 75


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_sorting_and_filtering_in_a_browser(tmp_path):
    """The script is run by a browser: two clicks sort by test mAP upwards, and a filter hides an option's marks."""
    html = page(tmp_path).replace(
        "</body>",
        "<script>document.querySelectorAll('#options th button')[2].click();"
        "document.querySelectorAll('#options th button')[2].click();"
        "filter.value = 'CIRCLE unknown'; filter.dispatchEvent(new Event('input'));</script></body>",
    )
    (tmp_path / "driven.html").write_text(html, encoding="utf-8")
    command = [
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    done = subprocess.run(
        [*command, "--dump-dom", f"file://{tmp_path / 'driven.html'}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    rows = re.findall(r'<tr data-option="(\d)"( hidden="")?', done.stdout)
    assert rows == [("2", ""), ("1", ' hidden=""'), ("0", ' hidden=""')]
    assert "1 of 3 options" in done.stdout
