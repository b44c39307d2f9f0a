"""A gallery searched by what people look like."""

import json

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import command

from reid_lightning import Gallery
from reid_lightning.data.attributes import Attribute, AttributeSchema
from reid_lightning.distances import pairwise_distances
from reid_lightning.engine.module import CHECKPOINT_KEY
from reid_lightning.errors import InputError
from reid_lightning.experiments.factory import build_module
from reid_lightning.inference.gallery import attributes
from reid_lightning.inference.gallery import store as gallery_module
from reid_lightning.inference.gallery.columns import PROBABILITIES

SCHEMA = AttributeSchema(
    "small",
    (
        Attribute("hat", "hat", ("no", "yes")),
        Attribute("upper_color", "upper body color", ("black", "red", "blue")),
    ),
)
COUNT, DIMENSION = 400, 6


@pytest.fixture
def gallery(tmp_path):
    """Images in two segments; nothing is known of the last ten's looks."""
    draw = np.random.default_rng(0)
    found = Gallery.create(tmp_path / "gallery", DIMENSION, attributes=SCHEMA)
    looks = np.concatenate([draw.dirichlet([0.4] * size, COUNT) for size in SCHEMA.sizes], 1)
    cells = [*looks.astype(np.float32)[:-10], *[None] * 10]
    table = pd.DataFrame({"camera_id": draw.choice(["c1", "c2"], COUNT), PROBABILITIES: cells})
    vectors = draw.normal(size=(COUNT, DIMENSION)).astype(np.float32)
    for rows in (slice(0, 150), slice(150, COUNT)):
        found.add(vectors[rows], table.iloc[rows])
    known = np.concatenate([looks[:-10], np.zeros((10, looks.shape[1]))])
    return found, vectors, known, table["camera_id"].to_numpy()


def lacking(looks):
    """Of a red upper body and a hat: one less the geometric mean of the two probabilities."""
    return 1 - np.sqrt(np.maximum(looks[:, 3], 1e-6) * np.maximum(looks[:, 1], 1e-6))


@pytest.mark.parametrize("weight", [0.3, 1.0, 20.0])
def test_images_are_ordered_as_if_all_had_been_looked_at(gallery, weight, monkeypatch):
    monkeypatch.setattr(attributes, "SAMPLED", 50)
    found, vectors, looks, _ = gallery
    queries = np.random.default_rng(1).normal(size=(7, DIMENSION)).astype(np.float32)
    hits = found.search(queries, top=12, like=found.wish("red upper body, hat", weight))
    far = pairwise_distances(torch.from_numpy(queries), torch.from_numpy(vectors), "cosine").numpy()
    sample = np.linspace(0, COUNT - 1, 50).astype(int)
    moved = far + weight * far[:, sample].std(axis=1, keepdims=True) * lacking(looks)
    np.testing.assert_allclose(hits.distances, np.sort(moved, axis=1)[:, :12], atol=1e-5)
    assert (hits.ids == np.argsort(moved, axis=1, kind="stable")[:, :12]).mean() > 0.98
    assert hits.how == "exact, re-ordered by attributes"


def test_images_that_lack_something_are_left_out(gallery):
    found, vectors, looks, cameras = gallery
    wish = found.wish("red upper body, hat", weight=0, least=0.4)
    hits = found.search(vectors[:1], top=COUNT, where="camera = c1", like=wish)
    expected = np.flatnonzero((looks[:, 3] >= 0.4) & (looks[:, 1] >= 0.4) & (cameras == "c1"))
    assert sorted(hits.ids[hits.ids >= 0]) == expected.tolist()
    alone = found.search(None, top=COUNT, where="camera = c1", like=wish)
    assert sorted(alone.ids[alone.ids >= 0]) == expected.tolist()


def test_attributes_alone_are_a_query(gallery):
    found, _, looks, _ = gallery
    hits = found.search(None, top=COUNT, like="red upper body, hat")
    assert hits.distances.shape == (1, COUNT)
    np.testing.assert_allclose(hits.distances[0], np.sort(lacking(looks)), atol=1e-4)
    assert set(hits.ids[0, -10:]) == set(range(COUNT - 10, COUNT))  # nothing is known of them
    assert hits.how == "attributes"
    with pytest.raises(InputError, match="Nothing is searched for"):
        found.search(None)


def test_re_ranked_images_are_pushed_back_among_themselves(gallery):
    found, vectors, looks, _ = gallery
    plain = found.search(vectors[:2], top=200, rerank=True)
    hits = found.search(vectors[:2], top=200, rerank=True, like="red upper body, hat")
    for row in range(2):
        moved = plain.distances[row] + plain.distances[row].std() * lacking(looks[plain.ids[row]])
        np.testing.assert_allclose(hits.distances[row], np.sort(moved), atol=1e-5)
    assert hits.how == "exact, re-ranked, re-ordered by attributes"


def test_what_is_known_stays_when_files_are_written_anew(gallery):
    found, _, looks, _ = gallery
    found.remove(ids=list(range(100, 300)))
    assert len(found.manifest.segments) == 1
    kept = np.r_[0:100, 300:COUNT]
    hits = Gallery(found.folder).search(None, top=200, like="hat")
    np.testing.assert_allclose(hits.distances[0], np.sort(1 - np.maximum(looks[kept, 1], 1e-6)), atol=1e-4)
    assert PROBABILITIES not in found.rows([0]).columns
    assert PROBABILITIES not in found.info["columns"]
    assert found.info["attributes"] == ["hat", "upper_color"]


def test_foreign_words_numbers_and_files_are_refused(gallery, tmp_path, monkeypatch):
    found, vectors, *_ = gallery
    for words, said in (
        ("green upper body", "names no attribute"),
        ("hat, no hat", "contradicts"),
        ("", "no attribute"),
    ):
        with pytest.raises(InputError, match=said):
            found.search(vectors[:1], like=words)
    for options, said in (
        ({"weight": -1.0}, "from 0 on"),
        ({"least": 0.0}, "above 0"),
        ({"weight": np.nan}, "from 0"),
    ):
        with pytest.raises(InputError, match=said):
            found.wish("hat", **options)
    with pytest.raises(InputError, match="attribute_probabilities at character 1 is not a column"):
        found.search(vectors[:1], where=f"{PROBABILITIES} is empty")
    plain = Gallery.create(tmp_path / "plain", DIMENSION)
    with pytest.raises(InputError, match="holds no attributes"):
        plain.search(vectors[:1], like="hat")
    row = pd.DataFrame({PROBABILITIES: [np.ones(5, np.float32)]})
    with pytest.raises(InputError, match="only a gallery with attributes has"):
        plain.add(vectors[:1], row)
    wrong_row = pd.DataFrame({PROBABILITIES: [np.ones(4, np.float32)]})
    with pytest.raises(InputError, match="Row 0 of the table of images has attribute_probabilities"):
        found.add(vectors[:1], wrong_row)
    monkeypatch.setattr(
        gallery_module, "require_probabilities", lambda *_: None
    )  # as a foreign program writes it
    found.add(vectors[:1], wrong_row)
    with pytest.raises(InputError, match="attributes are damaged"):
        found.search(None, like="hat")
    manifest = found.folder / "gallery.json"
    content = json.loads(manifest.read_text())
    for wrong in (3, {"name": "a", "classes": {"hat": "no"}, "titles": {"hat": "hat"}}, {"name": "a"}):
        manifest.write_text(json.dumps(content | {"attributes": wrong}))
        with pytest.raises(InputError, match="is not the manifest of a gallery"):
            Gallery(found.folder)


@pytest.fixture
def models(compose, tiny, tmp_path):
    """An untrained model that answers twelve attributes, and one that answers none."""
    found = {}
    for name, overrides in (("looks", ("attributes=market12",)), ("plain", ())):
        config = compose(*tiny, *overrides)
        torch.manual_seed(0)
        module = build_module(config, 3, {"a": 0, "b": 1, "c": 2})
        tasks = {task.name: task.saved() for task in module.tasks}
        entry = {"version": "0", "config": config, "identity_labels": module.identity_labels, "tasks": tasks}
        found[name] = tmp_path / f"{name}.ckpt"
        torch.save({"state_dict": module.state_dict(), CHECKPOINT_KEY: entry}, found[name])
    return found


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(6):
        coarse = np.random.default_rng(number).integers(0, 256, (6, 3, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), cv2.resize(coarse, (20, 40)))
    return folder


def test_the_commands_know_what_people_look_like(models, images, tmp_path):
    folder, csv, sheet = tmp_path / "gallery", tmp_path / "found.csv", tmp_path / "found.png"
    command("gallery", "build", folder, images, "--model", models["looks"])
    command("search", folder, "--like", "female, backpack", "--csv", csv, "--sheet", sheet)
    found = pd.read_csv(csv)
    assert found["query"].unique().tolist() == ["female, backpack"]
    assert found["distance"].is_monotonic_increasing
    assert len(found) == 6
    assert found["distance"].between(0, 1).all()
    assert ((found["agrees"].notna()) | (found["differs"].notna())).all()
    assert cv2.imread(str(sheet)) is not None
    query = next(images.iterdir())
    shown = command("search", folder, query, "--model", models["looks"], "--like", "backpack", "--top", 2)
    assert "agrees" in shown.stdout
    assert "re-ordered by attributes" in " ".join(shown.stderr.split())

    command("search", folder, query, "--model", models["looks"], "--csv", csv)
    first = pd.read_csv(csv).iloc[0]
    assert first["path"] == str(query)
    assert len(first["agrees"].split("; ")) == 12  # it is the same image
    assert pd.isna(first["differs"])

    with pytest.raises(InputError, match="Give --model to search"):
        command("search", folder, query)
    with pytest.raises(InputError, match="give images, --like, or both"):
        command("search", folder)

    shown = " ".join(command("gallery", "info", folder).stdout.replace("│", " ").split())
    assert "attributes gender, hair, up," in shown
    with pytest.raises(InputError, match="need --like"):
        command("search", folder, query, "--model", models["looks"], "--like-least", "0.5")
    with pytest.raises(InputError, match="--rerank is for the vectors of images"):
        command("search", folder, "--like", "backpack", "--rerank")

    command("gallery", "rebuild", folder, "--model", models["plain"])
    with pytest.raises(InputError, match="holds no attributes"):
        command("search", folder, "--like", "backpack")
    command("gallery", "rebuild", folder, "--model", models["looks"])
    command("search", folder, "--like", "female, backpack", "--csv", tmp_path / "again.csv")
    pd.testing.assert_series_equal(pd.read_csv(tmp_path / "again.csv")["id"], found["id"])
