"""The course's layout: which people are known, and what is said of people without images or annotations."""

import pandas as pd
import pytest
from tiny_trees import write_image
from trento_tree import write_trento_tree

from reid_lightning.data.attributes import MARKET12
from reid_lightning.data.datamodule import ReIDDataModule
from reid_lightning.data.readers.trento import read_trento
from reid_lightning.data.table import concatenate_tables
from reid_lightning.errors import InputError


@pytest.fixture
def tree(tmp_path):
    return write_trento_tree(tmp_path / "course")


def test_people_and_cameras_are_read_from_training_names_and_nowhere_else(tree):
    write_image(tree / "test" / "0002_c1s1_000001_00.jpg", 5)  # a name that looks as if it knew
    table = read_trento(tree)
    assert table["split"].value_counts().to_dict() == {"train": 32, "gallery": 10, "query": 3}
    train, rest = table[table["split"] == "train"], table[table["split"] != "train"]
    assert sorted(train["person_id"].unique()) == [f"{2 + 3 * person:04d}" for person in range(8)]
    assert sorted(train["camera_id"].unique()) == ["1", "2"]
    assert train["frame_id"].max() == 300
    assert rest["person_id"].isna().all()
    assert rest["camera_id"].isna().all()


def test_names_may_hold_the_person_alone(tmp_path):
    root = write_trento_tree(tmp_path / "course", people=2)
    for name in ("7.png", "0009_holiday photo.jpg", "0009-2.JPG", "0009_c3.jpg"):
        write_image(root / "train" / name, 1)
    train = read_trento(root).query("split == 'train'").set_index("path")
    people = {path.rsplit("/", 1)[1]: person for path, person in train["person_id"].items()}
    assert {people[name] for name in ("0009_holiday photo.jpg", "0009-2.JPG", "0009_c3.jpg")} == {"0009"}
    assert people["7.png"] == "7"
    write_image(root / "train" / "anna_1.jpg", 1)
    with pytest.raises(InputError, match=r"anna_1\.jpg is not named like 0002_c1s1_000451_03\.jpg"):
        read_trento(root)


def test_a_subset_of_the_people_and_of_the_annotations_is_said_and_used(tree, caplog):
    file = tree / "annotations_train.csv"
    rows = pd.read_csv(file)
    stranger = rows.iloc[[0]].assign(id=999)
    pd.concat([rows.iloc[1:], stranger]).to_csv(file, index=False)
    table = concatenate_tables({"trento": read_trento(tree)})
    said = " ".join(record.getMessage() for record in caplog.records)
    assert "1 of the 8 annotated people have no training image: their rows are not read (999 for one)" in said
    assert (
        "1 of the 8 people of the training images are not annotated: their attributes are unknown (2 for"
        in said
    )
    train = table[table["split"] == "train"]
    unknown = train[list(MARKET12.names)].isna().all(axis=1)
    assert set(train.loc[unknown, "person_id"]) == {"0002"}
    expected = rows.set_index("id")["gender"]
    known = train[~unknown]
    assert (known["gender"] == known["person_id"].astype(int).map(expected) - 1).all()
    assert table.loc[table["split"] != "train", list(MARKET12.names)].isna().all(axis=None)


def test_annotations_of_nobody_here_and_missing_folders_are_errors(tree, caplog):
    file = tree / "annotations_train.csv"
    pd.read_csv(file).assign(id=range(500, 508)).to_csv(file, index=False)
    with pytest.raises(InputError, match=r"identity 500 \(and 7 more of 8\) has no image"):
        concatenate_tables({"trento": read_trento(tree)})
    file.unlink()
    assert "gender" not in read_trento(tree).columns
    assert "no attributes are known" in caplog.text
    for image in (tree / "queries").iterdir():
        image.unlink()
    with pytest.raises(InputError, match="queries holds no images"):
        read_trento(tree)
    (tree / "queries").rmdir()
    with pytest.raises(InputError, match="lacks queries"):
        read_trento(tree)


def test_the_test_set_has_no_identities_and_people_validate_as_elsewhere(tree, caplog):
    data = ReIDDataModule({"trento": lambda: read_trento(tree)}, (24, 12), validation=0.5, cache=False)
    data.setup()
    assert (data.has_test, data.has_nameless_test, data.is_tested, data.has_validation) == (
        False,
        True,
        True,
        True,
    )
    assert data.num_identities == 4
    assert (
        "no identities: 3 queries and 9 images of the gallery are ranked, and nothing is scored"
        in caplog.text
    )
    assert "left out" not in caplog.text
    batch = next(iter(data.test_dataloader()))
    assert len(batch["index"]) == 12
    assert batch["person_ids"].eq(-1).all()
