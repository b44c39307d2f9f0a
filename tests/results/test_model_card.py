"""The model card as Markdown: what it says, and that no name in it can say anything else."""

import json
import logging
from html.parser import HTMLParser

import pandas as pd
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from reid_lightning.experiments.run import run_job
from reid_lightning.results import card_writer
from reid_lightning.results.card_facts import CardFacts, counts, facts_beside, of_hydra, write_facts
from reid_lightning.results.model_card import card_text

FEED = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "interpolation": "bicubic"}
CONFIG = {
    "seed": 7,
    "data": {"image_size": [256, 128], "sources": {"market1501": {}}},
    "backbone": {"_target_": "reid_lightning.models.convolutional_backbones.resnet50"},
    "attributes": None,
}
FACTS = CardFacts(
    checkpoint="best.ckpt",
    finished=True,
    command=["data=market1501", "data.root=DIR", "data.image_size=[256,128]"],
    choices={"backbone": "resnet50"},
    data=[{"source": "market1501", "split": "train", "images": 12936, "identities": 751, "cameras": 6}],
    protocol="256x128 pixels; cosine distance",
    validation={"mAP": 0.9, "rank1": 0.95, "queries": 10.0},
    test={"mAP": 0.81234, "rank1": 0.9},
    intervals={"test": [0.8, 0.83]},
    reports={"attributes": {"accuracy": 0.9, "hat/accuracy": 0.7, "hat/majority": 0.65, "bag/accuracy": 0.5}},
    lines=["attributes: accuracy 90.0 (most frequent class always: 80.0)"],
    cost={"parameters": 23_500_000, "gflops": 4.1, "images_per_second": 250.0, "seconds": {"fit": 60.0}},
    versions={"torch": "2.15.0"},
)
EVIL = (
    "<script>alert(1)</script>",
    "`<b>`",
    "``` \n# owned",
    "a\n---\nlicense: mit\n---\n",
    "|| [x](http://evil.example) |",
    "![x](http://evil.example/x.png)",
    "http://evil.example www.evil.example",
    "\x1b[2J\u202e",
    "",
    "\\`<img src=x onerror=y>",
    "${jndi:x} {{ 1 + 1 }} {% x %}",
    "x" * 5000,
)


class Tags(HTMLParser):
    """Collects tags and addresses of a page."""

    def __init__(self):
        super().__init__()
        self.tags, self.headings, self._open = set(), [], None

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self._open = tag if tag in ("h1", "h2") else self._open

    def handle_data(self, data):
        if self._open in ("h1", "h2"):
            self.headings.append(data)

    def handle_endtag(self, tag):
        self._open = None if tag in ("h1", "h2") else self._open


def rendered(text):
    """Return the tags and headings of a card's body as a reader of GitHub's Markdown sees it."""
    page = Tags()
    page.feed(
        MarkdownIt("commonmark", {"html": True, "linkify": False})
        .enable("table")
        .render(ModelCard(text).text)
    )
    return page


def test_the_card_says_what_is_known():
    text = card_text(FACTS, CONFIG, FEED, "best.ckpt", "cc-by-nc-4.0")
    card = ModelCard(text)
    assert card.data.license == "cc-by-nc-4.0"
    assert card.data.library_name == "reid-lightning"
    assert card.data.datasets == ["market1501"]
    assert [(r.dataset_split, r.metric_type, r.metric_value) for r in card.data.eval_results] == [
        ("test", "map", 81.23),
        ("test", "rank1", 90.0),
        ("validation", "map", 90.0),
        ("validation", "rank1", 95.0),
    ]
    for said in (
        "| test | 81.2 | 90.0 | 80.0 to 83.0 |",
        "| validation | 90.0 | 95.0 |  |",
        "256x128 pixels; cosine distance",
        "`attributes`: `accuracy 90.0 (most frequent class always: 80.0)`",
        "| `attributes` | `accuracy` | `majority` |",
        "| `hat` | 0.7 | 0.65 |",
        "| `bag` | 0.5 |  |",
        "| `market1501` | `train` | 12,936 | 751 | 6 |",
        "python train.py data=market1501 data.root=DIR 'data.image_size=[256,128]'",
        "mean 0.5, 0.5, 0.5 and standard deviation 0.25, 0.25, 0.25",
        "`bicubic`",
        "23.50 M parameters; 4.1 GFLOPs per image; training 250 images/s; `fit` 60 s; `torch` `2.15.0`",
        "reid_lightning.load('best.ckpt')",
        "backbone=resnet50 backbone.weights=best.ckpt",
        "far lower",
        "docs/responsible-use.md",
    ):
        assert said in card.text
    assert "license" not in card_text(FACTS, CONFIG, FEED, "best.ckpt").split("---")[1]


def test_before_the_end_the_card_says_so():
    text = card_text(CardFacts(validation={"mAP": 0.5}), CONFIG, FEED, "best.ckpt")
    assert "| validation so far | 50.0 |" in text
    assert "has not ended" in text
    refit = card_text(CardFacts(validation={"mAP": 0.5}), CONFIG | {"refit": True}, FEED, "best.ckpt")
    assert "has not ended" not in refit
    assert "`refit/checkpoints`" in refit
    assert "There are no numbers yet." in card_text(CardFacts(), CONFIG, FEED, "best.ckpt")


@pytest.mark.parametrize("evil", EVIL)
def test_no_name_of_a_file_can_say_anything_in_the_card(evil):
    facts = CardFacts(
        checkpoint=evil,
        finished=True,
        command=[f"data.root={evil}"],
        choices={evil: evil, "backbone": evil},
        data=[{"source": evil, "split": evil, "images": 1, "identities": 1, "cameras": evil}],
        protocol=evil,
        validation={"mAP": 0.5, evil: 0.5},
        test={"mAP": 0.5},
        reports={evil: {evil: 1.0, f"{evil}/x": 1.0, "x/y": 1.0}},
        lines=[evil, f"{evil}: {evil}"],
        cost={"seconds": {evil: 1.0}},
        versions={evil: evil},
    )
    config = CONFIG | {
        "backbone": {"_target_": "x", "name": evil},
        "data": CONFIG["data"] | {"sources": {evil: {}}},
    }
    plain = card_text(FACTS, CONFIG, FEED, "best.ckpt")
    text = card_text(facts, config, FEED, evil)
    page, usual = rendered(text), rendered(plain)
    assert page.tags <= usual.tags
    assert [heading for heading in page.headings if heading in usual.headings][-7:] == usual.headings[-7:]
    header = yaml.safe_load(text.split("\n---\n")[0].removeprefix("---\n"))
    assert header.keys() == yaml.safe_load(plain.split("\n---\n")[0].removeprefix("---\n")).keys()
    assert ModelCard(text).data.license is None
    assert "\x1b" not in text
    assert "\u202e" not in text


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        {"data": [1, None], "command": [3], "choices": {"a": 1}, "cost": {"seconds": 3, "gflops": "x"}},
        {"intervals": {"test": ["a", 1], "validation": [1]}, "reports": {"a": 3, "b": {"x": "y"}}},
        {"validation": {"mAP": None}, "versions": [], "cost": [], "finished": 1, "protocol": []},
    ],
)
def test_facts_of_a_stranger_make_a_card_all_the_same(content):
    facts = CardFacts.from_dict(content)
    assert CardFacts.from_dict(facts.as_dict()) == facts
    assert "# `resnet50`" in card_text(facts, CONFIG, FEED, ".")


def test_facts_survive_their_file_and_belong_to_one_checkpoint(tmp_path):
    write_facts(FACTS, tmp_path)
    entry = {"validation": {"mAP": 0.25}, "validation_interval": [0.1, 0.4], "version": "0.1.0"}
    assert facts_beside(tmp_path / "best.ckpt", {"validation": FACTS.validation}) == FACTS
    assert facts_beside(tmp_path / "best.ckpt", {}) == FACTS
    assert facts_beside(tmp_path / "best.ckpt", entry).test == {}  # the file has been replaced since
    other = facts_beside(tmp_path / "last.ckpt", entry)
    assert (other.validation, other.test, other.intervals) == (
        {"mAP": 0.25},
        {},
        {"validation": [0.1, 0.4]},
    )
    for written in ("[" * 100_000, "{", '{"checkpoint": 3}', "\udcff"):
        (tmp_path / "card.json").write_bytes(written.encode(errors="surrogateescape"))
        assert facts_beside(tmp_path / "best.ckpt", entry).validation == {"mAP": 0.25}


def test_counts_leave_distractors_out_of_the_people():
    table = pd.DataFrame(
        {
            "source": ["a", "a", "a", "b"],
            "split": ["train", "train", "gallery", "gallery"],
            "person_id": ["1", "2", "0", "1"],
            "camera_id": ["1", "2", "1", pd.NA],
            "distractor": [False, False, True, False],
        }
    )
    assert counts(table) == [
        {"source": "a", "split": "train", "images": 2, "identities": 2, "cameras": 2},
        {"source": "a", "split": "gallery", "images": 1, "identities": 0, "cameras": 1},
        {"source": "b", "split": "gallery", "images": 1, "identities": 1, "cameras": 0},
    ]


def test_what_hydra_wrote_is_read_without_places(tmp_path):
    assert of_hydra(tmp_path) == ([], {})
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "overrides.yaml").write_text("- data.root=/home/me/market\n- seed=3\n")
    (tmp_path / ".hydra" / "hydra.yaml").write_text(
        "hydra: {runtime: {choices: {backbone: resnet50, loss: [triplet, center], hydra/launcher: basic, sweep: null}}}"
    )
    assert of_hydra(tmp_path) == (
        ["data.root=DIR", "seed=3"],
        {"backbone": "resnet50", "loss": "triplet, center"},
    )


def test_a_card_that_cannot_be_written_is_a_warning(tmp_path, caplog):
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        card_writer.write_card(FACTS, tmp_path / "checkpoints", CONFIG | {"output_dir": "x"}, None, None)
    assert "was not written" in caplog.text


@pytest.mark.slow
def test_a_run_writes_its_card_from_the_first_checkpoint_on(compose, tiny, tmp_path, monkeypatch):
    texts = []
    real = card_writer.write_card

    def recorded(facts, folder, *rest):
        real(facts, folder, *rest)
        texts.append((facts.finished, (folder / "README.md").read_text()))

    monkeypatch.setattr(card_writer, "write_card", recorded)
    result = run_job(compose(*tiny, "trainer.max_epochs=2"))
    assert texts[0][0] is False
    assert "validation so far" in texts[0][1]
    assert texts[-1][0] is True
    folder = tmp_path / "run" / "checkpoints"
    card, facts = ModelCard.load(folder / "README.md"), json.loads((folder / "card.json").read_text())
    shown = {(r.dataset_split, r.metric_type): r.metric_value for r in card.data.eval_results}
    assert shown["test", "map"] == round(100 * result.test["mAP"], 2)
    assert shown["validation", "map"] == round(100 * result.validation["mAP"], 2)
    held = torch.load(folder / "best.ckpt", weights_only=True)["reid_lightning"]
    assert facts["validation"] == held["validation"]
    assert facts["checkpoint"] == "best.ckpt"
    assert result.protocol in card.text
    table = {(row["split"]): row for row in facts["data"]}
    assert (table["train"]["identities"] + table["val"]["identities"], table["query"]["identities"]) == (
        10,
        6,
    )


@pytest.mark.slow
def test_a_failing_card_ends_no_training_and_a_resumed_run_has_one(
    compose, tiny, tmp_path, monkeypatch, caplog
):
    def fails(*arguments, **options):
        raise OSError("no space left")

    with monkeypatch.context() as broken:
        broken.setattr(card_writer, "card_text", fails)
        result = run_job(compose(*tiny, "trainer.max_epochs=1"))
    assert result is not None
    assert "no space left" in caplog.text
    folder = tmp_path / "run" / "checkpoints"
    assert not (folder / "README.md").exists()
    run_job(compose(*tiny, "trainer.max_epochs=2", "resume=last"))
    assert "| test |" in (folder / "README.md").read_text()


@pytest.mark.slow
def test_without_validation_the_card_is_of_the_last_checkpoint(compose, tiny, tmp_path):
    others = [item for item in tiny if not item.startswith("data.validation")]
    run_job(compose(*others, "data.validation=null", "trainer.max_epochs=1"))
    facts = json.loads((tmp_path / "run" / "checkpoints" / "card.json").read_text())
    assert (facts["checkpoint"], facts["validation"], facts["finished"]) == ("last.ckpt", {}, True)
    assert facts["test"]["mAP"] > 0
