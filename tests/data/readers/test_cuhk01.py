import pytest

from reid_lightning.data.readers.cuhk01 import read_cuhk01
from reid_lightning.data.table import describe_table
from reid_lightning.errors import InputError


def write_campus(root, people):
    (root / "campus").mkdir()
    for person in range(1, people + 1):
        for image in range(1, 5):
            (root / "campus" / f"{person:04d}{image:03d}.png").touch()
    (root / "campus" / "Thumbs.db").touch()
    return root


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return write_campus(tmp_path_factory.mktemp("cuhk01"), 971)


@pytest.mark.parametrize(("tested", "trained"), [(486, 485), (484, 487), (100, 871)])
def test_published_counts(published, tested, trained):
    counts = describe_table(read_cuhk01(published, test_identities=tested))
    assert counts[["images", "identities", "cameras"]].values.tolist() == [
        [4 * trained, trained, 2],
        [2 * tested, tested, 1],
        [2 * tested, tested, 1],
    ]


def test_names_and_cameras(tmp_path):
    table = read_cuhk01(write_campus(tmp_path, 3), test_identities=1)
    assert table["source"].unique().tolist() == ["cuhk01"]
    numbers = table["path"].str.extract(r"/(\d{4})(\d{3})\.png$")
    assert (numbers[0] == table["person_id"]).all()
    assert (numbers[1].map({"001": "a", "002": "a", "003": "b", "004": "b"}) == table["camera_id"]).all()
    assert set(table.loc[table["split"] == "query", "camera_id"]) == {"a"}
    assert set(table.loc[table["split"] == "gallery", "camera_id"]) == {"b"}
    assert table["protocol"][0] == "split 0, 2 training identities, 1 queried among 1, from camera a"


def test_a_split_is_a_draw_that_stays(published):
    def tested(**options):
        table = read_cuhk01(published, **options)
        return set(table.loc[table["split"] == "query", "person_id"])

    draws = [tested(split=split) for split in range(10)]
    assert tested(split=3) == draws[3]
    assert len({frozenset(draw) for draw in draws}) == 10
    overlaps = [len(draws[0] & draw) for draw in draws[1:]]
    assert all(200 < overlap < 290 for overlap in overlaps)  # 486 of 971, twice by chance: 243 +- 11
    assert tested(split=3, query_camera="b") == draws[3]


def test_the_other_direction(tmp_path):
    root = write_campus(tmp_path, 4)
    there, back = (read_cuhk01(root, 2, query_camera=camera).set_index("path")["split"] for camera in "ab")
    swapped = there.map({"train": "train", "query": "gallery", "gallery": "query"})
    assert swapped.to_dict() == back.to_dict()


def test_wrong_values_are_named(tmp_path):
    root = write_campus(tmp_path, 4)
    with pytest.raises(ValueError, match=r"^test_identities must be from 1 to 3 \(4 people are .* got 486"):
        read_cuhk01(root)
    with pytest.raises(ValueError, match=r"^split must be the number of a split, from 0 on, got -1"):
        read_cuhk01(root, 2, split=-1)
    with pytest.raises(ValueError, match=r"^split must be .* got 0.5"):
        read_cuhk01(root, 2, split=0.5)
    with pytest.raises(ValueError, match=r"^query_camera must be one of the cameras a, b, got c"):
        read_cuhk01(root, 2, query_camera="c")


def test_a_broken_tree_is_refused(tmp_path):
    root = write_campus(tmp_path, 4)
    with pytest.raises(InputError, match=rf"the level above does: use data.root={root}"):
        read_cuhk01(root / "campus")
    for image in ("0003001.png", "0003002.png"):
        (root / "campus" / image).unlink()
    with pytest.raises(InputError, match=r"holds person 0003 in camera b only \(and 0 more of 4 like that\)"):
        read_cuhk01(root, 2)
    (root / "campus" / "person.png").touch()
    with pytest.raises(
        InputError, match=r"campus/person.png is not named like 0001003.png \(person, image\)"
    ):
        read_cuhk01(root, 2)
