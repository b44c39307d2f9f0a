"""The page of `reid serve` in a real browser."""

import re
import struct
import zlib

import pytest
from browser import NARROW, WIDE
from served import filled_gallery, png, server
from untrained import write_small_checkpoint

import reid_lightning
from reid_lightning import Gallery

pytestmark = pytest.mark.slow
TOKEN = "a-token-of-this-test"
REFUSED = "the server responded with a status of 4"  # Chromium says so of every answer that is an error


def black_png(side):
    """A black picture of one bit a pixel, as PNG."""

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    rows = zlib.compress(bytes(side * (1 + (side + 7) // 8)), 1)
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for seed in (1, 5):
        (folder / f"{seed}.png").write_bytes(png(seed))
    (folder / "words.jpg").write_text("These are words, whatever the name says.")
    (folder / "wide.png").write_bytes(black_png(30_000))
    with (folder / "large.jpg").open("wb") as file:
        file.truncate(100_000_000)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    checkpoint = write_small_checkpoint(folder / "model.ckpt", "attributes=market12")
    return checkpoint, filled_gallery(folder / "people", reid_lightning.load(checkpoint))


@pytest.fixture(scope="module")
def url(model):
    checkpoint, gallery = model
    with server(gallery.folder, checkpoint) as started:
        yield started.url


@pytest.fixture
def opened(browser, url):
    found = browser.visit(f"{url}/", url)
    yield found
    assert [text for text in found.complaints if REFUSED not in text] == []
    assert found.outside() == []


def choose(page, field, file):
    page.set_input_files(f".drop[data-field={field}] input", file)


def ids(page):
    return [int(card.get_attribute("data-id")) for card in page.query_selector_all(".card")]


def test_a_picture_leads_to_the_ranked_list_of_the_gallery(opened, model, files):
    page, (checkpoint, gallery) = opened.page, model
    page.wait_for_selector("#about:has-text('12 images of 3 people')")
    choose(page, "picture", files / "5.png")
    page.select_option("#k", "10")
    page.click("#search .go")
    page.wait_for_selector(".card:nth-child(10) img")
    vectors = reid_lightning.load(checkpoint).embed(files / "5.png")
    hits = gallery.search(vectors, 10)
    assert ids(page) == hits.ids[0].tolist()
    shown = [card.inner_text() for card in page.query_selector_all(".card")]
    rows = gallery.rows(hits.ids[0])
    for text, distance, person in zip(shown, hits.distances[0], rows["person_id"], strict=True):
        assert f"distance {abs(distance):.4f}" in text
        assert (person if isinstance(person, str) else "unknown person") in text
    assert page.locator(".looks li").count() == 12
    sizes = page.evaluate("[...document.querySelectorAll('.card img')].map(i => i.naturalHeight)")
    assert sizes == [32] * 10
    page.fill("#where", "camera = c1 and height > 1.55")
    page.click("#search .go")
    page.wait_for_selector(".said:has-text('The 3 nearest of 12 images.')")
    assert ids(page) == gallery.search(vectors, 10, "camera = c1 and height > 1.55").ids[0][:3].tolist()
    page.fill("#like", "no hat")
    page.click(".clear")
    page.click("#search .go")
    page.wait_for_selector(".card .more:has-text('agrees: no hat'), .card .more:has-text('differs: hat')")
    assert (
        ids(page)
        == gallery.search(None, 10, "camera = c1 and height > 1.55", like="no hat").ids[0][:3].tolist()
    )


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (
            "words.jpg",
            "The picture is not an image file that this server reads: send JPEG, PNG, WEBP or BMP.",
        ),
        ("wide.png", "The picture has more pixels than this server takes: make it smaller."),
        ("large.jpg", "large.jpg has 100 MB, and this server takes 20 MB: make the picture smaller."),
    ],
)
def test_what_is_no_picture_or_too_large_is_said_in_one_sentence(opened, files, file, said):
    choose(opened.page, "picture", files / file)
    if file != "large.jpg":  # which is not even sent
        opened.page.click("#search .go")
    opened.page.wait_for_selector("#search-problem:visible")
    assert opened.page.inner_text("#search-problem") == said
    choose(opened.page, "picture", files / "5.png")
    opened.page.click("#search .go")
    opened.page.wait_for_selector(".card")
    assert not opened.page.is_visible("#search-problem")


def test_a_body_that_the_page_does_not_stop_is_refused_by_the_server(opened):
    said = opened.page.evaluate(
        "(async () => { const b = new FormData(); b.append('picture', new Blob([new Uint8Array(100000000)]), 'a');"
        "const r = await fetch('search', {method: 'POST', body: b}); return [r.status, (await r.json()).error]; })()"
    )
    assert said == [413, "The request has more than 20 MB: send a smaller picture."]


def test_a_slip_in_the_filter_names_the_columns(opened, files):
    choose(opened.page, "picture", files / "5.png")
    opened.page.fill("#where", "camra = c1")
    opened.page.click("#search .go")
    opened.page.wait_for_selector(
        "#search-problem:has-text('camra at character 1 is not a column (did you mean camera_id?)')"
    )


def test_two_pictures_are_compared(opened, files, model):
    page = opened.page
    page.click("#tab-compare")
    page.click("#compare .go")
    page.wait_for_selector("#compare-problem:has-text('Choose two pictures.')")
    choose(page, "first", files / "1.png")
    choose(page, "second", files / "5.png")
    page.click("#compare .go")
    page.wait_for_selector(".verdict")
    direct = reid_lightning.load(model[0]).compare(files / "1.png", files / "5.png")
    assert page.inner_text(".verdict") == f"No verdict: distance {float(direct.distance):.4f}"


def test_names_of_people_are_text_and_never_code(browser, tmp_path, model, files):
    import httpx

    name = "<img src=x onerror=document.title='hacked'>"
    checkpoint, _ = model
    gallery = filled_gallery(tmp_path / "people", reid_lightning.load(checkpoint), images=2)
    with server(gallery.folder, checkpoint) as started:
        sent = {"files": {"picture": png(5)}, "data": {"person_id": name}}
        assert httpx.post(f"{started.url}/enrol", **sent).status_code == 200
        opened = browser.visit(f"{started.url}/", started.url)
        choose(opened.page, "picture", files / "5.png")
        opened.page.click("#search .go")
        opened.page.wait_for_selector(".card:nth-child(3) img")
        assert opened.page.inner_text(".card:first-child b") == name
        assert opened.page.title() == "Search for people"
        assert opened.complaints == []


def test_the_page_asks_for_the_token_once(browser, tmp_path, model, files):
    checkpoint, gallery = model
    (tmp_path / "token").write_text(TOKEN)
    with server(gallery.folder, checkpoint, "--token-file", tmp_path / "token") as started:
        opened = browser.visit(f"{started.url}/", started.url)
        page = opened.page
        page.wait_for_selector("#about:has-text('This server asks for a token.')")
        page.fill("#token", "a-wrong-token-of-somebody")
        page.press("#token", "Enter")
        page.wait_for_selector("#about:has-text('A token is needed')")
        page.fill("#token", TOKEN)
        page.press("#token", "Enter")
        page.wait_for_selector("#about:has-text('12 images')")
        page.reload()
        page.wait_for_selector("#about:has-text('12 images')")
        choose(page, "picture", files / "5.png")
        page.click("#search .go")
        page.wait_for_selector(".card:nth-child(12) img")
        assert TOKEN not in page.url
        assert all(TOKEN not in address for address in opened.asked)


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_fits(browser, url, files, width, dark):
    opened = browser.visit(f"{url}/", url, width, dark)
    page = opened.page
    choose(page, "picture", files / "5.png")
    page.fill("#like", "female, red upper body, no hat")
    page.click("#search .go")
    page.wait_for_selector(".card:nth-child(12) img")
    assert opened.overflow() <= 0
    page.click("#tab-compare")
    assert opened.overflow() <= 0
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 200) == dark
    assert opened.complaints == []
    assert opened.outside() == []


def test_the_gallery_is_as_it_was(url, model):
    assert len(Gallery(model[1].folder)) == 12
