"""Test sets in files of embeddings, and two of them ranked together."""

import json

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import command
from sides import sides

from reid_lightning.errors import InputError
from reid_lightning.experiments.evaluate import evaluate
from reid_lightning.experiments.run import run_job
from reid_lightning.inference.embedding.command import embed
from reid_lightning.inference.fuse import fuse_files
from reid_lightning.results.ranked_embeddings import embeddings_of
from reid_lightning.retrieval.embeddings import Embeddings
from reid_lightning.retrieval.evaluation import EvaluationRows
from reid_lightning.retrieval.ranking import rank


def files(tmp_path, faces=0.6, seed=0):
    """A test set of planted people by body, and the faces that some images have, in another order and folder."""
    random = np.random.default_rng(seed)
    ids = np.repeat(np.arange(30), 6)
    cameras = np.tile(np.arange(6) % 3, 30)
    vectors = [
        torch.tensor(random.normal(size=(30, 16))[ids] + noise * random.normal(size=(180, 16))).float()
        for noise in (1.1, 0.9)
    ]
    body = Embeddings(
        vectors[0],
        np.array([f"body/{i:04d}.jpg" for i in range(180)]),
        np.array([f"set/{person}" for person in ids]),
        np.array([f"set/{camera}" for camera in cameras]),
        np.arange(180) % 6 == 0,
        np.zeros(180, bool),
    )
    chosen = random.permutation(np.flatnonzero(random.random(180) < faces))
    paths = np.array([f"faces/{i:04d}.png" for i in range(180)])
    nobody = np.full(180, "")
    face = Embeddings(vectors[1], paths, nobody, nobody, *[np.zeros(180, bool)] * 2).select(chosen)
    body.save(tmp_path / "body.npz")
    face.save(tmp_path / "face.npz")
    return body, face


def test_a_file_gives_everything_again(tmp_path):
    body, _ = files(tmp_path)
    again = Embeddings.load(tmp_path / "body.npz")
    assert torch.equal(again.vectors, body.vectors)
    assert again.distance == "cosine"
    for name in ("paths", "people", "cameras", "is_query", "distractor"):
        assert np.array_equal(getattr(again, name), getattr(body, name))
    unknown = Embeddings(
        torch.eye(2), *(np.array(["a", "b"]),) * 2, np.array(["", "c"]), *(np.array([True, False]),) * 2
    )
    assert unknown.codes()[1].tolist() == [-1, 1]


def test_a_file_of_an_earlier_version_calls_the_distance_metric(tmp_path):
    files(tmp_path)
    with np.load(tmp_path / "body.npz") as file:
        arrays = dict(file)
    arrays.pop("distance")
    np.savez(tmp_path / "earlier.npz", metric=np.array("euclidean"), **arrays)
    assert Embeddings.load(tmp_path / "earlier.npz").distance == "euclidean"


def test_two_files_joined_by_the_names_of_their_images(tmp_path):
    body, face = files(tmp_path)
    result = fuse_files(tmp_path / "body.npz", tmp_path / "face.npz", output=tmp_path / "fused.json")
    query, gallery = body.select(body.is_query), body.select(~body.is_query)
    codes = body.codes()
    of = [code[torch.from_numpy(side)] for code in codes for side in (body.is_query, ~body.is_query)]
    assert result.body == rank(*sides(query.vectors, gallery.vectors, *of)).summary()
    assert result.fused["mAP"] > result.body["mAP"] + 0.05
    assert result.fused_with_faces["mAP"] > max(result.face["mAP"], result.body_with_faces["mAP"]) + 0.05
    assert result.fused["queries"] == 30
    stems = {path[6:10] for path in face.paths}
    with_faces = sum(path[5:9] in stems for path in query.paths)
    assert result.face["queries"] == result.body_with_faces["queries"] == with_faces
    assert result.queries_with_faces == pytest.approx(with_faces / 30)
    written = json.loads((tmp_path / "fused.json").read_text())
    assert written["fused"] == result.fused
    assert written["weight"] == 0.5
    alone = fuse_files(tmp_path / "body.npz", tmp_path / "face.npz", weight=0.0, normalisation="min_max")
    assert alone.fused["mAP"] == pytest.approx(result.body["mAP"])


def test_the_command_writes_what_it_prints(tmp_path):
    files(tmp_path)
    names = [str(tmp_path / name) for name in ("body.npz", "face.npz", "fused.json")]
    choices = [
        "--weight",
        "0.3",
        "--normalisation",
        "min_max",
        "--rule",
        "product",
        "--camera-policy",
        "allow",
    ]
    shown = command("fuse", *names[:2], *choices, "--output", names[2])
    written = json.loads((tmp_path / "fused.json").read_text())
    assert (written["weight"], written["rule"], written["camera_policy"]) == (0.3, "product", "allow")
    assert f"{100 * written['fused']['mAP']:.1f}" in shown.stdout


def test_faces_of_too_little_quality_count_as_missing(tmp_path):
    _, face = files(tmp_path)
    random, blank = np.random.default_rng(0), np.arange(len(face.paths)) % 3 == 0
    paths = []
    for number, path in enumerate(face.paths):
        pixels = np.full((64, 64, 3), 128) if blank[number] else random.integers(0, 256, (64, 64, 3))
        paths.append(str(tmp_path / path[6:]))
        cv2.imwrite(paths[-1], pixels.astype(np.uint8))
    kept = Embeddings(**{**vars(face), "paths": np.array(paths)})
    kept.save(tmp_path / "face.npz")
    both = tmp_path / "body.npz", tmp_path / "face.npz"
    found = fuse_files(*both, min_quality=0.5, output=tmp_path / "fused.json")
    kept.select(~blank).save(tmp_path / "good.npz")
    wanted = fuse_files(both[0], tmp_path / "good.npz")
    assert found.faces_left_out == blank.sum()
    assert (found.fused, found.face, found.queries_with_faces) == (
        wanted.fused, wanted.face, wanted.queries_with_faces,
    )  # fmt: skip
    assert json.loads((tmp_path / "fused.json").read_text())["min_quality"] == 0.5
    assert fuse_files(*both).faces_left_out == 0
    kept.select(blank).save(tmp_path / "blank.npz")
    with pytest.raises(
        InputError, match=r"No face of .*blank\.npz has a quality of 0\.5 or more, the best has 0\.00"
    ):
        fuse_files(both[0], tmp_path / "blank.npz", min_quality=0.5)
    with pytest.raises(InputError, match="--min-quality must be between 0 and 1, got -1"):
        command("fuse", *both, "--min-quality", -1)
    face.save(tmp_path / "face.npz")
    with pytest.raises(InputError, match=r"\.png cannot be read"):
        fuse_files(*both, min_quality=0.5)


def test_bad_input_is_named(tmp_path):
    body, face = files(tmp_path)
    both = tmp_path / "body.npz", tmp_path / "face.npz"
    with pytest.raises(InputError, match=r"No image of .*body.npz has a face in .*face.npz"):
        fuse_files(*both, key="name")
    face.select(np.array([0])).save(tmp_path / "one.npz")
    with pytest.raises(InputError, match=r"No (query|gallery image) of .*body.npz has a face in .*one.npz"):
        fuse_files(both[0], tmp_path / "one.npz")
    with pytest.raises(InputError, match="--key colour is unknown"):
        fuse_files(*both, key="colour")
    with pytest.raises(InputError, match=r"face.npz does not hold both queries and a gallery"):
        fuse_files(both[1], both[0])
    twice = face.select(np.array([0, 1, 0]))
    twice.save(both[1])
    with pytest.raises(InputError, match=f"face.npz holds two images with the stem {face.paths[0][6:10]}"):
        fuse_files(*both)
    with pytest.raises(InputError, match="reid evaluate --embeddings"):
        Embeddings.load(tmp_path / "none.npz")
    assert body.distance == "cosine"


def test_rows_of_an_evaluation_are_named_by_their_table():
    table = pd.DataFrame(
        {
            "path": ["a.jpg", "b.jpg", "c.jpg"],
            "person_id": ["1", "2", "3"],
            "camera_id": ["x", None, "y"],
            "source": "s",
            "distractor": [False, False, True],
        }
    )
    rows = EvaluationRows(
        torch.eye(2),
        torch.tensor([2, 0]),
        torch.tensor([1, 0]),
        index=torch.tensor([1, 2]),
        is_query=torch.tensor([False, True]),
    )
    found = embeddings_of(rows, table, "euclidean")
    assert found.paths.tolist() == ["b.jpg", "c.jpg"]
    assert found.people.tolist() == ["s/2", "s/3"]
    assert found.cameras.tolist() == ["", "s/y"]
    assert found.is_query.tolist() == [False, True]
    assert found.distractor.tolist() == [False, True]


@pytest.mark.slow
def test_an_evaluation_writes_what_it_ranked(compose, tiny, tmp_path):
    run_job(
        compose(
            *tiny, "trainer.max_epochs=1", "report=[open_set,embedding_map]", "reports.open_set.nearest=3"
        )
    )
    assert (tmp_path / "run" / "embedding_map.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "run" / "report.html").read_text()
    assert ">Embedding map</h3>" in page
    assert "named right with all enrolled" in page
    identified = json.loads((tmp_path / "run" / "metrics.json").read_text())["open_set"]
    assert all(0 <= identified[name] <= 1 for name in ("rate", "detected_at_1", "detected_at_10"))
    checkpoint, file = tmp_path / "run/checkpoints/best.ckpt", tmp_path / "test.npz"
    result = evaluate(checkpoint, tmp_path / "again", embeddings=file)
    found = Embeddings.load(file)
    people, cameras = found.codes()
    query, gallery = torch.from_numpy(found.is_query), torch.from_numpy(~found.is_query)
    ranking = rank(
        *sides(
            found.vectors[query],
            found.vectors[gallery],
            people[query],
            people[gallery],
            cameras[query],
            cameras[gallery],
        )
    )
    assert ranking.mean_ap == pytest.approx(result.test["mAP"])
    pd.DataFrame({"path": found.paths}).to_csv(tmp_path / "paths.csv", index=False)
    embed(checkpoint, tmp_path / "paths.csv", tmp_path / "same.npz")
    torch.testing.assert_close(
        Embeddings.load(tmp_path / "same.npz").vectors, found.vectors, rtol=0, atol=1e-4
    )
    shown = command("report", "map", file, tmp_path / "map.png", "--people", 3, "--thumbnails")
    assert shown.exit_code == 0
    assert (tmp_path / "map.png").stat().st_size > 10_000
    with_itself = fuse_files(file, tmp_path / "same.npz")
    assert with_itself.fused["mAP"] == pytest.approx(result.test["mAP"], abs=1e-3)
