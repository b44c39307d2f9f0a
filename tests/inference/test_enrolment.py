"""People enrolled with a checkpoint, from files on disk to names."""

import json
import shutil

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
from reid_lightning.inference.identify import enrol, identify
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
        expected = embedder.module.embed(
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
        ("flat", "1.jpg lies in no person's folder"),
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
        names = np.array(identify(model, people, tmp_path / "asked.csv", output=tmp_path / "out.jsonl").names)
        shares.append([(names == truth)[enrolled].mean(), (names == truth)[~enrolled].mean()])
    assert shares[0][1] == 0  # not yet enrolled
    assert shares[1][0] > 0.6
    assert shares[1][1] > 0.6  # chance is 1 in 6
