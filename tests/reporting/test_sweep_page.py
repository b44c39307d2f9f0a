"""The page of a sweep: whole, shut off from the network, and safe from what a config may hold."""

import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from reid_lightning.reporting.charts import ticks
from reid_lightning.reporting.parallel import parallel_coordinates
from reid_lightning.reporting.sweep_charts import DRAWN, Curve, Point, averaged, curve_chart, scatter
from reid_lightning.reporting.sweep_page import SweepContent, Trained, write_sweep_page

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


def written(tmp_path, **changes):
    content = {
        "title": "2026 <sweep>",
        "header": ["9 of 10 jobs finished."],
        "command": "python train.py --multirun 'loss=<b>,triplet'",
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
        "curves": [Curve(EVIL, "1", ((1, 0.1), (2, 0.3))), Curve("loss=triplet", "<2>", ((1, 0.2),))],
        "ranks": [Curve("loss=triplet", "1", ((1, 0.1), (2, 0.3)))],
        "runs": {"loss=triplet": [Trained("1", "a%20b/report.html"), Trained("2", failed=True)]},
        "commands": {EVIL: EVIL},
        "notes": [f"{EVIL} is not compared"],
        "failures": [f"failed: job 3 ({EVIL})"],
    }
    return write_sweep_page(tmp_path / "sweep.html", SweepContent(**(content | changes))).read_text("utf-8")


def test_the_page_holds_everything(tmp_path):
    shown = Page(written(tmp_path))
    for words in (
        "2026 <sweep>",
        "9 of 10 jobs finished.",
        "python train.py --multirun 'loss=<b>,triplet'",
        "60.0",
        "± 1.0",
        "-20.0",
        "[-25.0, -15.0]",
        "worse",
        "unknown",
        "-25.0",
        "reference",
        "3.20",
        "Effect of each choice",
        "Learning curves",
        "Cumulative matching characteristic (test)",
        "Choices and scores",
        "Score and cost",
        f"failed: job 3 ({EVIL})",
        f"{EVIL} is not compared",
    ):
        assert words in shown.words, words
    assert shown.words.count(EVIL) >= 3
    links = [attributes["href"] for tag, attributes in shown.tags if tag == "a"]
    assert "a%20b/report.html" in links


def test_marks_of_an_option_can_be_found_by_its_place(tmp_path):
    tags = Page(written(tmp_path)).tags
    places = [(tag, attributes["data-key"]) for tag, attributes in tags if "data-key" in attributes]
    for place in "012":
        assert places.count(("tr", place)) == 1
    assert places.count(("g", "1")) == 3  # a curve, a line through the choices, a point
    assert places.count(("g", "0")) == 4  # and its ranks


def test_nothing_of_a_config_is_code_and_nothing_is_fetched(tmp_path):
    html = written(tmp_path)
    shown = Page(html)
    assert [tag for tag, _ in shown.tags].count("script") == 1
    assert "img" not in {tag for tag, _ in shown.tags}
    assert not [name for _, attributes in shown.tags for name in attributes if name.startswith("on")]
    assert not [attributes for _, attributes in shown.tags if "src" in attributes]
    assert not re.search(r"https?:|url\(|@import|<link|fetch\(|innerHTML", html)
    policy = next(a["content"] for tag, a in shown.tags if tag == "meta" and "http-equiv" in a)
    assert "default-src 'none'" in policy


def test_what_was_not_measured_has_no_section(tmp_path):
    left_out = {"choices": {}, "runs": {}, "commands": {}, "effects": (), "curves": (), "ranks": ()}
    html = written(tmp_path, against=None, costs={}, options=[option("a", 0.1)], **left_out)
    assert "<h2>" not in html
    assert "Holm" not in html
    assert "Δ" not in html
    untested = {name: value for name, value in option("a", 0.1).items() if "test" not in name}
    effects = [{"choice": "loss", "value": "a", "validation/mAP": 0.4, "test/mAP": None, "combinations": 1}]
    html = written(tmp_path, against=None, options=[untested], **(left_out | {"effects": effects}))
    assert "test mAP" not in html
    failed = dict.fromkeys(option("a", 0.1)) | {"option": "a"}
    assert '<td data-value="0">0</td>' in written(tmp_path, options=[failed], against=None, **left_out)


def test_bytes_that_are_not_utf8_stand_as_escapes(tmp_path):
    html = written(
        tmp_path, options=[option("data=\udcff", 0.5)], against=None, choices={}, curves=(), ranks=()
    )
    assert "data=\\udcff" in html


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


def test_a_curve_is_the_mean_of_its_runs_with_their_range():
    curves = [
        Curve("a", "1", [(1, 0.1), (2, 0.2), (3, 0.3)]),
        Curve("a", "2", [(1, 0.3), (2, 0.2)]),
        Curve("b", "1", [(1, 0.5), (2, 0.6)]),
    ]
    mean = averaged(curves[:2])
    assert mean.points == [(1, pytest.approx(20.0)), (2, pytest.approx(20.0))]
    assert mean.band == [pytest.approx((10.0, 30.0)), pytest.approx((20.0, 20.0))]
    drawn = curve_chart(curves, ["b", "a"], title="", x_label="epoch", y_label="percent", caption="")
    b, a = drawn.lines  # the first is on top
    assert (a.name, a.label, b.name, b.label) == ("a", "2", "b", "1")
    assert a.band
    assert not b.band  # one run has no range
    assert [text for _, text in drawn.x_ticks] == ["1", "2"]  # whole epochs
    assert curve_chart([], ["a"], title="", x_label="", y_label="", caption="") is None


def scores_of(axis):
    """Return the numbers at an axis by their place in the picture, as a function from values to places."""
    (low_y, low), (high_y, high) = [(y, float(text)) for y, text, _ in (axis.labels[0], axis.labels[-1])]
    return lambda value: low_y + (high_y - low_y) * (value - low) / (high - low)


def test_axes_of_scores_cover_the_spread():
    """27.78 and 27.82 with a spread of 5 are one place, and not the two ends of an axis."""
    drawn = parallel_coordinates(
        ["a", "b"], {"loss": {"a": "x", "b": "y"}}, {"mAP": {"a": (27.78, 5.0), "b": (27.82, 5.0)}}
    )
    ends = [float(re.findall(r"[\d.]+", line.path)[-1]) for line in drawn.lines]
    assert abs(ends[0] - ends[1]) < 0.02 * (drawn.bottom - drawn.top)
    place = scores_of(drawn.axes[-1])
    by_name = {line.name: list(map(float, re.findall(r"[\d.]+", line.band))) for line in drawn.lines}
    assert by_name["a"][1:] == pytest.approx([place(22.78), place(32.78)], abs=0.1)
    assert drawn.top <= min(by_name["a"][1:])
    assert max(by_name["b"][1:]) <= drawn.bottom
    close = parallel_coordinates(
        ["a", "b"], {"loss": {"a": "x", "b": "y"}}, {"mAP": {"a": (27.78, None), "b": (27.82, None)}}
    )
    ends = [float(re.findall(r"[\d.]+", line.path)[-1]) for line in close.lines]
    assert abs(ends[0] - ends[1]) < 0.1 * (drawn.bottom - drawn.top)


def test_points_stand_by_size_and_their_bars_are_within():
    points = [Point(0, "a", 1.0, 10.0, 4.0), Point(1, "b", 2.0, 20.0)]
    drawn = scatter(points, title="", x_label="cost", y_label="mAP")
    a, b = drawn.lines
    (a_x, a_y), (b_x, b_y) = a.dots[0], b.dots[0]
    assert b_x > a_x
    assert b_y < a_y
    assert (a_x - drawn.left) * 2 == pytest.approx(b_x - drawn.left, abs=0.2)  # costs begin at zero
    x, low, high = map(float, re.findall(r"[\d.]+", a.band))
    assert x == a_x
    assert drawn.top <= high < a_y < low <= drawn.bottom
    assert (low + high) / 2 == pytest.approx(a_y, abs=0.1)


def test_numbers_are_placed_by_size_and_over_decades_by_their_logarithm():
    rates = {"a": "1e-5", "b": "1e-4", "c": "1e-3"}
    scores = {"a": (1.0, None), "b": (2.0, None), "c": (3.0, None)}
    drawn = parallel_coordinates(list("abc"), {"optimizer.lr": rates}, {"mAP": scores})
    starts = {line.name: float(re.findall(r"[\d.]+", line.path)[1]) for line in drawn.lines}
    assert starts["a"] - starts["b"] == pytest.approx(starts["b"] - starts["c"], abs=0.2)
    assert starts["a"] > starts["c"]
    assert "0.0001" in [text for _, text, _ in drawn.axes[0].labels]
    assert (drawn.axes[0].short, drawn.axes[0].name) == ("lr", "optimizer.lr")


def test_labels_of_close_lines_do_not_cover_one_another():
    curves = [Curve(name, "1", [(1, 0.1), (2, 0.5)]) for name in "abcd"]
    drawn = curve_chart(curves, list("abcd"), title="", x_label="", y_label="", caption="")
    heights = sorted(line.label_at[1] for line in drawn.lines)
    assert min(after - before for before, after in pairwise(heights)) >= 10


def test_an_interval_that_leaves_zero_out_does_so_in_its_picture(tmp_path):
    html = written(tmp_path)
    low, at, high = map(float, re.search(r"--low: ([\d.]+); --at: ([\d.]+); --high: ([\d.]+)", html).groups())
    assert 0 <= low < at < high < 0.5
    assert 0.5 - at == pytest.approx(0.47 * 0.2 / 0.25, abs=1e-3)  # the longest difference ends the axis


def test_many_options_leave_a_page_that_can_be_opened(tmp_path):
    names = [f"loss=circle, optimizer.lr={place}" for place in range(300)]
    options = [option(name, 0.5, "worse", -0.1) for name in names]
    curves = [Curve(name, seed, [(epoch, 0.1) for epoch in range(1, 31)]) for name in names for seed in "12"]
    html = written(
        tmp_path, options=options, against=None, choices={"lr": {name: name for name in names}}, curves=curves
    )
    assert len(html) < 1_500_000
    assert html.count("<tr data-key=") == 300
    assert f"of which the last {300 - DRAWN} are not drawn" in html
