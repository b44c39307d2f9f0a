"""The line beside every number says what the data made of the protocol; a validation that is too small is named."""

import logging
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from reid_lightning.data.datamodule import ReIDDataModule
from reid_lightning.models.feed import PLAIN, Feed
from reid_lightning.results.protocol_line import protocol_line, validation_size, warn_of_small_validation
from reid_lightning.retrieval.protocol import EvaluationProtocol


def rows(split, people, cameras=(1, 2), images=2, first=0, **columns):
    """Return a row per person, camera and image."""
    return pd.DataFrame(
        [
            {"path": f"{split}/{person}_{camera}_{image}.jpg", "person_id": person, "split": split, "camera_id": camera}
            | columns
            for person in range(first, first + people)
            for camera in cameras
            for image in range(images)
        ]
    )  # fmt: skip


def module(*tables, validation=None, **settings):
    table = pd.concat(tables, ignore_index=True)
    data = ReIDDataModule({"album": table}, (64, 32), validation=validation, **settings)
    data.setup()
    return data


def line(data, ranking=None, feed=PLAIN, **choices):
    splits = ("query", "gallery") if data.has_test else ("val",)
    protocol = EvaluationProtocol(**choices)
    return protocol_line(
        SimpleNamespace(
            datamodule=data,
            protocol=protocol,
            ranking=ranking,
            evaluated_splits=splits,
            network=SimpleNamespace(feed=feed, backbone=None),
        )
    )


TRAIN = rows("train", 4)
TEST = (rows("query", 3, first=50, images=1), rows("gallery", 3, first=50))


@pytest.mark.parametrize(
    ("known", "choices", "said"),
    [
        ("all", {}, "; same camera excluded; "),
        ("none", {}, "; cameras unknown, so none excluded; "),
        ("some", {}, "; same camera excluded where known (66.7 % of images); "),
        ("none", {"camera_policy": "allow"}, "; same camera allowed; "),
    ],
)
def test_nothing_is_excluded_where_cameras_are_unknown(known, choices, said):
    query, gallery = (table.copy() for table in TEST)
    if known != "all":
        query["camera_id"] = None
    if known == "none":
        gallery["camera_id"] = None
    found = line(module(TRAIN, query, gallery), **choices)
    assert said in found
    assert found.startswith("64x32 pixels; feature after the neck")


def test_what_was_left_out_is_counted():
    nobody = rows("gallery", 3, first=90, cameras=(1,), images=1, distractor=True)
    ranking = SimpleNamespace(queries_without_match=2, num_matches=torch.tensor([0, 0, 1, 1, 1, 1]))
    data = module(TRAIN, *TEST, nobody)
    found = line(data, ranking)
    assert "; 3 distractors; 2 of 6 queries without a true match left out" in found
    assert "distractor" not in line(module(TRAIN, *TEST))
    assert "unknown people" not in found
    data.table.loc[data.table.index[-2:], "person_id"] = pd.NA
    assert "; 2 images of unknown people ignored" in line(data)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "validation on 4 other people, one image per person and camera as query"),
        ({"validation_queries": 5}, "validation on 4 other people, 5 random queries"),
    ],
)
def test_how_the_validation_differs_is_said(settings, said):
    data = module(rows("train", 8), *TEST, validation=0.5, **settings)
    assert line(data).endswith(f"ties against the query; {said}")
    assert "validation" not in line(module(TRAIN, *TEST))


def test_cameras_that_are_known_in_the_test_alone_are_said():
    validation = rows("val", 3, first=20)
    validation["camera_id"] = None
    nobody = rows("gallery", 1, first=90, distractor=True)
    found = line(module(TRAIN, validation, *TEST, nobody, validation=0.1))
    assert "; same camera excluded; " in found
    assert found.endswith(
        "validation on 3 other people, one image per person as query, without distractors, "
        "cameras unknown, so none excluded"
    )


def test_queries_that_keep_a_match_are_counted():
    data = module(TRAIN, rows("val", 3, first=20), *TEST, validation=0.1)
    assert validation_size(data, EvaluationProtocol()) == (6, 3)
    alone = rows("val", 2, first=30, cameras=(1,))  # a query's person is seen by its own camera only
    data = module(TRAIN, rows("val", 3, first=20), alone, *TEST, validation=0.1)
    assert validation_size(data, EvaluationProtocol()) == (6, 3)
    assert validation_size(data, EvaluationProtocol(camera_policy="allow")) == (8, 5)


def test_tracklets_are_counted_as_they_are_compared():
    walks = rows("val", 3, first=20, images=4)
    walks["tracklet_id"] = walks["person_id"].astype(str) + "-" + walks["camera_id"].astype(str)
    walks["tracklet_id"] += walks["path"].str[-5].map({"0": "a", "1": "a", "2": "b", "3": "b"})
    data = module(TRAIN, walks, *TEST, validation=0.1)
    assert validation_size(data, EvaluationProtocol(tracklets="pool")) == (6, 3)
    assert validation_size(data, EvaluationProtocol()) == (12, 3)


@pytest.mark.parametrize(("people", "warns"), [(9, True), (10, False)])
def test_a_validation_too_small_to_choose_by_is_named(caplog, people, warns):
    data = module(TRAIN, rows("val", people, first=20), *TEST, validation=0.1)
    caplog.clear()
    with caplog.at_level(logging.WARNING, "reid_lightning"):
        warn_of_small_validation(data, EvaluationProtocol())
    assert bool(caplog.messages) is warns
    if warns:
        assert caplog.messages == [
            "validation has 18 queries with a true match, of 9 people, too few to choose an epoch by (20 queries and 10 "
            "people are the least): the 95 % interval of its mAP may reach 33 points to either side; raise "
            "data.validation, or train on all people with data.validation=none"
        ]


def test_without_validation_nothing_is_said(caplog):
    data = module(TRAIN, *TEST)
    caplog.clear()
    warn_of_small_validation(data, EvaluationProtocol())
    assert not caplog.messages


def test_a_network_that_is_fed_otherwise_says_so():
    feed = Feed((0.5,) * 3, (0.25, 0.5, 0.5), "bicubic", "a file")
    said = line(module(TRAIN, *TEST), feed=feed)
    assert "64x32 pixels; mean .5, deviation .25 .5 .5, bicubic interpolation; feature" in said
    assert "mean" not in line(module(TRAIN, *TEST)).split("; feature")[0]
