import pytest

from reid_lightning.data.readers.msmt17 import read_msmt17
from reid_lightning.data.table import describe_table
from reid_lightning.errors import InputError

LINES = {
    "train": ["0000/0000_000_01_0303morning_0008_0.jpg 0", "0001/0001_004_14_0114noon_1558_1_ex.jpg 1"],
    "val": ["0000/0000_013_04_0303morning_0020_2.jpg 0"],
    "query": ["0000/0000_002_15_0302afternoon_0016_2.jpg 0"],
    "gallery": ["0000/0000_001_01_0303morning_0016_1.jpg 0", "3059/3059_001_02_0303morning_0016_1.jpg 3059"],
}


@pytest.fixture(params=["MSMT17_V1", "MSMT17_V2"])
def tree(tmp_path, request):
    root = tmp_path / request.param
    for folder in ("train", "test") if request.param == "MSMT17_V1" else ("mask_train_v2", "mask_test_v2"):
        (root / folder).mkdir(parents=True)
    for name, lines in LINES.items():
        (root / f"list_{name}.txt").write_text("\n".join(lines) + "\n")
    return root


def test_lists_are_read(tree):
    table = read_msmt17(tree.parent)
    assert table["split"].tolist() == ["train", "train", "query", "gallery", "gallery"]
    assert table["person_id"].tolist() == ["train0000", "train0001", "test0000", "test0000", "test3059"]
    assert table["camera_id"].tolist() == ["1", "14", "15", "1", "2"]
    train = "train" if tree.name == "MSMT17_V1" else "mask_train_v2"
    assert table["path"][0] == f"{tree}/{train}/0000/0000_000_01_0303morning_0008_0.jpg"
    assert table["protocol"].unique().tolist() == [f"{tree.name[-2:]}, trained on train"]


def test_validation_list_trains_too_on_request_and_says_so(tree):
    table = read_msmt17(tree, training="train+val")
    assert describe_table(table)["images"].to_dict() == {"train": 3, "query": 1, "gallery": 2}
    assert describe_table(table)["identities"]["train"] == 2
    assert table["protocol"][0].endswith("trained on train + val")


def test_wrong_lines_are_named(tree):
    (tree / "list_query.txt").write_text(LINES["query"][0] + "\n0000/0000_002.jpg 0\n")
    with pytest.raises(InputError, match=r"list_query.txt, line 2 is '0000/0000_002.jpg 0', and not like"):
        read_msmt17(tree)
    (tree / "list_query.txt").write_text("")
    with pytest.raises(InputError, match=r"list_query.txt is empty"):
        read_msmt17(tree)
    (tree / "list_query.txt").unlink()
    with pytest.raises(InputError, match=r"lacks list_query.txt"):
        read_msmt17(tree)
    with pytest.raises(ValueError, match=r"^training must be train or train\+val, got all"):
        read_msmt17(tree, training="all")


def test_lists_without_images(tree):
    for folder in tree.iterdir():
        if folder.is_dir():
            folder.rmdir()
    with pytest.raises(
        InputError, match=r"it lacks the folders train and test or mask_train_v2 and mask_test_v2"
    ):
        read_msmt17(tree)
