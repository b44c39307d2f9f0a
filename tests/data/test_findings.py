"""What is found in a data set, against sets whose faults are known because they were made."""

import itertools

import cv2
import numpy as np
import pandas as pd
import pytest

from reid_lightning.data.attributes import MARKET12
from reid_lightning.data.findings import EXAMPLES, find, lacks_match
from reid_lightning.data.image_facts import perceptual_hash, read_facts
from reid_lightning.data.near_duplicates import near_duplicates
from reid_lightning.data.overview import overview
from reid_lightning.data.people_sheet import choose_people
from reid_lightning.data.published import PUBLISHED, compare_published
from reid_lightning.data.table import concatenate_tables


def picture(seed, height=96, width=48):
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 4, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture
def faulty(tmp_path):
    """Nine images of four people, with one fault of each kind."""
    files = {
        "a1.png": picture(1), "a2.png": picture(2), "a3.png": picture(3),
        "b1.png": picture(4), "b2.png": picture(5),
        "c1.png": picture(1), "c2.png": cv2.convertScaleAbs(picture(2), alpha=0.9, beta=8), "d1.png": picture(8, 20, 10),
    }  # fmt: skip
    for name, pixels in files.items():
        cv2.imwrite(str(tmp_path / name), pixels)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    rows = [
        ("a1.png", "a", "train", "1"), ("a2.png", "a", "train", "2"), ("a3.png", "a", "gallery", "2"),
        ("b1.png", "b", "train", "1"), ("b2.png", "b", "train", "1"),
        ("c1.png", "c", "query", "1"), ("c2.png", "c", "gallery", "1"),
        ("d1.png", "d", "query", "2"), ("broken.png", "b", "train", "1"),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["path", "person_id", "split", "camera_id"])
    table["path"] = [str(tmp_path / name) for name in table["path"]]
    return concatenate_tables({"own": table})


def test_every_fault_is_found_once(faulty):
    facts = read_facts(faulty["path"].tolist())
    found = {finding.key: finding for finding in find(faulty, facts)}
    assert {key: finding.count for key, finding in found.items()} == {
        "unreadable": 1, "tiny": 1, "test_in_train": 1, "val_in_train": 0, "query_in_gallery": 0, "two_people": 2,
        "doubled": 0, "near_test": 1, "leakage": 1, "one_camera": 2, "one_image": 1, "no_match": 2,
    }  # fmt: skip
    rows = {key: [example.rows for example in finding.examples] for key, finding in found.items()}
    assert rows["unreadable"] == [(8,)]
    assert rows["tiny"] == [(7,)]
    assert rows["test_in_train"] == [(5, 0)]
    assert rows["two_people"] == [(0, 5)], "a pair is shown once"
    assert rows["near_test"] == [(6, 1)]
    assert rows["leakage"] == [(0, 2)]
    assert rows["one_camera"] == [(3,), (5,)]
    assert rows["no_match"] == [(5,), (7,)]


def test_sizes_are_those_of_the_files(faulty):
    facts = read_facts(faulty["path"].tolist())
    assert facts.sizes[:2, :2].tolist() == [[96, 48], [96, 48]]
    assert facts.sizes[7, :2].tolist() == [20, 10]
    assert list(facts.damaged) == [8]
    assert facts.colors[0].sum() == pytest.approx(1, abs=0.01)


def test_matches_are_those_of_a_loop():
    drawn = np.random.default_rng(3)
    rows = pd.DataFrame(
        {
            "path": [f"{place}.jpg" for place in range(60)],
            "person_id": drawn.integers(0, 12, 60).astype(str),
            "split": drawn.choice(["query", "gallery", "train"], 60),
            "camera_id": drawn.choice(["1", "2", None], 60, p=[0.5, 0.4, 0.1]),
        }
    )
    table = concatenate_tables({"own": rows})
    wanted = []
    for asked in rows.itertuples():
        matches = [
            other
            for other in rows.itertuples()
            if other.split == "gallery"
            and other.person_id == asked.person_id
            and (pd.isna(asked.camera_id) or asked.camera_id != other.camera_id)
        ]
        wanted.append(asked.split == "query" and not matches)
    assert lacks_match(table).tolist() == wanted
    assert any(wanted)


def test_closest_hashes_are_those_of_a_loop():
    drawn = np.random.default_rng(0)
    base = drawn.integers(0, 2**63, 300, dtype=np.uint64)
    flips = [
        sum(1 << int(bit) for bit in drawn.choice(64, count, replace=False))
        for count in drawn.integers(0, 20, 200)
    ]
    hashes = np.concatenate([base, base[:200] ^ np.array(flips, np.uint64)])
    gray = np.tile(picture(0)[:32, :16, 0], (500, 1, 1))
    first, second = np.arange(300, 500), np.arange(300)
    found = near_duplicates(hashes, gray, first, second, np.arange(500))
    wanted = {}
    for a, b in itertools.product(first.tolist(), second.tolist()):
        bits = (int(hashes[a]) ^ int(hashes[b])).bit_count()
        if bits <= 10:
            wanted[a] = min(wanted.get(a, (99, 0)), (bits, b))
    assert dict(found.pairs.tolist()) == {a: b for a, (_, b) in wanted.items()}
    assert wanted


def test_small_changes_keep_the_hash():
    for seed in range(5):
        gray = cv2.cvtColor(picture(seed, 128, 64), cv2.COLOR_RGB2GRAY)
        brighter = cv2.convertScaleAbs(gray, alpha=0.9, beta=10)
        other = cv2.cvtColor(picture(seed + 100, 128, 64), cv2.COLOR_RGB2GRAY)
        assert (perceptual_hash(gray) ^ perceptual_hash(brighter)).bit_count() <= 4
        assert (perceptual_hash(gray) ^ perceptual_hash(other)).bit_count() > 10


def test_numbers_of_a_small_set(faulty):
    seen = overview(faulty.assign(gender=pd.array([0, 0, 0, 1, 1, 1, 1, None, 1], "Int64")), MARKET12)
    assert seen.cameras.to_dict("index") == {
        "own/1": {"train": 4, "query": 1, "gallery": 1},
        "own/2": {"train": 1, "query": 1, "gallery": 1},
    }
    assert sorted(seen.images.tolist()) == [1, 2, 3, 3]
    assert seen.pairs.tolist() == [[3, 1], [1, 2]]
    assert seen.attributes.to_numpy().tolist() == [
        ["gender", "male", 2, 0, 1],
        ["gender", "female", 3, 1, 1],
    ]


def test_people_who_look_alike(tmp_path):
    colors = {"red": (200, 20, 20), "reddish": (190, 25, 22), "blue": (20, 20, 200)}
    rows = []
    for name, color in colors.items():
        path = str(tmp_path / f"{name}.png")
        cv2.imwrite(path, np.full((64, 32, 3), color[::-1], np.uint8))
        rows.append((path, name, "train"))
    table = concatenate_tables({"own": pd.DataFrame(rows, columns=["path", "person_id", "split"])})
    blue, red, reddish = choose_people(table, read_facts(table["path"].tolist()))
    assert (red.alike[0][0], reddish.alike[0][0]) == (2, 1)
    assert red.alike[0][1] < 0.1 < blue.alike[0][1]
    assert [person.name for person in choose_people(table, read_facts(table["path"].tolist()), most=2)] == [
        "own/blue",
        "own/reddish",
    ]


def test_published_counts():
    rows = pd.DataFrame(
        {
            "path": [f"{place}.png" for place in range(1264)],
            "person_id": [str(place // 2) for place in range(1264)],
            "split": ["train"] * 632 + ["query", "gallery"] * 316,
        }
    )
    whole = concatenate_tables({"viper": rows})
    assert compare_published(whole, "viper").differences == ()
    assert compare_published(whole.iloc[2:], "viper").differences == (
        "train: 630 images, 2 fewer than the published 632.",
        "train: 315 identities, 1 fewer than the published 316.",
    )
    assert compare_published(whole[whole["split"] == "train"], "viper").differences == (
        "query: there is no image of this split.",
        "gallery: there is no image of this split.",
    )
    assert compare_published(whole, "own") is None


def test_every_published_set_is_an_option_of_data():
    from reid_lightning.config.resolve import CONF

    for name in PUBLISHED:
        assert (CONF / "data" / f"{name}.yaml").is_file(), name


def test_examples_are_bounded(tmp_path):
    rows = pd.DataFrame({"path": [f"/gone/{i}.png" for i in range(50)], "person_id": "a", "split": "train"})
    table = concatenate_tables({"own": rows})
    first = find(table, read_facts(table["path"].tolist()))[0]
    assert (first.count, len(first.examples)) == (50, EXAMPLES)
