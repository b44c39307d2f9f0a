"""The page of a run and of a comparison in a real browser: nothing is asked of the network, and what is shown is true."""

import json
import re
import shutil

import pandas as pd
import pytest
from browser import NARROW, WIDE
from faults.tiny_run import TINY
from helpers import command, train

from reid_lightning.errors import InputError

pytestmark = pytest.mark.slow
PEOPLE = ("data.sources.pedestrians.test_identities=16", "attributes=market12", "page=full")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for seed in (1, 2):
        train(*TINY, *PEOPLE, f"seed={seed}", folder=folder / f"run{seed}")
    return folder


@pytest.fixture
def page(runs, browser):
    opened = browser.open(runs / "run1" / "report.html")
    yield opened
    assert opened.complaints == []
    assert opened.outside() == []


def shown(opened):
    return [int(row.get_attribute("data-number")) for row in opened.page.query_selector_all(".query")]


def all_shown(opened):
    while opened.page.is_visible("#more"):
        opened.page.click("#more")
    return shown(opened)


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_fits_and_asks_for_nothing(runs, browser, width, dark):
    opened = browser.open(runs / "run1" / "report.html", width, dark)
    assert opened.overflow() <= 0
    opened.page.click(".who")
    assert opened.overflow() <= 0
    box = opened.page.locator("dialog").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    background = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 200) == dark
    opened.page.wait_for_load_state("networkidle")
    assert opened.page.evaluate("[...document.images].filter(i => i.complete && !i.naturalWidth).length") == 0
    assert opened.complaints == []
    assert opened.outside() == []


def test_every_number_is_that_of_the_run(runs, page):
    numbers = json.loads((runs / "run1" / "metrics.json").read_text())
    head = [cell.inner_text() for cell in page.page.query_selector_all(".scores thead th")]
    for row in page.page.query_selector_all(".scores tbody tr"):
        cells = [cell.inner_text() for cell in row.query_selector_all("td")]
        for title, text in zip(head[1:], cells[1:], strict=True):
            name = {"mAP (trapezoids)": "mAP_trapezoid"}.get(title, title.replace("Rank-", "rank"))
            assert text.split()[0] == f"{100 * numbers[cells[0]][name]:.1f}"
    low, high = numbers["intervals"]["test"]
    assert f"{100 * low:.1f} to {100 * high:.1f}" in page.page.inner_text(".scores")
    queries = pd.read_csv(runs / "run1" / "queries.csv")
    assert f"{len(queries)} of {len(queries)} queries" in page.page.inner_text("#shown")
    assert f"mean AP: {100 * numbers['test']['mAP']:.1f}" in page.page.inner_text("#shown")
    for number in all_shown(page):
        said = page.page.inner_text(f'.query[data-number="{number}"] .who b')
        assert said == f"AP {100 * queries['average_precision'][number]:.1f}"


def test_sorting_and_filters(runs, page):
    queries = pd.read_csv(runs / "run1" / "queries.csv")
    worst = queries["average_precision"].sort_values(kind="stable").index.tolist()
    assert all_shown(page) == worst
    page.page.select_option("#sort", "best")
    assert (
        all_shown(page)
        == queries["average_precision"].sort_values(ascending=False, kind="stable").index.tolist()
    )
    page.page.select_option("#sort", "order")
    assert all_shown(page) == list(queries.index)
    page.page.select_option("#kind", "f")
    assert all_shown(page) == queries.index[queries["first_match_rank"] > 10].tolist()
    page.page.click("button[type=reset]")
    page.page.select_option("#query-camera", label="2")
    page.page.select_option("#sort", "order")
    assert all_shown(page) == queries.index[queries["camera_id"] == 2].tolist()
    page.page.click("button[type=reset]")
    person = str(queries["person_id"][0]).zfill(4)
    page.page.fill("#words", person)
    page.page.select_option("#sort", "order")
    assert all_shown(page) == queries.index[queries["person_id"] == queries["person_id"][0]].tolist()


def test_a_pair_of_cameras_shows_its_queries_and_their_mean(page):
    cell = page.page.locator("[data-query-camera]").first
    value = cell.inner_text().split("\n")[0]
    cell.click()
    page.until("document.querySelector('#match-camera').value !== ''")
    assert page.page.inner_text("#shown").endswith(value)


def test_attributes_count_the_queries(page):
    for row in page.page.query_selector_all("#attributes tbody tr")[:4]:
        of, value, count = [cell.inner_text() for cell in row.query_selector_all("td")][:3]
        page.page.select_option("#attribute", label=f"{of}: {value} ({count})")
        assert page.page.inner_text("#shown").startswith(f"{count} of ")


def test_the_keyboard_opens_steps_and_closes(page):
    page.page.focus(".query .who")
    page.page.keyboard.press("Enter")
    assert page.page.locator("dialog").is_visible()
    assert "query 1 of" in page.page.inner_text("#where")
    page.page.keyboard.press("ArrowRight")
    assert "query 2 of" in page.page.inner_text("#where")
    page.page.keyboard.press("ArrowLeft")
    page.page.keyboard.press("ArrowLeft")
    assert "query 1 of" in page.page.inner_text("#where")
    page.page.keyboard.press("Escape")
    assert not page.page.locator("dialog").is_visible()
    assert page.page.evaluate("document.activeElement.className") == "who"


def test_filters_stand_in_the_address(runs, browser, page):
    page.page.select_option("#query-camera", label="2")
    page.page.select_option("#sort", "best")
    page.page.fill("#words", "jpg c2")
    address = page.page.url
    assert {"camera=2", "sort=best", "words=jpg+c2"} <= set(address.partition("#")[2].split("&"))
    wanted = all_shown(page)
    again = browser.open(runs / "run1" / "report.html")
    again.page.goto(address)
    again.page.reload()
    assert all_shown(again) == wanted
    page.page.click("button[type=reset]")
    page.until("!location.hash")
    again.page.goto(
        page.page.url + "#camera=99&error=zz&sort=x&q=100000&words="
    )  # of another run, or by hand
    again.page.reload()
    assert all_shown(again) == all_shown(page)
    assert again.complaints == []


def test_back_closes_the_query(page):
    page.page.select_option("#sort", "best")
    entries = page.page.evaluate("history.length")
    page.page.click(".query .who")
    page.page.keyboard.press("ArrowRight")
    assert "q=" in page.page.url
    assert page.page.evaluate("history.length") == entries + 1
    page.page.go_back()
    page.until("!document.querySelector('dialog').open")
    assert page.page.url.endswith("#sort=best")
    page.page.go_forward()
    page.until("document.querySelector('dialog').open")
    page.page.keyboard.press("Escape")
    page.until("!location.hash.includes('q=')")
    assert page.page.url.endswith("#sort=best")
    assert not page.page.locator("dialog").is_visible()
    page.page.click("nav a[href='#run']")  # a section keeps the filters
    assert page.page.input_value("#sort") == "best"


def test_a_query_is_closed_where_there_is_nothing_to_go_back_to(runs, browser):
    opened = browser.open(runs / "run1" / "report.html")
    opened.page.goto(opened.page.url + "#q=1")
    opened.page.reload()
    assert opened.page.locator("dialog").is_visible()
    opened.page.keyboard.press("Escape")
    opened.until("location.hash === ''")  # going back takes the browser a moment
    assert opened.page.url.endswith("report.html")
    assert not opened.page.locator("dialog").is_visible()
    assert opened.complaints == []


def test_a_page_and_a_folder_of_two_writings_are_not_shown_together(runs, browser, tmp_path):
    shutil.copytree(runs / "run1", tmp_path / "run")
    shutil.copyfile(runs / "run2" / "report" / "data.js", tmp_path / "run" / "report" / "data.js")
    opened = browser.open(tmp_path / "run" / "report.html")
    assert "were not written together" in opened.page.inner_text("#how")
    assert shown(opened) == []
    assert opened.complaints == []


def test_a_page_that_cannot_be_written_leaves_the_earlier_one(runs, tmp_path, monkeypatch):
    shutil.copytree(runs / "run1", tmp_path / "run")
    before = {file: file.read_bytes() for file in (tmp_path / "run" / "report").rglob("*") if file.is_file()}
    page = (tmp_path / "run" / "report.html").read_bytes()

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("reid_lightning.results.browsing.folder.write_data", full)
    with pytest.raises(InputError, match=r"disk of .* is full"):
        command("report", "run", tmp_path / "run")
    assert {f: f.read_bytes() for f in (tmp_path / "run" / "report").rglob("*") if f.is_file()} == before
    assert (tmp_path / "run" / "report.html").read_bytes() == page


def test_the_whole_list_has_maps_attributes_and_every_match(runs, page):
    queries = pd.read_csv(runs / "run1" / "queries.csv")
    number = all_shown(page)[0]
    page.page.click(f'.query[data-number="{number}"] .who')
    assert page.page.locator("#inside .whole .hit.right").count() == queries["num_matches"][number]
    page.page.click("#inside .whole .hit.right button")
    assert "Differ: 0" in page.page.inner_text("#inside")  # attributes are annotated by person
    mapped = page.page.evaluate(f"REID.maps[{number}].map(one => one[0])")
    assert mapped
    page.page.click(f'#inside .whole .hit[data-image="{mapped[0]}"] button')
    assert "Grad-CAM" in page.page.inner_text("#inside")


def test_tables_sort(page):
    page.page.click("#attributes th:nth-child(4) button")
    values = [
        float(cell.inner_text()) for cell in page.page.query_selector_all("#attributes td:nth-child(4)")
    ]
    assert values == sorted(values, reverse=True)


def test_a_page_is_written_again_with_the_same_data(runs):
    before = (runs / "run2" / "report" / "data.js").read_text()
    command("report", "run", runs / "run2")
    assert (runs / "run2" / "report" / "data.js").read_text() == before


def test_a_page_of_other_numbers_is_refused(runs, tmp_path):
    shutil.copytree(runs / "run1", tmp_path / "run")
    numbers = json.loads((tmp_path / "run" / "metrics.json").read_text())
    before = (tmp_path / "run" / "report.html").read_bytes()
    for change, said in (({"mAP": 0.99}, "rank with"), (None, "has no test")):
        changed = numbers | {"test": numbers["test"] | change if change else {}}
        (tmp_path / "run" / "metrics.json").write_text(json.dumps(changed))
        with pytest.raises(InputError, match=said):
            command("report", "run", tmp_path / "run")
    (tmp_path / "run" / "metrics.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="does not hold the numbers of a run"):
        command("report", "run", tmp_path / "run")
    assert (tmp_path / "run" / "report.html").read_bytes() == before
    with pytest.raises(InputError, match="are one run"):
        command("report", "compare", tmp_path / "run", tmp_path / "run")
    with pytest.raises(InputError, match="is not a folder"):
        command("report", "compare", tmp_path / "run", tmp_path / "none")


def test_a_job_of_a_sweep_has_a_brief_page_until_it_is_asked_for(runs, browser, tmp_path):
    train(*TINY, "trainer.max_epochs=1", "page=brief", folder=tmp_path / "run")
    assert not (tmp_path / "run" / "report").exists()
    opened = browser.open(tmp_path / "run" / "report.html")
    assert "reid report run" in opened.page.inner_text("main")
    assert opened.complaints == []


def test_two_runs_side_by_side(runs, browser, tmp_path):
    command("report", "compare", runs / "run1", runs / "run2", "--output", tmp_path / "both")
    queries = [pd.read_csv(runs / name / "queries.csv") for name in ("run1", "run2")]
    opened = browser.open(tmp_path / "both" / "compare.html")
    gain = queries[1]["average_precision"] - queries[0]["average_precision"]
    assert f"{100 * gain.mean():+.1f}" in opened.page.inner_text(".scores")
    assert all_shown(opened) == gain.round(6).sort_values(ascending=False, kind="stable").index.tolist()
    hits = [one["first_match_rank"] == 1 for one in queries]
    for value, mask in (("rw", hits[0] & ~hits[1]), ("wr", ~hits[0] & hits[1])):
        if mask.any():
            opened.page.select_option("#kind", value)
            assert sorted(all_shown(opened)) == mask.index[mask].tolist()
    assert opened.complaints == []
    assert opened.outside() == []
    assert "Only the seed differs" in opened.page.inner_text(".differs")
    narrow = browser.open(tmp_path / "both" / "compare.html", NARROW)
    assert narrow.overflow() <= 0
