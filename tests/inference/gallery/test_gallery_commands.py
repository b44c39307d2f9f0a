"""`reid gallery` and `reid search` with an untrained network on images of noise."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import command

import reid_lightning
from reid_lightning import Gallery
from reid_lightning.data.quality import file_qualities
from reid_lightning.engine.module import CHECKPOINT_KEY
from reid_lightning.errors import InputError
from reid_lightning.experiments.factory import build_module


class Killed(BaseException):
    """Nothing catches it."""


def write_model(path, config, seed):
    torch.manual_seed(seed)
    module = build_module(config, 3, {"a": 0, "b": 1, "c": 2})
    entry = {"version": "0", "config": config, "identity_labels": module.identity_labels}
    torch.save({"state_dict": module.state_dict(), CHECKPOINT_KEY: entry}, path)
    return path


@pytest.fixture
def checkpoint(compose, tiny, tmp_path):
    return write_model(tmp_path / "model.ckpt", compose(*tiny), 0)


@pytest.fixture
def people(tmp_path):
    """Three people with four images each."""
    random = np.random.default_rng(0)
    for person in ("ada", "bo", "cy"):
        folder = tmp_path / "people" / person
        folder.mkdir(parents=True)
        for number in range(4):
            pixels = random.integers(0, 255, (32, 16, 3), np.uint8)
            (folder / f"{number}.png").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    return tmp_path / "people"


def files(folder):
    return sorted(folder.rglob("*.png"))


def test_the_whole_way(checkpoint, people, tmp_path, monkeypatch):
    gallery, with_model = tmp_path / "gallery", ("--model", checkpoint)
    command("gallery", "build", gallery, people / "ada", people / "bo", *with_model, "--batch", 3)
    assert len(Gallery(gallery)) == 8
    assert Gallery(gallery).info["people"] == 0  # folders name people where they are told to

    shown = command("gallery", "add", gallery, people, "--people", *with_model)
    assert len(Gallery(gallery)) == 12  # the others were in it
    assert Gallery(gallery).table("person = cy")["path"].tolist() == [
        str(path) for path in files(people / "cy")
    ]
    assert "added 4 images (8 were in it already)" in " ".join(shown.stderr.split())

    shown = command("search", gallery, people / "bo" / "2.png", *with_model, "--top", 3)
    assert "0.0000" in shown.stdout
    csv, lines, sheet = tmp_path / "found.csv", tmp_path / "found.jsonl", tmp_path / "found.png"
    outputs = ("--csv", csv, "--json", lines, "--sheet", sheet)
    command("search", gallery, people / "cy", *with_model, "--top", 5, "--where", "person != cy", *outputs)
    found = pd.read_csv(csv)
    assert found["rank"].tolist() == [1, 2, 3, 4, 5] * 4
    assert not found["path"].str.contains("/cy/").any()
    model = reid_lightning.load(checkpoint)
    vectors = {path: model.embed(str(path))[0] for path in files(people)}
    for (query, rank), row in found.set_index(["query", "rank"]).iterrows():
        distances = sorted(
            float(1 - torch.dot(vectors[path], vectors[type(path)(query)]))
            for path in files(people)
            if path.parent.name != "cy"
        )
        assert row["distance"] == pytest.approx(distances[rank - 1], abs=1e-5)
    answers = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [answer["image"] for answer in answers] == [str(path) for path in files(people / "cy")]
    assert [hit["path"] for answer in answers for hit in answer["found"]] == found["path"].tolist()
    assert cv2.imread(str(sheet)) is not None
    command("search", gallery, people / "cy" / "0.png", *with_model, "--rerank", "--search", "exact")

    monkeypatch.chdir(people)
    asked = ("search", gallery, "cy", *with_model, "--top", 5)
    again = tmp_path / "again.csv", tmp_path / "again.jsonl"
    for output in again:
        assert command(*asked, "--where", "person != cy", "--output", output).stdout == ""
    assert pd.read_csv(again[0])["id"].tolist() == found["id"].tolist()
    answers = [json.loads(line) for line in again[1].read_text().splitlines()]
    assert [hit["id"] for answer in answers for hit in answer["found"]] == found["id"].tolist()
    shown = command(*asked).stdout
    assert "cy/0.png" in shown  # from the current folder, so that a terminal's line holds it
    assert str(people) not in shown
    shown = command(*asked, "--where", "camera = c3")
    assert "nothing found: no image of the gallery fulfills --where camera = c3" in " ".join(
        shown.stderr.split()
    )

    command("gallery", "remove", gallery, "--person", "cy", "--file", people / "cy" / "1.png")
    assert len(Gallery(gallery)) == 11
    command("gallery", "remove", gallery, "--where", "person = cy", "--older-than", "0d")
    assert len(Gallery(gallery)) == 8
    shown = command("gallery", "info", gallery, "--json", "--check")
    info = json.loads(shown.stdout)
    assert (info["images"], info["removed_in_all"], info["removed_on_disk"]) == (8, 4, 0)
    assert "32x16 pixels" in info["preprocessing"]
    assert "exact, since" in command("gallery", "info", gallery).stdout


def test_another_model_is_refused_and_rebuild_takes_it(checkpoint, people, tmp_path, compose, tiny):
    other = write_model(tmp_path / "other.ckpt", compose(*tiny), 1)
    gallery = tmp_path / "gallery"
    table = pd.DataFrame(
        {"path": [str(path) for path in files(people)], "camera_id": range(12), "height": 1.5}
    )
    table.to_csv(tmp_path / "people.csv", index=False)
    command("gallery", "build", gallery, tmp_path / "people.csv", "--model", checkpoint, "--dtype", "float16")
    for arguments in (("search", gallery, people), ("gallery", "add", gallery, people)):
        with pytest.raises(InputError, match=r"another model .*`reid gallery rebuild`"):
            command(*arguments, "--model", other)
        with pytest.raises(InputError, match=r"another preprocessing .*mirror"):
            command(*arguments, "--model", checkpoint, "evaluation.flip=true")
        with pytest.raises(InputError, match=r"another preprocessing .*mirror"):
            command(
                *arguments, "--model", checkpoint, "--override", "evaluation.flip=true"
            )  # of earlier versions
    saved = reid_lightning.load(checkpoint).save_pretrained(tmp_path / "saved")
    command("search", gallery, people, "--model", saved)  # the same weights

    command("gallery", "remove", gallery, "--where", "camera = 3")
    files(people)[0].unlink()
    with pytest.raises(InputError, match=r"1 of 11 images of .* have no file any more"):
        command("gallery", "rebuild", gallery, "--model", other)
    before = Gallery(gallery).table()
    command("gallery", "rebuild", gallery, "--model", other, "--drop-missing", "--batch", 4)
    after = Gallery(gallery)
    pd.testing.assert_frame_equal(after.table(), before.iloc[1:].reset_index(drop=True))
    expected = reid_lightning.load(other).embed(after.table()["path"].tolist()).numpy()
    np.testing.assert_allclose(after.vectors(after.table()["id"]), expected, atol=1e-3)
    assert not (gallery / "rebuilding").exists()
    after.check()
    with pytest.raises(InputError, match="another model"):
        command("search", gallery, people, "--model", checkpoint)


def test_a_rebuild_that_was_killed_goes_on(checkpoint, people, tmp_path, compose, tiny, monkeypatch):
    other = write_model(tmp_path / "other.ckpt", compose(*tiny), 1)
    gallery = tmp_path / "gallery"
    command("gallery", "build", gallery, people, "--model", checkpoint)
    embed, seen = reid_lightning.Model.embed_with_attributes, []

    def embed_and_die(model, images):
        seen.append(len(images))
        if len(seen) == 3:
            raise Killed
        return embed(model, images)

    monkeypatch.setattr(reid_lightning.Model, "embed_with_attributes", embed_and_die)
    with pytest.raises(Killed):
        command("gallery", "rebuild", gallery, "--model", other, "--batch", 3)
    assert len(Gallery(gallery)) == 12
    assert len(Gallery(gallery / "rebuilding")) == 6
    command("search", gallery, people / "bo", "--model", checkpoint)  # as it was
    seen[:] = [0] * 10
    command("gallery", "rebuild", gallery, "--model", other, "--batch", 3)
    assert seen[10:] == [3, 3]
    expected = reid_lightning.load(other).embed([str(path) for path in files(people)])
    np.testing.assert_allclose(Gallery(gallery).vectors(range(12)), expected, atol=1e-5)


def test_bad_use_is_one_sentence(checkpoint, people, tmp_path):
    gallery, with_model = tmp_path / "gallery", ("--model", checkpoint)
    command("gallery", "build", gallery, people, *with_model)
    for arguments, message in (
        (("gallery", "build", gallery, people, *with_model), "is a gallery already"),
        (("gallery", "build", tmp_path / "g", people, *with_model, "--dtype", "int8"), "--dtype int8 is unknown"),
        (("gallery", "build", people, people, *with_model), "people is not empty"),
        (("gallery", "info", people), "is not a gallery"),
        (("gallery", "add", tmp_path / "nowhere", people, *with_model), "There is no .*nowhere"),
        (("gallery", "add", gallery, people / "bo", "--people", *with_model), "leave --people out"),
        (("gallery", "remove", gallery), "Nothing says what to remove"),
        (("gallery", "remove", gallery, "--older-than", "soon"), "--older-than soon is not an age"),
        (("gallery", "remove", gallery, "--person", "eve"), "holds no image with the person_id eve"),
        (("gallery", "index", gallery, "--kind", "tree"), "--kind tree is unknown"),
        (("search", gallery, people, *with_model, "--where", "camra = 3"), "--where: camra at character 1 is not a column"),
        (("search", gallery, people, *with_model, "--top", 0), "--top must be 1 or more"),
        (("search", gallery, people, *with_model, "--search", "indx"), "the nearest is index"),
        (("search", gallery, people, *with_model, "--sheet", tmp_path / "x.txt"), "names no picture"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message) as refused:
            command(*arguments)
        assert "\n" not in str(refused.value)
    (tmp_path / "bad.csv").write_text("path,camid\na.png,1\n")
    with pytest.raises(InputError, match="a column camid, which looks like camera_id"):
        command("gallery", "add", gallery, tmp_path / "bad.csv", *with_model)
    shutil.rmtree(gallery / "segments")
    with pytest.raises(InputError, match=r"000000\.npy is missing"):
        command("gallery", "info", gallery)


def test_the_commands_load_nothing_heavy_before_their_work():
    from helpers import run_python

    code = "import sys, reid_lightning.cli.main; print(sorted({'pyarrow', 'torch', 'pandas'} & set(sys.modules)))"
    assert run_python("-c", code).stdout.strip() == "[]"


def test_quality_is_a_column_and_the_worst_are_left_out(checkpoint, people, tmp_path):
    blank = sorted((people / "bo").iterdir())[0]
    blank.write_bytes(cv2.imencode(".png", np.full((32, 16, 3), 9, np.uint8))[1].tobytes())
    wanted = dict(zip(files(people), file_qualities([str(path) for path in files(people)]), strict=True))
    plain, gallery, with_model = tmp_path / "plain", tmp_path / "gallery", ("--model", checkpoint)
    command("gallery", "build", plain, people, *with_model)
    assert "quality" not in Gallery(plain).table()
    command("gallery", "add", plain, people, *with_model, "--quality")  # all are in it already
    command(
        "gallery", "build", gallery, people / "ada", people / "bo", *with_model, "--quality", "--batch", 3
    )
    table = Gallery(gallery).table()
    for path, score in zip(table["path"], table["quality"], strict=True):
        assert score == pytest.approx(wanted[Path(path)].score)
    assert len(table) == 8
    found = tmp_path / "found.csv"
    command("search", gallery, blank, *with_model, "--where", "quality < 0.01", "--top", 9, "--csv", found)
    assert pd.read_csv(found)["path"].tolist() == [str(blank)]
    fresh = tmp_path / "fresh"
    shown = command("gallery", "build", fresh, people, *with_model, "--min-quality", 0.05, "--batch", 5)
    assert "left out 1 of 12 images of a quality below 0.05: 0.png (0.00: too small" in " ".join(
        shown.stderr.split()
    )
    assert str(blank) not in set(Gallery(fresh).table()["path"])
    assert len(Gallery(fresh)) == 11
    (tmp_path / "own.csv").write_text(f"path,quality\n{blank},good\n")
    with pytest.raises(InputError, match="The images have a column quality of their own: rename it"):
        command("gallery", "add", fresh, tmp_path / "own.csv", *with_model, "--quality")
    command("gallery", "add", plain, tmp_path / "own.csv", *with_model)
    named = tmp_path / "named"
    command("gallery", "build", named, tmp_path / "own.csv", *with_model)
    with pytest.raises(
        InputError, match=r"The column quality of .*named holds text of your own: leave --quality and"
    ):
        command("gallery", "add", named, people, *with_model, "--quality")
    with pytest.raises(InputError, match="--min-quality must be between 0 and 1, got 2"):
        command("gallery", "add", fresh, people, *with_model, "--min-quality", 2)
