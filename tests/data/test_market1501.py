import shutil

import pytest

from reid_lightning.data.readers.market1501 import read_market1501
from reid_lightning.data.table import describe_table
from reid_lightning.errors import InputError

GOOD = "0001_c1s1_001051_00.jpg"


@pytest.fixture
def tree(tmp_path):
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        (tmp_path / "data" / folder).mkdir(parents=True)
        (tmp_path / "data" / folder / GOOD).touch()
    return tmp_path / "data"


def test_counts_of_a_tree(market_tree):
    counts = describe_table(read_market1501(market_tree))
    assert counts.loc["train"].tolist() == [24, 6, 2, 0]
    assert counts.loc["query"].tolist() == [6, 3, 2, 0]
    assert counts.loc["gallery"].tolist() == [13, 3, 2, 1]  # junk dropped, the distractor kept


def test_names_are_parsed_and_sorted(tree):
    for name in ["1501_c6s4_002877_15.jpg", "12345_c12s1_000002_00.jpg", "0002_c1s3_000451_03.jpg.jpg"]:
        (tree / "bounding_box_train" / name).touch()
    table = read_market1501(str(tree))
    train = table[table["split"] == "train"]
    assert train["person_id"].tolist() == ["0001", "0002", "12345", "1501"]
    assert train["camera_id"].tolist() == ["1", "1", "12", "6"]
    assert train["sequence_id"].tolist() == ["1", "3", "1", "4"]
    assert train["frame_id"].tolist() == [1051, 451, 2, 2877]
    assert table["split"].drop_duplicates().tolist() == ["train", "query", "gallery"]


@pytest.mark.parametrize(
    "name",
    ["person.jpg", "001_c1s1_001051_00.jpg", "-2_c1s1_001051_00.jpg", "0001_c1_001051_00.jpg", "x" + GOOD],
)
def test_an_image_with_another_name_is_refused(tree, name):
    (tree / "query" / name).touch()
    with pytest.raises(InputError, match=f"query/{name} is not named like {GOOD}"):
        read_market1501(tree)


def test_the_inner_folder_is_found(tree):
    shutil.move(tree, tree.parent / "Market-1501-v15.09.15")
    assert len(read_market1501(tree.parent)) == 3


def test_wrong_level_names_the_right_folder(tree):
    with pytest.raises(InputError, match=f"the level above does: use data.root={tree}"):
        read_market1501(tree / "query")
    with pytest.raises(InputError, match=f"the level below does: use data.root={tree}"):
        read_market1501(tree.parent)


def test_missing_folders_are_named(tree, tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        read_market1501(tmp_path / "nowhere")
    shutil.rmtree(tree / "query")
    with pytest.raises(InputError, match=r"lacks query: looked for bounding_box_train, query, .*v15.09.15"):
        read_market1501(tree)


def test_a_folder_without_images_is_refused(tree):
    (tree / "query" / GOOD).unlink()
    with pytest.raises(InputError, match="query holds no images"):
        read_market1501(tree)


def test_a_distractor_among_training_images_is_refused(tree):
    (tree / "bounding_box_train" / GOOD.replace("0001_", "0000_")).touch()
    with pytest.raises(InputError, match="a distractor belongs to the gallery"):
        read_market1501(tree)


@pytest.mark.parametrize(
    ("name", "facts"),
    [("0005_c2_f0046985.jpg", ["0005", "2", 46985]), ("0002_c1_22.png", ["0002", "1", None])],
)
def test_names_of_kindred_sets(tree, name, facts):
    (tree / "query" / GOOD).unlink()
    (tree / "query" / name).touch()
    table = read_market1501(tree)
    query = table[table["split"] == "query"].astype(object).where(table.notna(), None)
    assert query[["person_id", "camera_id", "frame_id"]].values.tolist() == [facts]
    assert ("protocol" in table and table["protocol"].str.endswith("withdrawn").all()) == ("_f" in name)
