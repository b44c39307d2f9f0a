"""People enrolled with a checkpoint, from files on disk to names."""

import json
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import command

from reid_lightning.data.image_cache import DecodedImages
from reid_lightning.data.pedestrians.dataset import read_pedestrians
from reid_lightning.engine.module import CHECKPOINT_KEY
from reid_lightning.errors import InputError
from reid_lightning.experiments.factory import build_module
from reid_lightning.experiments.run import run_job
from reid_lightning.inference.embed import Embedder, list_images
from reid_lightning.inference.enrol import enrol
from reid_lightning.inference.identify import _lists, identify
from reid_lightning.retrieval.identification import Enrolment

PEOPLE = {"train_identities": 10, "test_identities": 6}


@pytest.fixture(scope="module")
def tested():
    """The test images of a handful of generated people."""
    table = read_pedestrians(**PEOPLE)
    table = table[table["split"].isin(["query", "gallery"]) & ~table["distractor"]]
    assert table["person_id"].nunique() == 6
    return table


@pytest.fixture
def folder(tested, tmp_path):
    """A folder per person with images of the gallery: the first four people, then the others; and of queries."""
    for number, (person, rows) in enumerate(tested.groupby("person_id")):
        for row in rows.itertuples():
            part = "asked" if row.split == "query" else "first" if number < 4 else "later"
            target = tmp_path / part / f"p{person}"
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(row.path, target)
    return tmp_path


@pytest.fixture
def checkpoint(compose, tiny, tmp_path):
    """A checkpoint of an untrained network."""
    torch.manual_seed(0)
    config = compose(*tiny)
    module = build_module(config, 3, {"a": 0, "b": 1, "c": 2})
    entry = {"version": "0", "config": config, "identity_labels": module.identity_labels}
    torch.save({"state_dict": module.state_dict(), CHECKPOINT_KEY: entry}, tmp_path / "model.ckpt")
    return tmp_path / "model.ckpt"


def test_vectors_are_those_of_the_module_whatever_the_batch(checkpoint, tested):
    paths = tested["path"].tolist()[:9]
    embedder = Embedder(checkpoint)
    pixels = np.stack(list(DecodedImages(paths, embedder.image_size)))
    with torch.no_grad():
        expected = embedder.model.module.embed(
            torch.from_numpy(pixels).permute(0, 3, 1, 2).to(embedder.device)
        ).cpu()
    embedder.batch_size = 4
    torch.testing.assert_close(embedder(paths), expected, rtol=0, atol=1e-5)
    assert embedder(paths).norm(dim=1).tolist() == pytest.approx([1.0] * 9)
    assert Embedder(checkpoint).mark == embedder.mark
    assert Embedder(checkpoint, ["evaluation.flip=true"]).mark != embedder.mark


def test_commands_enrol_add_forget_and_identify(checkpoint, folder):
    people = folder / "people.npz"
    assert command("enrol", checkpoint, folder / "first", people).exit_code == 0
    assert len(Enrolment.load(people).people) == 4
    one = sorted((folder / "later").iterdir())[0]
    assert command("enrol", checkpoint, one, people, "--name", "Ada").exit_code == 0
    assert Enrolment.load(people).people[4:] == ("Ada",)
    with pytest.raises(InputError, match=r"of Bo is enrolled already, as .* of Ada"):
        command("enrol", checkpoint, one, people, "--name", "Bo")

    # The enrolled images themselves, as a table: each is its own nearest.
    enrolled = Enrolment.load(people)
    pd.DataFrame({"path": enrolled.images}).to_csv(folder / "asked.csv", index=False)
    shown = command(
        "identify",
        checkpoint,
        people,
        folder / "asked.csv",
        "--k",
        1,
        "--threshold",
        1e-3,
        "--search",
        "faiss",
    )
    answers = [json.loads(line) for line in shown.stdout.splitlines()]
    assert [answer["name"] for answer in answers] == enrolled.names
    assert [answer["candidates"][0]["image"] for answer in answers] == enrolled.images
    assert max(answer["candidates"][0]["distance"] for answer in answers) < 1e-4

    assert command("forget", people, "Ada").exit_code == 0
    output, sheet = folder / "answers.csv", folder / "sheet.png"
    asked = ("identify", checkpoint, people, folder / "asked.csv", "--threshold", 1e-3, "--k", 1)
    command(*asked, "--output", output, "--sheet", sheet)
    written = pd.read_csv(output)
    gone = np.array(enrolled.names) == "Ada"
    assert written["name"].isna().tolist() == gone.tolist()
    assert not written["candidate"].isna().any()
    assert sheet.read_bytes().startswith(b"\x89PNG")


def test_people_of_another_model_are_refused(checkpoint, folder):
    people = folder / "people.npz"
    enrol(checkpoint, folder / "first", people)
    for call in (
        lambda: identify(checkpoint, people, folder / "asked", ["evaluation.flip=true"]),
        lambda: enrol(checkpoint, folder / "later", people, ["evaluation.flip=true"]),
    ):
        with pytest.raises(InputError, match=r"people.npz was written with another checkpoint"):
            call()
    with pytest.raises(InputError, match=r"compares by evaluation.distance=cosine, not euclidean"):
        identify(checkpoint, people, folder / "asked", ["evaluation.distance=euclidean"])
    with pytest.raises(InputError, match="--k must be 1 or more, got 0"):
        identify(checkpoint, people, folder / "asked", k=0)
    with pytest.raises(InputError, match=r"--threshold must be a number from 0 on, got -0\.1"):
        identify(checkpoint, people, folder / "asked", threshold=-0.1)


def test_the_threshold_is_that_of_the_calibration_for_so_many_people(trained, folder):
    people = folder / "people.npz"
    enrolment = enrol(trained, folder / "first", people)
    calibration = Embedder(trained).model.calibration
    shown = command("identify", trained, people, folder / "asked", "--false-accepts", 0.2)
    wanted, measured = calibration.strangers.threshold(0.2, 4, len(enrolment) / 4)
    assert measured
    said = " ".join(shown.stderr.split())
    assert f"known within {wanted:.4g}, which 20 % of strangers come within among" in said
    answers = [json.loads(line) for line in shown.stdout.splitlines()]
    for answer in answers:
        best = answer["candidates"][0]
        assert (answer["name"] is not None) == (best["distance"] <= wanted)
        probability = calibration.probability(np.array([best["distance"]]))[0]
        assert best["pair_probability"] == pytest.approx(probability, abs=1e-3)
    rare = command("identify", trained, people, folder / "asked", "--false-accepts", 2e-4)
    assert "the smallest that was measured; more than 0.02 % of strangers" in " ".join(rare.stderr.split())
    named = identify(trained, people, folder / "asked", false_accepts=1)
    assert named.known.all()
    assert identify(trained, people, folder / "asked", threshold=1e-9).names == [None] * len(answers)


def test_the_file_alone_identifies_as_the_command_does(trained, folder):
    people = folder / "people.npz"
    enrol(trained, folder / "first", people)
    embedder = Embedder(trained)
    vectors = embedder([str(path) for path in sorted((folder / "asked").rglob("*.jpg"))])
    for options in ({}, {"false_accepts": 0.3}, {"per_person": "mean", "false_accepts": 0.3}):
        alone = Enrolment.load(people).identify(vectors, **options)
        told = identify(trained, people, folder / "asked", output=folder / "out.csv", **options)
        assert (alone.names, alone.threshold) == (told.names, told.threshold)
        torch.testing.assert_close(alone.pair_probabilities, told.pair_probabilities, atol=1e-3, rtol=0)
    written = pd.read_csv(folder / "out.csv")
    assert list(written) == [
        "image", "name", "same_image", "candidate", "share_of_votes", "distance", "pair_probability", "nearest",
    ]  # fmt: skip
    # A file of before has no calibration: the checkpoint's is taken, and enrolling more people adds it.
    earlier = Enrolment.load(people)
    earlier.calibration = None
    earlier.save(people)
    assert identify(trained, people, folder / "asked", output=folder / "o.csv").threshold is not None
    enrol(trained, folder / "later", people)
    assert Enrolment.load(people).calibration.as_dict() == embedder.model.calibration.as_dict()


@pytest.mark.parametrize("calibrated", [True, False])
def test_an_enrolled_image_is_sure_in_every_output(trained, checkpoint, folder, calibrated):
    model, people, sheet = trained if calibrated else checkpoint, folder / "people.npz", folder / "sheet.png"
    enrol(model, folder / "first", people)
    shown = command("identify", model, people, folder / "first", "--false-accepts", 1, "--sheet", sheet)
    enrolled = Enrolment.load(people)
    answers = [json.loads(line) for line in shown.stdout.splitlines()]
    names = dict(zip(enrolled.images, enrolled.names, strict=True))
    for answer in answers:
        best, rest = answer["candidates"][0], answer["candidates"][1:]
        assert answer["same_image"]
        assert answer["name"] == names[answer["image"]]
        assert best["image"] == answer["image"]
        assert (best["share_of_votes"], best["distance"]) == (1, pytest.approx(0, abs=1e-5))
        assert all(one["share_of_votes"] == 0 for one in rest)
        assert (best["pair_probability"] is not None) == calibrated
        assert not calibrated or best["pair_probability"] >= max(one["pair_probability"] for one in rest)
    captions = [image.caption for row in _lists(answers) for image in row.images]
    assert all(("%" in caption) == calibrated for caption in captions)


def test_images_of_too_little_quality_are_left_out_and_named(checkpoint, folder, capsys):
    ada = sorted((folder / "later").iterdir())[0]
    first = sorted(ada.iterdir())[0]
    cv2.imwrite(str(first), cv2.imread(str(first)) // 20)
    gone = sorted((folder / "later").iterdir())[1]
    for path in gone.iterdir():
        cv2.imwrite(str(path), np.full((128, 64, 3), 20, np.uint8))
    people = folder / "people.npz"
    enrolled = enrol(checkpoint, folder / "later", people, min_quality=0.3)
    said = " ".join(capsys.readouterr().err.split())
    assert str(first) not in enrolled.images
    assert enrolled.people == (ada.name,)
    left = 1 + len(list(gone.iterdir()))
    assert f"left out {left} of {len(enrolled) + left} images of a quality below 0.3: " in said
    assert "(0.00: blurred, too dark, low contrast)" in said
    assert f"no image is left of {gone.name}, who stay unknown" in said
    with pytest.raises(
        InputError, match=r"No image of .* has a quality of 1 or more, the best has 0\.00; give a small"
    ):
        enrol(checkpoint, gone, people, name="x", min_quality=1)
    with pytest.raises(InputError, match=r"--min-quality must be between 0 and 1, got 1\.5"):
        command("enrol", checkpoint, folder / "later", people, "--min-quality", 1.5)
    with pytest.raises(InputError, match="--per-person median is unknown; choose one of all, mean"):
        command("identify", checkpoint, people, folder / "asked", "--per-person", "median")


def test_a_false_accept_rate_needs_a_calibration(checkpoint, folder):
    people = folder / "people.npz"
    enrol(checkpoint, folder / "first", people)
    shown = command("identify", checkpoint, people, folder / "asked")
    assert "everybody is named: the model does not say" in " ".join(shown.stderr.split())
    assert all(json.loads(line)["name"] for line in shown.stdout.splitlines())
    for options, said in (
        ({"false_accepts": 0.1}, "--false-accepts needs a calibration"),
        ({"false_accepts": 0.1, "threshold": 0.1}, "--false-accepts or --threshold, not both"),
        ({"false_accepts": 2}, "--false-accepts must be above 0 and up to 1, got 2"),
    ):
        with pytest.raises(InputError, match=said):
            identify(checkpoint, people, folder / "asked", **options)


def test_images_are_listed_with_their_people(tmp_path):
    for name in ("b/2.jpg", "a/x/1.PNG", "a/0.jpg", ".hidden/3.jpg"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()
    (tmp_path / "in" / "a" / "notes.txt").touch()
    listed = list_images(tmp_path / "in", people=True)
    assert [path.removeprefix(f"{tmp_path}/in/") for path in listed["path"]][-3:] == [
        "a/0.jpg",
        "a/x/1.PNG",
        "b/2.jpg",
    ]
    assert listed["person_id"].tolist()[-3:] == ["a", "a", "b"]
    assert "person_id" not in list_images(tmp_path / "in").columns
    assert set(list_images(tmp_path / "in", "Ada", people=True)["person_id"]) == {"Ada"}
    assert list_images(tmp_path / "in/b/2.jpg")["path"].tolist() == [f"{tmp_path}/in/b/2.jpg"]
    (tmp_path / "t.csv").write_text("path,person_id,extra\nin/b/2.jpg,007,1\n")
    assert list_images(tmp_path / "t.csv", people=True).values.tolist() == [[f"{tmp_path}/in/b/2.jpg", "007"]]
    (tmp_path / "empty").mkdir()
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "1.jpg").touch()
    (tmp_path / "gap.csv").write_text("path,person_id\na.jpg,7\nb.jpg,\n")
    (tmp_path / "unknown.csv").write_text("path,person_id\na.jpg,7\nb.jpg,-1.0\n")
    assert list_images(tmp_path / "unknown.csv")["person_id"].isna().tolist() == [False, True]
    (tmp_path / "junk" / "-1").mkdir(parents=True)
    (tmp_path / "junk" / "-1" / "1.jpg").touch()
    (tmp_path / "no.csv").write_text("file\na.jpg\n")
    (tmp_path / "paths.csv").write_text("path\na.jpg\n")
    for where, message in (
        ("nowhere", "There is no .*nowhere"),
        ("empty", "empty holds no images"),
        ("flat", "1.jpg is not in a person's folder"),
        ("gap.csv", "gap.csv, row 2 .*: person_id is empty"),
        ("unknown.csv", "unknown.csv, row 2 .*: person_id is empty"),
        ("junk", "1.jpg lies in the folder -1, which means unknown people"),
        ("no.csv", "no.csv has no column path: it has file"),
        ("paths.csv", "paths.csv does not say whom its images show"),
    ):
        with pytest.raises(InputError, match=message):
            list_images(tmp_path / where, people=True)


@pytest.mark.slow
def test_people_whom_the_training_never_saw_are_identified_and_new_ones_after_it(compose, tiny, tmp_path):
    larger = [
        setting for setting in tiny if not any(k in setting for k in ("train_identities", "sampler", "size"))
    ]
    config = compose(
        *larger,
        "data.sources.pedestrians.train_identities=80",
        "data.image_size=[64,32]",
        "sampler.identities=16",
        "sampler.images_per_identity=4",
        "trainer.max_epochs=8",
    )
    run_job(config)
    table = read_pedestrians(train_identities=80, test_identities=6)
    known = {
        split: table[(table["split"] == split) & ~table["distractor"]][["path", "person_id"]]
        for split in ("query", "gallery")
    }
    first = sorted(known["gallery"]["person_id"].unique())[:3]
    files = {}
    for name, chosen in (("first", True), ("later", False)):
        files[name] = tmp_path / f"{name}.csv"
        rows = known["gallery"][known["gallery"]["person_id"].isin(first) == chosen]
        rows.to_csv(files[name], index=False)
    known["query"][["path"]].to_csv(tmp_path / "asked.csv", index=False)
    model, people = tmp_path / "run/checkpoints/best.ckpt", tmp_path / "people.npz"
    truth = known["query"]["person_id"].to_numpy()
    enrolled = np.isin(truth, first)
    shares = []
    for name in ("first", "later"):
        enrol(model, files[name], people)
        found = identify(
            model, people, tmp_path / "asked.csv", output=tmp_path / "out.jsonl", false_accepts=1
        )
        names = np.array(found.names)
        shares.append([(names == truth)[enrolled].mean(), (names == truth)[~enrolled].mean()])
    assert shares[0][1] == 0  # not yet enrolled
    assert shares[1][0] > 0.6
    assert shares[1][1] > 0.6  # chance is 1 in 6


@pytest.mark.parametrize("name", ["Ada\nEve", "Ada\0"])
def test_a_name_of_two_lines_is_refused(name):
    enrolment = Enrolment("cosine", "m")
    with pytest.raises(InputError, match="Row 0 of the people to enrol has a name with a line break"):
        enrolment.add(torch.ones(1, 2), [name])
    assert len(enrolment) == 0
