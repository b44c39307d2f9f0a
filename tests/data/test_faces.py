import hashlib

import cv2
import numpy as np
import pytest

from reid_lightning.data.faces.dataset import read_faces
from reid_lightning.data.faces.person import sample_face
from reid_lightning.data.faces.portrait import draw_portrait
from reid_lightning.data.table import validate_table
from reid_lightning.errors import InputError

SMALL = {"train_identities": 4, "test_identities": 3, "images_per_identity": 4, "image_size": 32, "seed": 5}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("faces") / "set"
    read_faces(root, **SMALL)
    return root


def digests(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_tree_holds_a_folder_per_person_and_split(tree):
    table = read_faces(tree, **SMALL)
    validate_table(table)
    assert table["split"].value_counts().to_dict() == {"train": 16, "query": 6, "gallery": 6}
    people = {split: set(rows["person_id"]) for split, rows in table.groupby("split")}
    assert people["query"] == people["gallery"]
    assert not people["train"] & people["query"]
    assert table["camera_id"].isna().all()
    assert set(table["source"]) == {"faces"}
    assert all(cv2.imread(path).shape == (32, 32, 3) for path in table["path"])


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(tree, tmp_path):
    read_faces(tmp_path / "again", **SMALL)
    read_faces(tmp_path / "other", **SMALL | {"seed": 6})
    assert digests(tmp_path / "again") == digests(tree)
    others = digests(tmp_path / "other")
    assert not set(others.values()) & set(digests(tree).values())


def test_a_complete_tree_is_reused_and_another_one_refused(tree):
    before = {path: path.stat().st_mtime_ns for path in tree.rglob("*.jpg")}
    read_faces(tree, **SMALL)
    assert before == {path: path.stat().st_mtime_ns for path in tree.rglob("*.jpg")}
    with pytest.raises(InputError, match=r"holds faces of other parameters \(seed=5 instead of 9\)"):
        read_faces(tree, **SMALL | {"seed": 9})


def test_nothing_stays_of_an_interrupted_drawing(tmp_path, monkeypatch):
    calls = []

    def fail(*arguments):
        calls.append(arguments)
        if len(calls) > 5:
            raise KeyboardInterrupt
        return np.zeros((32, 32, 3), np.uint8)

    monkeypatch.setattr("reid_lightning.data.faces.dataset.draw_portrait", fail)
    with pytest.raises(KeyboardInterrupt):
        read_faces(tmp_path / "set", **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == [".set.lock"]


@pytest.mark.parametrize(
    ("name", "value"), [("images_per_identity", 2), ("test_identities", 1), ("image_size", 8)]
)
def test_parameters_out_of_range_are_named(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"^{name} must be within .* got {value}"):
        read_faces(tmp_path / "set", **SMALL | {name: value})


def test_everybody_can_be_drawn():
    styles = set()
    for seed in range(80):
        face = sample_face(np.random.default_rng(seed))
        styles |= set(face.style)
        picture = draw_portrait(face, np.random.default_rng(seed), 32)
        assert picture.dtype == np.uint8
        assert picture.shape == (32, 32, 3)
        assert picture.std() > 5
    assert {"bald", "long", "curls", "full", "round"} <= styles


def test_a_person_is_more_alike_than_two_but_not_by_plain_pixels():
    pictures, people = [], []
    for person in range(30):
        face, rng = sample_face(np.random.default_rng([1, person])), np.random.default_rng([2, person])
        pictures += [draw_portrait(face, rng, 32) for _ in range(4)]
        people += [person] * 4
    vectors = np.asarray(pictures, float).reshape(len(pictures), -1)
    vectors = (vectors - vectors.mean(axis=1, keepdims=True)) / vectors.std(axis=1, keepdims=True)
    alike = vectors @ vectors.T / vectors.shape[1]
    np.fill_diagonal(alike, -2)
    people = np.asarray(people)
    found = (people[alike.argmax(axis=1)] == people).mean()
    assert 3 / 119 * 2 < found < 0.9  # neither chance nor solved
