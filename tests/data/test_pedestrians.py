import hashlib
import json
import shutil
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
import scipy.io

from reid_lightning.data.attributes import MARKET12
from reid_lightning.data.pedestrians.annotation import TRAITS
from reid_lightning.data.pedestrians.body import KEYPOINTS
from reid_lightning.data.pedestrians.dataset import read_pedestrians, write_pedestrians
from reid_lightning.data.pedestrians.person import sample_person
from reid_lightning.data.pedestrians.plan import PERSON, Settings
from reid_lightning.data.pedestrians.shot import Box, _frame
from reid_lightning.data.readers.market1501 import read_market1501
from reid_lightning.data.table import validate_table
from reid_lightning.errors import InputError
from reid_lightning.reporting.contact_sheet import contact_sheet

# The fields of Lin et al.'s market_attribute.mat, in the order of the file.
PUBLIC_FIELDS = {
    "test": "age backpack bag handbag clothes down up hair hat gender upblack upwhite upred uppurple upyellow upgray "
    "upblue upgreen downblack downwhite downpink downpurple downyellow downgray downblue downgreen downbrown "
    "image_index",
    "train": "age backpack bag handbag downblack downblue downbrown downgray downgreen downpink downpurple downwhite "
    "downyellow upblack upblue upgreen upgray uppurple upred upwhite upyellow clothes down up hair hat gender "
    "image_index",
}
SMALL = {"train_identities": 10, "test_identities": 6, "cameras": 3, "seed": 5}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("pedestrians") / "set"
    read_pedestrians(root, **SMALL)
    return root


def digests(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_tree_is_a_market1501(tree):
    table = read_market1501(tree)
    people = {split: set(rows["person_id"]) for split, rows in table.groupby("split")}
    assert len(people["train"]) == 10
    assert len(people["query"]) == 6
    assert people["gallery"] == people["query"] | {"0000"}
    assert not people["train"] & people["gallery"]
    assert all(len(person) == 4 for person in people["train"])
    assert list((tree / "bounding_box_test").glob("-1_c*.jpg"))
    for path in table["path"]:
        assert cv2.imread(path).shape == (128, 64, 3)


def test_one_query_per_identity_and_camera_and_every_query_has_a_match(tree):
    table = read_market1501(tree)
    query, gallery = table[table["split"] == "query"], table[table["split"] == "gallery"]
    assert not query.duplicated(["person_id", "camera_id"]).any()
    for person, camera in zip(query["person_id"], query["camera_id"], strict=True):
        own = gallery[gallery["person_id"] == person]
        assert (own["camera_id"] != camera).any()
        assert (own["camera_id"] == camera).any()


def test_table_is_valid_and_names_the_key_points(tree):
    table = read_pedestrians(tree, **SMALL)
    validate_table(table)
    assert set(table["source"]) == {"pedestrians"}
    stored = np.load(table["keypoints"].iloc[0])
    assert tuple(stored["joints"]) == KEYPOINTS
    named = {str(tree / name) for name in stored["names"]}
    assert set(table["path"]) < named
    junk = {path for path in named if "/-1_" in path}
    assert named - junk == set(table["path"])


def test_table_knows_each_persons_height_and_age(tree):
    table = read_pedestrians(tree, **SMALL)
    known = table[~table["distractor"]]
    for name, low, high in (("height", 100, 200), ("age_years", 5, 85)):
        assert table[name].dtype == np.float64
        assert known[name].between(low, high).all()
        assert (known.groupby("person_id")[name].nunique() == 1).all()
        assert known.groupby("person_id")[name].first().nunique() > 10  # of 16 people
        assert table.loc[table["distractor"], name].isna().all()
    for identity, height in known.groupby("person_id")["height"].first().items():
        person = sample_person(np.random.default_rng([SMALL["seed"], PERSON, int(identity)]))
        assert height == pytest.approx(170 * person.stature, abs=0.1)


def test_age_is_within_its_class_and_height_is_what_is_drawn():
    people = [sample_person(np.random.default_rng(k)) for k in range(1500)]
    names = MARKET12.attributes[MARKET12.names.index("age")].classes
    for code, (name, low, high) in enumerate(
        [("young", 5, 13), ("teenager", 13, 20), ("adult", 20, 60), ("old", 60, 85)]
    ):
        assert names[code] == name
        ages = [person.age_years for person in people if person.attributes["age"] == code]
        assert min(ages) >= low
        assert max(ages) < high
        assert np.ptp(ages) > 0.4 * (high - low)
    children = sorted((p for p in people if p.attributes["age"] == 0), key=lambda p: p.height)
    assert [p.age_years for p in children] == sorted(p.age_years for p in children)
    old = sorted((p for p in people if p.attributes["age"] == 3), key=lambda p: p.hair_colour[0])
    assert [p.age_years for p in old] == sorted(p.age_years for p in old)
    camera = SimpleNamespace(yaw=0.0, pitch=0.1)
    scales = [
        _frame(camera, person, Box(0.0, 0.0), np.random.default_rng(1)).scale
        for person in sorted(people, key=lambda person: person.height)
    ]
    assert scales == sorted(scales)
    assert scales[-1] > 1.08 * scales[0]


def test_the_same_seed_draws_the_people_of_before():
    """Height and age follow from draws that were there before them; a change here needs another `GENERATOR`."""
    people = [sample_person(np.random.default_rng([7, PERSON, k])) for k in range(1, 60)]
    digest = hashlib.sha256("\n".join(str(person.pattern_seed) for person in people).encode()).hexdigest()
    assert digest[:16] == "bd33610a7d88b695"


def test_a_tree_from_before_the_traits_gets_them_and_keeps_its_images(tree, tmp_path):
    old = tmp_path / "set"
    shutil.copytree(tree, old)
    (old / "people.csv").unlink()
    before = {path: path.stat().st_mtime_ns for path in old.rglob("*") if path.is_file()}
    again, expected = read_pedestrians(old, **SMALL), read_pedestrians(tree, **SMALL)
    pd.testing.assert_frame_equal(again[list(TRAITS)], expected[list(TRAITS)])
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert digests(old) == digests(tree)


def test_key_points_lie_on_the_person(tree):
    stored = np.load(tree / "keypoints.npz")
    points = stored["points"][np.char.startswith(stored["names"], "bounding_box_train/")]
    column = {name: k for k, name in enumerate(stored["joints"])}
    seen = points[..., 2]
    assert set(np.unique(seen)) <= {0, 1, 2}
    inside = (points[..., 0] >= 0) & (points[..., 0] < 64) & (points[..., 1] >= 0) & (points[..., 1] < 128)
    np.testing.assert_array_equal(inside, seen > 0)
    for upper, lower in (("nose", "left_shoulder"), ("left_shoulder", "left_hip"), ("left_hip", "left_knee")):
        assert (points[:, column[upper], 1] < points[:, column[lower], 1]).all()
    assert 0.3 < (seen[:, column["nose"]] == 2).mean() < 0.8  # backs hide it
    assert (seen[:, column["left_knee"]] == 2).mean() > 0.5


def test_same_seed_gives_the_same_bytes_for_any_number_of_processes(tree, tmp_path):
    write_pedestrians(tmp_path / "again", Settings(**SMALL), processes=2)
    assert digests(tmp_path / "again") == digests(tree)


def test_another_seed_gives_other_people(tmp_path, tree):
    read_pedestrians(tmp_path / "other", **SMALL | {"seed": 6})
    assert digests(tmp_path / "other") != digests(tree)


def test_complete_tree_is_reused_and_another_one_refused(tree, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in tree.rglob("*.jpg")}
    read_pedestrians(tree, **SMALL)
    assert before == {path: path.stat().st_mtime_ns for path in tree.rglob("*.jpg")}
    with pytest.raises(InputError, match=r"seed=5 instead of 9.*remove it or choose"):
        read_pedestrians(tree, **SMALL | {"seed": 9})
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "beach.txt").write_text("sand")
    with pytest.raises(InputError, match="holds no generated pedestrians"):
        read_pedestrians(tmp_path / "holiday", **SMALL)


def test_cache_keeps_a_tree_per_parameters(tmp_path, monkeypatch):
    monkeypatch.setenv("REID_LIGHTNING_CACHE", str(tmp_path))
    tiny = {"train_identities": 2, "test_identities": 2, "cameras": 2}
    for seed in (0, 1, 0):
        read_pedestrians(**tiny, seed=seed)
    trees = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert len(trees) == 2
    assert {json.loads((path / "pedestrians.json").read_text())["seed"] for path in trees} == {0, 1}


@pytest.mark.parametrize("processes", [1, 2])
def test_nothing_stays_of_an_interrupted_drawing(tmp_path, monkeypatch, processes):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("rich.progress.Progress.advance", fail)
    with pytest.raises(KeyboardInterrupt):
        read_pedestrians(tmp_path / "set", **SMALL, processes=processes)
    assert [path.name for path in tmp_path.iterdir()] == [".set.lock"]


@pytest.mark.parametrize(
    ("name", "value"), [("cameras", 1), ("train_identities", 0), ("occlusion", 1.5), ("misalignment", -1)]
)
def test_parameters_out_of_range_are_named(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"^{name} must be within .* got {value}"):
        read_pedestrians(tmp_path / "set", **{name: value})


def test_attribute_file_has_the_public_form(tree):
    mat = scipy.io.loadmat(tree / "market_attribute.mat")["market_attribute"]
    assert mat.shape == (1, 1)
    assert mat.dtype.names == ("test", "train")
    table = read_market1501(tree)
    for split, count in (("test", 6), ("train", 10)):
        *fields, last = PUBLIC_FIELDS[split].split()
        struct = mat[split][0, 0]
        assert struct.shape == (1, 1)
        assert struct.dtype.names == (*fields, last)
        for field in fields:
            row = struct[field][0, 0]
            assert row.dtype == np.uint8
            assert row.shape == (1, count)
            assert set(row.ravel()) <= ({1, 2, 3, 4} if field == "age" else {1, 2})
        colours = [field for field in fields if field[:2] == "up" and field != "up"]
        assert len(colours) == 8
        assert (sum(struct[field][0, 0].astype(int) - 1 for field in colours) <= 1).all()
        index = struct["image_index"][0, 0]
        assert index.dtype == object
        assert index.shape == (1, count)
        people = table.loc[table["split"] == {"test": "query"}.get(split, split), "person_id"]
        assert [str(cell[0]) for cell in index.ravel()] == sorted(set(people))


def test_attributes_are_as_frequent_as_in_market1501():
    people = [sample_person(np.random.default_rng(k)).attributes for k in range(3000)]
    for name, code, share in (  # shares of code among the 1501 annotated people
        ("gender", 1, 0.437), ("hair", 1, 0.346), ("up", 1, 0.944), ("down", 1, 0.630), ("clothes", 0, 0.130),
        ("hat", 1, 0.029), ("backpack", 1, 0.257), ("bag", 1, 0.247), ("handbag", 1, 0.108), ("age", 1, 0.805),
        ("upper_color", 0, 0.098), ("upper_color", 2, 0.290), ("lower_color", 1, 0.386), ("lower_color", 0, 0.049),
    ):  # fmt: skip
        assert np.mean([person[name] == code for person in people]) == pytest.approx(share, abs=0.035), name
    assert all(person["backpack"] + person["bag"] + person["handbag"] <= 1 for person in people)
    assert set(people[0]) == {attribute.name for attribute in MARKET12}


def test_names_grow_beyond_9999_people():
    settings = Settings(train_identities=9_999, test_identities=2)
    assert settings.identity_name(7) == "00007"
    assert {len(settings.identities[0]), len(settings.identities[1])} == {9_999, 2}


def test_misaligned_and_occluded_variant_hides_more(tmp_path):
    def in_sight(**difficulty):
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        read_pedestrians(root, **SMALL, **difficulty)
        stored = np.load(root / "keypoints.npz")
        return (stored["points"][np.char.startswith(stored["names"], "query/"), :, 2] == 2).mean()

    assert in_sight(occlusion=0.9, misalignment=0.15) < in_sight(occlusion=0.0, misalignment=0.0) - 0.08


def test_contact_sheet_has_a_row_a_person_and_cells_per_camera(tree, tmp_path):
    path = contact_sheet(read_market1501(tree), tmp_path / "sheet.png", people=4, cameras=3, shots=2)
    assert cv2.imread(str(path)).shape == (4 * 130, 6 * 66, 3)


def test_contact_sheet_without_cameras_shows_images_side_by_side(tree, tmp_path):
    table = read_market1501(tree).assign(camera_id=None)
    contact_sheet(table, tmp_path / "sheet.png", people=3, cameras=2, shots=2)
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet.shape == (3 * 130, 4 * 66, 3)
    assert all(cell.std() > 10 for row in np.split(sheet, 3) for cell in np.split(row, 4, axis=1))


@pytest.mark.parametrize("name", ["sheet", "sheet.txt"])
def test_contact_sheet_names_an_ending_that_is_no_picture(tree, tmp_path, name):
    with pytest.raises(InputError, match=f"{name}: the file extension is not an image format"):
        contact_sheet(read_market1501(tree), tmp_path / name)
    assert not list(tmp_path.iterdir())
