import pytest

from reid_lightning.data.readers.identity_folder import read_identity_folder
from reid_lightning.data.readers.image_files import images_below
from reid_lightning.errors import InputError


def tree(root, *files):
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def people(root, count=6, shots=("c1/a.jpg", "c1/b.png", "c2/a.jpg", "c2/b.JPG")):
    return tree(root, *(f"person{person}/{shot}" for person in range(count) for shot in shots))


def test_identities_of_the_test_are_not_in_training(tmp_path):
    table = read_identity_folder(people(tmp_path), test_fraction=1 / 3)
    by_split = {split: set(rows["person_id"]) for split, rows in table.groupby("split")}
    assert len(by_split["train"]) == 4
    assert by_split["query"] == by_split["gallery"]
    assert not by_split["train"] & by_split["query"]
    assert len(table) == 24


def test_the_seed_chooses_the_identities(tmp_path):
    people(tmp_path)
    splits = [read_identity_folder(tmp_path, seed=seed)["split"].tolist() for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]


def test_queries_are_one_per_camera_or_one_per_identity(tmp_path):
    people(tmp_path)
    unknown = read_identity_folder(tmp_path, test_fraction=1)
    assert unknown["camera_id"].isna().all()
    assert (unknown["split"] == "query").sum() == 6
    known = read_identity_folder(tmp_path, camera_pattern=r"(?P<camera>c\d)/", test_fraction=1)
    queries = known[known["split"] == "query"]
    assert sorted(queries["camera_id"]) == ["c1"] * 6 + ["c2"] * 6


def test_split_folders_are_taken_as_they_are(tmp_path):
    tree(tmp_path, "train/ann/1.jpg", "query/bob/1.jpg", "gallery/bob/2.jpg", ".git/x", "train/.DS_Store")
    table = read_identity_folder(tmp_path)
    assert table[["split", "person_id"]].values.tolist() == [
        ["gallery", "bob"],
        ["query", "bob"],
        ["train", "ann"],
    ]


def test_bad_folders_are_named(tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        read_identity_folder(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no images below a folder for each person"):
        read_identity_folder(tmp_path)
    people(tmp_path)
    with pytest.raises(InputError, match=r"test_fraction=1\.5"):
        read_identity_folder(tmp_path, test_fraction=1.5)
    with pytest.raises(InputError, match="no group named camera"):
        read_identity_folder(tmp_path, camera_pattern=r"(c\d)")
    with pytest.raises(InputError, match="not a regular expression"):
        read_identity_folder(tmp_path, camera_pattern="(")
    with pytest.raises(InputError, match=r"person0/c1/a.jpg does not match camera_pattern=.*c9"):
        read_identity_folder(tmp_path, camera_pattern="(?P<camera>c9)")
    tree(tmp_path, "stray.jpg")
    with pytest.raises(InputError, match=r"stray.jpg is not in a person's folder"):
        read_identity_folder(tmp_path)
    tree(tmp_path, "train/ann/1.jpg")
    with pytest.raises(InputError, match="holds the folder person0 beside train"):
        read_identity_folder(tmp_path)


def test_images_come_in_the_order_of_their_names(tmp_path, monkeypatch):
    for name in ("a-b/1.jpg", "a/2.jpg", "a/b/1.PNG", "a/.hidden.jpg", "b.jpg", "a/notes.txt", "B/1.webp"):
        tree(tmp_path, name)
    found = sorted(
        path for path in tmp_path.rglob("[!.]*") if path.suffix.lower() in (".jpg", ".png", ".webp")
    )
    assert images_below(tmp_path) == [str(path) for path in found]
    monkeypatch.chdir(tmp_path)
    assert images_below(".") == [str(path.relative_to(tmp_path)) for path in found]
