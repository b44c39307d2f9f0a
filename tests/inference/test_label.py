"""The loop with a person in it: `reid label` asks, reads answers, and writes a table that trains."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from helpers import command

import reid_lightning
from reid_lightning.data.pedestrians.dataset import read_pedestrians
from reid_lightning.data.readers.table_file import read_table_file
from reid_lightning.errors import InputError
from reid_lightning.inference.label.apply import apply
from reid_lightning.inference.label.ask import ask
from reid_lightning.retrieval.clustering import cluster_scores


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Images of six people, with their cameras and, for the judgment alone, their names."""
    rows = read_pedestrians(train_identities=24, test_identities=6)
    rows = rows[rows["split"].isin(["query", "gallery"]) & ~rows["distractor"]]
    file = tmp_path_factory.mktemp("images") / "images.csv"
    rows[["path", "person_id", "camera_id"]].head(40).to_csv(file, index=False)
    return file


@pytest.fixture(scope="module")
def first(trained, table, tmp_path_factory):
    """Folder of a first round, in which nothing is answered yet."""
    folder = tmp_path_factory.mktemp("label") / "first"
    shown = command("label", table, "--model", trained, "--output", folder, "--answers", 12)
    assert "12 pairs of 40 images" in " ".join(shown.stderr.split())
    return folder


@pytest.fixture
def folder(first, tmp_path):
    """A copy of the first round to write into."""
    return shutil.copytree(first, tmp_path / "round")


def answered(folder, table, rows=None):
    """Fill the CSV by the truth, all rows or some."""
    truth = pd.read_csv(table, dtype=str).set_index("path")["person_id"]
    answers = pd.read_csv(folder / "answers.csv", dtype=str)
    same = answers["path_a"].map(truth) == answers["path_b"].map(truth)
    answers["answer"] = np.where(same, "same", "different")
    if rows is not None:
        answers.loc[~answers.index.isin(rows), "answer"] = None
    answers.to_csv(folder / "answers.csv", index=False)
    return answers


def test_what_a_round_leaves(first, trained, table):
    answers = pd.read_csv(first / "answers.csv", dtype=str)
    assert answers.columns.tolist() == ["pair", "path_a", "path_b", "distance", "question", "answer"]
    assert answers["pair"].tolist() == [str(number) for number in range(1, 13)]
    assert answers["answer"].isna().all()
    images = pd.read_csv(table, dtype=str)["path"]
    assert set(answers["path_a"]) | set(answers["path_b"]) <= set(images)
    assert sorted(path.name for path in (first / "sheets").iterdir()) == ["sheet_001.jpg", "sheet_002.jpg"]
    page = (first / "label.html").read_text()
    for copy in (first / "images").iterdir():
        assert f'src="images/{copy.name}"' in page
    vectors = np.load(first / "vectors.npy")
    wanted = reid_lightning.load(trained).embed(images.tolist()).numpy()
    np.testing.assert_allclose(vectors, wanted, atol=1e-5)


def test_the_same_command_asks_the_same(first, trained, table, tmp_path):
    ask(table, trained, tmp_path / "again", answers=12)
    for name in ("answers.csv", "labels.json", "label.html"):
        assert (tmp_path / "again" / name).read_bytes() == (first / name).read_bytes()


def test_answers_become_a_table_that_trains_and_hold_in_it(folder, table):
    answers = answered(folder, table)
    # So weak a model joins nobody once the answers have said how near is near.
    shown = " ".join(command("label", folder, "--apply", "--threshold", 0.5).stderr.split())
    assert "12 answers" in shown
    rows = read_table_file(folder / "people.csv")
    assert (rows["split"] == "train").all()
    assert rows["camera_id"].tolist() == pd.read_csv(table, dtype=str)["camera_id"].tolist()
    sizes = rows["person_id"].value_counts()
    assert (sizes >= 2).all()
    people = rows.set_index("path")["person_id"]
    for _, pair in answers.iterrows():
        one, other = people[pair["path_a"]], people[pair["path_b"]]
        if pair["answer"] == "same":
            assert one == other
        else:
            assert pd.isna(one) or one != other


def test_a_second_round_goes_on_and_is_judged_better(folder, trained, table, tmp_path):
    first = answered(folder, table)
    second = tmp_path / "second"
    ask(table, trained, second, answers=60, after=folder)
    answers = answered(second, table)
    assert answers["pair"].astype(int).min() == 13
    pairs = {frozenset(pair) for pair in zip(first["path_a"], first["path_b"], strict=True)}
    assert not pairs & {frozenset(pair) for pair in zip(answers["path_a"], answers["path_b"], strict=True)}
    truth = pd.read_csv(table, dtype=str)["person_id"]
    scores = []
    for place in (folder, second):
        found = apply(place, least=1)
        scores.append(cluster_scores(found["person_id"].to_numpy(str), truth.to_numpy(str))["f"])
    assert scores[1] > scores[0]
    kept = json.loads((second / "labels.json").read_text())["earlier"]
    assert [(each["first"], each["answer"]) for each in kept] == list(
        zip(first["path_a"], first["answer"], strict=True)
    )


def test_own_rows_count_and_name_images_by_path(folder, table):
    answers = answered(folder, table, rows=[0])
    extra = {"path_a": answers["path_b"][1], "path_b": answers["path_a"][3], "answer": "Same"}
    pd.concat([answers, pd.DataFrame([extra])]).to_csv(folder / "answers.csv", index=False)
    people = apply(folder).set_index("path")["person_id"]
    assert people[extra["path_a"]] == people[extra["path_b"]]


def test_every_bad_row_is_named(folder, table):
    answers = answered(folder, table)
    answers.loc[0, "answer"] = "maybe"
    answers.loc[2, "pair"] = "99"
    answers.loc[4, "path_b"] = "x.jpg"
    answers.loc[6, ["pair", "path_a"]] = [None, "y.jpg"]
    answers.loc[8, ["pair", "path_a"]] = [None, answers.loc[8, "path_b"]]
    answers.to_csv(folder / "answers.csv", index=False)
    with pytest.raises(InputError) as error:
        apply(folder)
    for said in (
        "row 1: answer is not one of same, different, unknown, got maybe",
        "row 3: there is no pair 99 in this round",
        "row 5: path_b is not that of pair 5",
        "row 7: path_a is not among the images, got y.jpg",
        "row 9: path_a and path_b are the same image",
    ):
        assert said in str(error.value)
    assert not (folder / "people.csv").exists()


def test_contradictions_are_named(folder, table):
    answers = answered(folder, table)
    pair = answers.iloc[0]
    other = "different" if pair["answer"] == "same" else "same"
    extra = {"path_a": pair["path_b"], "path_b": pair["path_a"], "answer": other}
    pd.concat([answers, pd.DataFrame([extra])]).to_csv(folder / "answers.csv", index=False)
    with pytest.raises(
        InputError, match=r"contradict each other: .*row (1|13) calls .* and .*row (1|13) calls"
    ):
        apply(folder)


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"version": 1}', '{"version": 2}'])
def test_a_damaged_folder_is_refused(folder, damage):
    (folder / "labels.json").write_text(damage)
    with pytest.raises(InputError, match=r"labels\.json is damaged"):
        apply(folder)


def test_damaged_vectors_are_refused(folder):
    np.save(folder / "vectors.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(InputError, match=r"vectors\.npy is damaged"):
        apply(folder)


def test_cameras_of_a_folder_by_their_names(trained, table, tmp_path):
    images = tmp_path / "crops"
    images.mkdir()
    for path in pd.read_csv(table, dtype=str)["path"].head(12):
        shutil.copy(path, images)
    command("label", images, "--model", trained, "--output", tmp_path / "out", "--cameras", r"_c(\d+)")
    found = apply(tmp_path / "out", least=1)
    assert [
        f"_c{camera}s" in path for path, camera in zip(found["path"], found["camera_id"], strict=True)
    ] == [True] * 12
    with pytest.raises(InputError, match="must have a group in parentheses"):
        ask(images, trained, tmp_path / "other", cameras="_d")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("TABLE",), "needs --model to ask"),
        (("TABLE", "--model", "MODEL"), "needs --output to ask"),
        (("FOLDER", "--apply", "--model", "MODEL"), "--model belongs to asking"),
        (("TABLE", "--model", "MODEL", "--output", "FOLDER"), "--output must name a folder that is not there"),
        (("TABLE", "--model", "MODEL", "--output", "NEW", "--answers", "0"), "--answers must be 1 or more"),
        (("TABLE", "--model", "MODEL", "--output", "NEW", "--filled", "x.csv"), "--filled belongs to"),
        (("TABLE", "--model", "MODEL", "--output", "NEW", "--after", "TABLE"), "is not a folder of `reid label`"),
        (("FOLDER", "--apply", "--least", "50"), "No group has 50 images or more"),
        (("FOLDER", "--apply", "--output", "people.parquet"), "must end in .csv"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(folder, trained, table, tmp_path, arguments, said):
    places = {"TABLE": table, "MODEL": trained, "FOLDER": folder, "NEW": tmp_path / "new"}
    with pytest.raises(InputError) as error:
        command("label", *(places.get(one, one) for one in arguments))
    assert said in str(error.value)
    assert not (tmp_path / "new").exists()
