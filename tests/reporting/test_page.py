import base64
import re
from html.parser import HTMLParser

from helpers import write_plain_image

from reid_lightning.reporting.page import Picture, write_report

SUMMARY = {
    "mAP": 0.7123,
    "rank1": 0.85,
    "mAP_trapezoid": 0.6,
    "queries": 3368.0,
    "queries_without_match": 2.0,
}


class Text(HTMLParser):
    """The words, tags and addresses of a page."""

    def __init__(self, html):
        super().__init__()
        self.words, self.open, self.addresses = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.addresses += [value for name, value in attributes if name in ("src", "href", "data")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data.strip())


def page(tmp_path, **changes):
    write_plain_image(tmp_path / "cmc.png", (255, 0, 0), (4, 4))
    options = {
        "title": "pedestrians <osnet>",
        "protocol": "cosine distance",
        "scores": {"validation": {}, "test": SUMMARY},
        "facts": {"Parameters": "2 & more"},
        "pictures": [
            Picture("Cumulative matching", tmp_path / "cmc.png", "Queries found among the first k.")
        ],
        "config": "root: <nowhere>",
    }
    return write_report(tmp_path, **(options | changes))


def test_page_holds_everything_and_asks_for_nothing(tmp_path):
    path = page(tmp_path)
    assert path == tmp_path / "report.html"
    html = path.read_text(encoding="utf-8")
    text = Text(html)
    assert not text.open
    for words in ("pedestrians <osnet>", "mAP", "71.2", "Rank-1", "85.0", "mAP (trapezoids)", "60.0", "test"):
        assert words in text.words
    assert "validation" not in text.words
    joined = " ".join(text.words)
    assert "cosine distance. Test: 3,368 queries, of which 2 have no true match and are left out." in joined
    assert "2 & more" in joined
    assert "root: <nowhere>" in joined
    assert text.addresses[:-1] == ["#main", "#pictures", "#run"]
    kind, data = text.addresses[-1].split(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data) == (tmp_path / "cmc.png").read_bytes()
    assert not re.search(r"https?://|url\(|@import|<script|<link", html)


def test_stages_with_different_numbers_share_columns(tmp_path):
    scores = {"validation": {"mAP": 0.5}, "test": {"mAP": 0.25, "rank5": 0.75}}
    html = page(tmp_path, scores=scores, facts={}, pictures=[]).read_text(encoding="utf-8")
    assert "<td>validation</td><td>50.0</td><td></td>" in html
    assert "<td>test</td><td>25.0</td><td>75.0</td>" in html
