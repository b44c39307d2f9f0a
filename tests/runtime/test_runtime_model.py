"""An exported model without torch, against the model with it."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

import reid_lightning
from reid_lightning import Gallery, runtime
from reid_lightning.distances import pairwise_distances
from reid_lightning.errors import InputError
from reid_lightning.runtime.distances import distances
from reid_lightning.runtime.sessions import open_session


@pytest.fixture
def paths(export_images):
    return pd.read_csv(export_images)["path"].tolist()


@pytest.fixture
def model(exported):
    return runtime.load(exported.path)


@pytest.fixture
def whole(export_checkpoint):
    """Return the model with torch."""
    return reid_lightning.load(export_checkpoint)


def test_vectors_are_those_of_the_model(whole, model, paths):
    wanted = whole.embed(paths)
    assert np.allclose(model.embed(paths), wanted, atol=1e-5)
    arrays = [cv2.imread(path)[..., ::-1] for path in paths[:3]]
    encoded = [Path(path).read_bytes() for path in paths[:3]]
    for given in (arrays, encoded, iter(paths[:3])):
        assert np.allclose(model.embed(given), wanted[:3], atol=1e-5)
    assert np.allclose(model.embed(paths[0]), wanted[:1], atol=1e-5)


def test_boxes_of_a_frame(whole, model):
    frame = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    boxes = np.array([[3, 4, 30, 50], [90, 0, 99, 9], [-5, -5, 20, 40]])
    wanted = whole.embed(frame, boxes)
    assert np.allclose(model.embed(frame, boxes), wanted, atol=1e-5, equal_nan=True)
    assert model.embed(frame, np.zeros((0, 4))).shape == (0, wanted.shape[1])


def test_answers_are_those_of_the_model(whole, model, paths):
    wanted = whole.describe(paths[:4]).rows()
    for ours, row in zip(model.describe(paths[:4]), wanted, strict=True):
        assert {name: said["class"] for name, said in ours.items()} == {
            name: said["class"] for name, said in row["attributes"].items()
        }
        for name, said in ours.items():
            assert said["confidence"] == pytest.approx(row["attributes"][name]["confidence"], abs=1e-3)


@pytest.mark.parametrize("distance", ["cosine", "euclidean", "sqeuclidean"])
def test_distances_are_those_of_torch(distance):
    a, b = torch.randn(5, 7), torch.randn(9, 7)
    a[0] = 0
    wanted = pairwise_distances(a, b, distance)
    assert np.allclose(distances(a.numpy(), b.numpy(), distance), wanted, atol=1e-5)


@pytest.mark.parametrize("wrong", [3, np.zeros((4, 4)), np.zeros((0, 3, 3), np.uint8), [None], []])
def test_what_is_not_an_image(model, wrong):
    with pytest.raises((ValueError, TypeError), match=r"image|iterable"):
        model.embed(wrong)


def test_files_that_cannot_be_read(model, tmp_path):
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(InputError, match=r"text\.jpg"):
        model.embed(tmp_path / "text.jpg")
    with pytest.raises(InputError, match=r"none\.jpg cannot be read"):
        model.embed(str(tmp_path / "none.jpg"))


def test_a_transform_of_ones_own_is_refused(exported):
    session = open_session(exported.path)
    session.facts = replace(session.facts, transform={"_target_": "albumentations.HorizontalFlip"})
    with pytest.raises(InputError, match="has a test_transform of its own"):
        runtime.RuntimeModel(session)


@pytest.fixture(params=["float32", "float16"])
def gallery(whole, tmp_path, paths, request):
    """Return a gallery of three additions, of which a part has been removed."""
    made = Gallery.create(
        tmp_path / "gallery",
        dimension=whole.vector_size,
        distance=whole.protocol.distance,
        fingerprint=whole.fingerprint,
        dtype=request.param,
    )
    for start in (0, 6, 12):
        part = paths[start : start + 6]
        rows = pd.DataFrame({"path": part, "person_id": [f"p{number % 7}" for number in range(len(part))]})
        if start == 12:
            rows["camera_id"] = ["c1", "c2"] * 3
        made.add(whole.embed(part), rows)
    made.remove(ids=[3, 4, 8])
    return made


@pytest.mark.parametrize("top", [1, 5, 100])
def test_a_gallery_is_searched_alike(gallery, model, paths, top):
    opened = runtime.VectorGallery(gallery.folder, model=model)
    assert len(opened) == len(gallery) == 15
    queries = model.embed(paths[:4])
    found, wanted = opened.search(queries, top), gallery.search(torch.from_numpy(queries), top)
    kept = min(top, 15)
    assert [[row["id"] for row in rows] for rows in found.rows] == wanted.ids[:, :kept].tolist()
    assert np.allclose(found.distances, wanted.distances[:, :kept], atol=1e-5)


def test_conditions_are_expressions_of_arrow(gallery, model, paths):
    import pyarrow.compute as pc

    opened = runtime.VectorGallery(gallery.folder)
    found = opened.search(model.embed(paths[0])[0], 50, where=pc.field("camera_id") == "c1")
    assert len(found.rows[0]) == 3
    assert {row["camera_id"] for row in found.rows[0]} == {"c1"}


def test_galleries_that_do_not_fit(gallery, model, tmp_path):
    opened = runtime.VectorGallery(gallery.folder)
    for wrong, said in (
        (np.zeros(3), "queries must be vectors of"),
        (np.full(opened.vectors.shape[1], np.nan), "finite"),
    ):
        with pytest.raises(ValueError, match=said):
            opened.search(wrong)
    model.facts = replace(model.facts, fingerprint="other")
    with pytest.raises(InputError, match="come from another model"):
        runtime.VectorGallery(gallery.folder, model=model)
    with pytest.raises(InputError, match="is not a whole gallery"):
        runtime.VectorGallery(tmp_path)


def test_damaged_galleries(gallery):
    segment = sorted((gallery.folder / "segments").glob("*.npy"))[0]
    manifest = gallery.folder / "gallery.json"
    whole = manifest.read_text()
    for broken in (
        "{",
        "[]",
        whole.replace('"format": 1', '"format": 9'),
        re.sub(r'"rows": \d+', '"rows": 7', whole, count=1),
    ):
        manifest.write_text(broken)
        with pytest.raises(InputError, match="cannot be read as a gallery"):
            runtime.VectorGallery(gallery.folder)
    manifest.write_text(whole)
    segment.write_bytes(segment.read_bytes()[:100])
    with pytest.raises(InputError, match="cannot be read as a gallery"):
        runtime.VectorGallery(gallery.folder)
    segment.unlink()
    with pytest.raises(InputError, match="is not a whole gallery"):
        runtime.VectorGallery(gallery.folder)


def test_neither_torch_nor_lightning_is_imported():
    code = (
        "import sys, reid_lightning.runtime as runtime; "
        "heavy = {'torch', 'lightning', 'pandas', 'PIL', 'scipy', 'timm', 'hydra'}; "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
