"""The page of a sweep and that of a comparison of models in a real browser: they fit, and tell the truth."""

import json
import re

import pandas as pd
import pytest
from browser import NARROW, WIDE, wait_until
from helpers import write_job

from reid_lightning.results.matrix import Cell, ModelCost, write_matrix
from reid_lightning.sweeps.report import report_sweep

pytestmark = pytest.mark.slow
EVIL = "loss=</script><script>document.title='x'</script>\"'<img src=x onerror=document.title=1>"
LONG = f"augmentation={'crop_and_flip_' * 15}"
OPTIONS = {"loss=triplet": 0.6, "loss=circle": 0.45, EVIL: 0.3, LONG: 0.2}
PEOPLE = 30


def write_one(folder, override, level, seed):
    """Write what a finished job leaves: rankings of 30 people with two queries each, curves and a page."""
    ranks = [1 + (place * 7 + seed) % (2 + round(12 * (1 - level))) for place in range(2 * PEOPLE)]
    precision = [1.0 / rank for rank in ranks]
    test = {"mAP": sum(precision) / len(ranks), "rank1": ranks.count(1) / len(ranks)}
    cost = {
        "parameters": round(1e6 * (1 + level)),
        "images_per_second": 99.0,
        "seconds": {"fit": 60.0 * seed},
    }
    content = {"validation": {"mAP": level + 0.02 * seed}, "test": test, "cost": cost}
    write_job(folder, [override, "data.root=/home/me/market"], seed, content)
    names = [f"/data/{place}.jpg" for place in range(2 * PEOPLE)]
    table = {
        "path": names,
        "source": "market1501",
        "person_id": [f"{place // 2:04}" for place in range(2 * PEOPLE)],
    }
    table |= {"camera_id": 1, "average_precision": precision, "first_match_rank": ranks, "num_matches": 1}
    pd.DataFrame(table).to_csv(folder / "queries.csv", index=False)
    lines = [f"{epoch},{10 * epoch + 9},{level * (epoch + seed) / 6}" for epoch in range(4)]
    (folder / "metrics.csv").write_text("\n".join(["epoch,step,val/mAP", *lines]) + "\n")
    (folder / "report.html").write_text("<!doctype html><title>job</title>")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    for place, (override, level) in enumerate(OPTIONS.items()):
        for seed in (1, 2):
            write_one(folder / f"job {place}" / f"seed {seed}", override, level, seed)
    write_job(folder / "lost", ["loss=lost", "data.root=/home/me/market"], 1)
    report_sweep(folder)
    return folder


@pytest.fixture
def page(sweep, browser):
    opened = browser.open(sweep / "sweep.html")
    yield opened.page
    assert opened.complaints == []
    assert opened.outside() == []
    assert opened.page.title() == sweep.name


def shown(page):
    return [row.inner_text() for row in page.query_selector_all("#options tbody tr:not([hidden]) .name")]


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_fits_and_asks_for_nothing(sweep, browser, width, dark):
    opened = browser.open(sweep / "sweep.html", width, dark)
    assert opened.overflow() <= 0
    for summary in opened.page.query_selector_all("#options summary"):
        summary.click()
    assert opened.overflow() <= 0
    background = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 200) == dark
    assert opened.complaints == []
    assert opened.outside() == []
    box = opened.page.locator("#options").locator("xpath=..")
    box.evaluate("box => { box.scrollLeft = 10000; }")
    name = opened.page.locator("#options tbody tr .name").first.bounding_box()
    assert 0 <= name["x"] < width / 2  # the first column stays
    box.evaluate("box => { box.scrollLeft = 0; }")
    for column in (1, 2, 3):  # validation, test and their difference are seen first
        cell = opened.page.locator("#options thead th").nth(column).bounding_box()
        assert cell["x"] + cell["width"] <= width


def test_every_number_is_that_of_the_summary(sweep, page):
    content = json.loads((sweep / "sweep.json").read_text())
    table = pd.read_csv(sweep / "sweep.csv")
    heads = [head.inner_text() for head in page.query_selector_all("#options thead th")]
    keys = {
        "val mAP": "validation/mAP/mean",
        "test mAP": "test/mAP/mean",
        "Rank-1": "test/rank1/mean",
        "Δ test mAP": "test/mAP/difference",
        "Δ Rank-1": "test/rank1/difference",
        "images/s": "cost/images_per_second/mean",
        "M parameters": "cost/parameters/mean",
        "minutes": "cost/seconds/mean",
    }
    units = {"M parameters": 1e6, "minutes": 60}
    assert set(keys) < set(heads)
    compared = 0
    for place, row in enumerate(page.query_selector_all("#options tbody tr")):
        option = content["options"][place]
        cells = row.query_selector_all("td")
        for head, key in keys.items():
            cell = cells[heads.index(head)]
            value, text = option[key], cell.inner_text()
            if head.startswith("Δ") and option["option"] == content["comparison"]["against"]:
                assert text == "reference"
            elif value is None:
                assert cell.get_attribute("data-value") == ""
            else:
                assert float(cell.get_attribute("data-value")) == value
                assert table[key][place] == pytest.approx(value, rel=1e-12)
                compared += 1
                base = key.rpartition("/")[0]
                if head.startswith("Δ"):
                    said = f"{100 * value:+.1f} [{100 * option[f'{base}/low']:+.1f}, {100 * option[f'{base}/high']:+.1f}]"
                    assert " ".join(text.split()) == f"{option[f'{base}/word']} {said}"
                elif head in ("val mAP", "test mAP", "Rank-1"):
                    assert " ".join(text.split()) == f"{100 * value:.1f} ± {100 * option[f'{base}/std']:.1f}"
                else:
                    shown_as = value / units.get(head, 1)
                    assert float(text) == pytest.approx(shown_as, abs=0.5 if shown_as >= 100 else 0.005)
    assert compared >= 4 * 6 + 3 * 2
    effects = [row.inner_text().split("\t") for row in page.query_selector_all("#effects tbody tr")]
    assert [cells[1:] for cells in effects] == [
        [row["value"], *(f"{100 * row[name]:.1f}" for name in ("validation/mAP", "test/mAP")), str(row["combinations"])]
        for row in content["effects"]
    ]  # fmt: skip


def test_the_curve_of_ranks_begins_at_the_rank_1_of_the_table(sweep, page):
    """Places in the picture are read back into percent by the ticks of its axis."""
    content = json.loads((sweep / "sweep.json").read_text())
    charts = page.query_selector_all("#curves figure")
    assert [chart.query_selector("h3").inner_text() for chart in charts] == [
        "Learning curves",
        "Cumulative matching characteristic (test)",
    ]
    ticks = charts[1].eval_on_selector_all(
        "text[text-anchor=end]",
        "all => all.map(one => [Number(one.getAttribute('y')) - 4, Number(one.textContent)])",
    )
    (y0, v0), (y1, v1) = ticks[0], ticks[-1]
    for place, option in enumerate(content["options"][:4]):
        path = charts[1].query_selector(f'g[data-key="{place}"] path.line').get_attribute("d")
        first = float(re.findall(r"[\d.]+", path)[1])
        value = v0 + (v1 - v0) * (first - y0) / (y1 - y0)
        assert value == pytest.approx(100 * option["test/rank1/mean"], abs=0.05 * (v1 - v0) / 10)
    epochs = charts[0].eval_on_selector_all(
        "text[text-anchor=middle]", "all => all.map(one => one.textContent)"
    )
    assert epochs == ["1", "2", "3", "4", "epoch"]


def test_sorting_by_mouse_and_keyboard(sweep, page):
    content = json.loads((sweep / "sweep.json").read_text())
    by_test = sorted(
        content["options"], key=lambda row: (row["test/mAP/mean"] is None, -(row["test/mAP/mean"] or 0))
    )
    button = page.locator("#options thead th", has_text=re.compile("^test mAP$")).locator("button")
    button.click()
    assert shown(page) == [row["option"] for row in by_test]
    button.focus()
    page.keyboard.press("Enter")
    assert shown(page)[:4] == [row["option"] for row in by_test[:4]][::-1]
    assert shown(page)[4:] == ["loss=lost"]  # without a number, always last
    assert page.locator("#options thead th[aria-sort=ascending]").count() == 1
    page.locator("#options thead th").first.locator("button").click()
    assert page.locator("#options thead th").first.get_attribute("aria-sort") == "descending"


def test_a_filter_hides_options_and_their_marks(page):
    page.fill("#filter", "CIRCLE loss")
    assert shown(page) == ["loss=circle"]
    assert page.inner_text("#shown") == "1 of 5 options"
    drawn = page.eval_on_selector_all(
        "g[data-key]",
        "all => all.filter(one => getComputedStyle(one).display !== 'none').map(one => one.dataset.key)",
    )
    assert set(drawn) == {"1"}
    page.fill("#filter", "")
    assert len(shown(page)) == 5


def test_what_belongs_to_an_option_is_lit_together(page):
    page.hover("#options tbody tr:nth-child(2) .name")
    faint = "all => all.map(one => [one.dataset.key, getComputedStyle(one).opacity < 0.5])"
    assert all((key != "1") == faded for key, faded in page.eval_on_selector_all("g[data-key]", faint))
    page.locator("#options tbody tr:nth-child(3) summary").focus()
    assert all((key != "2") == faded for key, faded in page.eval_on_selector_all("g[data-key]", faint))


def test_runs_are_linked_and_commands_can_be_copied(sweep, page):
    row = page.locator("#options tbody tr", has_text="loss=circle")
    links = [link.get_attribute("href") for link in row.locator(".runs a").all()]
    assert links == ["job%201/seed%201/report.html", "job%201/seed%202/report.html"]
    row.locator("summary").press("Enter")
    code = row.locator("code").inner_text()
    assert code == "python train.py --multirun loss=circle data.root=DIR seed=1,2"
    row.locator(".copy").click()
    wait_until(
        page, "[...document.querySelectorAll('.copy')].some(one => /copied|selected/.test(one.textContent))"
    )
    row.locator(".runs a").first.click()
    assert page.title() == "job"
    page.go_back()
    evil = page.locator("#options tbody tr").filter(has=page.locator(".name", has_text="<img")).first
    evil.locator("summary").click()
    assert "<img src=x onerror=document.title=1>" in evil.locator("code").inner_text()
    assert "no metrics.json" in page.inner_text(".failures")


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_of_models_and_data_sets(tmp_path, browser, width, dark):
    names = ("<script>document.title='x'</script>", f"model_{'deep_' * 40}")
    costs = [
        ModelCost(name, "a.ckpt", 4_387_369, 52.6, (256, 128), 24.06 + 9 * at, 61.0)
        for at, name in enumerate(names)
    ]
    cells = [
        Cell(name, data, f"folder {at}", {"mAP": 0.708 - 0.1 * at, "rank1": 0.8655}, [0.5, 0.75], "cosine")
        for at, name in enumerate(names)
        for data in ("market1501", "trento")
    ]
    write_matrix(costs, cells, ["evaluation.flip=true"], tmp_path)
    opened = browser.open(tmp_path / "report.html", width, dark)
    assert opened.overflow() <= 0
    assert opened.page.title() == "2 models on 2 data sets"
    assert opened.page.evaluate("[...document.images].every(one => one.complete && one.naturalWidth > 0)")
    opened.page.locator("#matrix thead button", has_text="ms per image").click()
    assert "model_deep" in opened.page.inner_text("#matrix tbody tr:first-child")
    row = opened.page.locator("#matrix tbody tr", has_text="script").first
    assert row.locator("td").nth(2).inner_text() == "70.8"
    assert row.locator("a").get_attribute("href") == "folder%200/report.html"
    assert opened.complaints == []
    assert opened.outside() == []
