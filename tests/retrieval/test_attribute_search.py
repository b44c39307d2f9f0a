"""A gallery filtered, re-weighted and explained by attributes."""

import pytest
import torch

from reid_lightning.data.attributes import MARKET12, attribute_schema
from reid_lightning.errors import InputError
from reid_lightning.systems.attributes.search import (
    attribute_agreement,
    explain_match,
    filter_gallery,
    parse_attributes,
    reweight_distances,
)

SCHEMA = attribute_schema("small", {"hat": ["no", "yes"], "coat": ["black", "red", "green"]})
GALLERY = torch.tensor(
    [
        [0.1, 0.9, 0.1, 0.8, 0.1],  # hat, red
        [0.9, 0.1, 0.1, 0.8, 0.1],  # no hat, red
        [0.2, 0.8, 0.7, 0.2, 0.1],  # hat, black
    ]
)
WANTED = {"hat": 1, "coat": 1}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("red upper body, backpack", {"upper_color": 3, "backpack": 1}),
        ("upper_color=red", {"upper_color": 3}),
        ("Black Lower Body, white upper-body colour", {"lower_color": 1, "upper_color": 2}),
        ("no hat, without handbag", {"hat": 0, "handbag": 0}),
        ("long hair; ", None),
        ("long hair", {"hair": 1}),
        ("female, teenager, dress", {"gender": 1, "age": 1, "clothes": 0}),
        ("brown", {"lower_color": 9}),
    ],
)
def test_words_become_classes(text, wanted):
    if wanted is None:
        with pytest.raises(InputError):
            parse_attributes(text, MARKET12)
    else:
        assert parse_attributes(text, MARKET12) == wanted


def test_every_class_of_every_attribute_can_be_named_by_name_and_title():
    for attribute in MARKET12:
        for code, name in enumerate(attribute.classes):
            for title in (attribute.name, attribute.title):
                assert parse_attributes(f"{title}={name}", MARKET12) == {attribute.name: code}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("blue", "may mean upper_color blue or lower_color blue"),
        ("rde upper body", "upper-body color red"),
        ("umbrella", "names no attribute; did you mean"),
        ("hat, no hat", "contradicts"),
        (" , ", "no attribute is named"),
    ],
)
def test_what_is_not_understood_names_the_nearest(text, sentence):
    with pytest.raises(InputError, match=sentence):
        parse_attributes(text, MARKET12)


def test_a_filter_keeps_images_that_have_everything():
    assert filter_gallery(GALLERY, WANTED, SCHEMA).tolist() == [True, False, False]
    assert filter_gallery(GALLERY, {"hat": 1}, SCHEMA).tolist() == [True, False, True]
    assert filter_gallery(GALLERY, {"hat": 1}, SCHEMA, threshold=0.85).tolist() == [True, False, False]


def test_agreement_is_the_mean_log_probability():
    expected = [(torch.tensor(pair).log().mean()).item() for pair in ([0.9, 0.8], [0.1, 0.8], [0.8, 0.2])]
    assert attribute_agreement(GALLERY, WANTED, SCHEMA).tolist() == pytest.approx(expected)
    assert attribute_agreement(torch.zeros(1, 5), WANTED, SCHEMA).isfinite().all()


def test_reweighting_reorders_equal_images_and_none_when_its_weight_is_zero():
    distances = torch.tensor([[1.0, 1.0, 1.0], [0.5, 1.0, 3.0]])
    assert torch.equal(reweight_distances(distances, GALLERY, WANTED, SCHEMA, weight=0.0), distances)
    moved = reweight_distances(distances, GALLERY, WANTED, SCHEMA)
    assert torch.equal(moved[0], distances[0])  # nothing to weigh against where all are equally far
    spread = distances[1].std()
    geometric = torch.tensor([(0.9 * 0.8) ** 0.5, (0.1 * 0.8) ** 0.5, (0.8 * 0.2) ** 0.5])
    torch.testing.assert_close(moved[1], distances[1] + spread * (1 - geometric))


def test_a_match_is_explained_by_what_agrees_and_what_does_not():
    lines = explain_match(GALLERY[0], GALLERY[2], SCHEMA)
    assert [(line.name, line.query, line.gallery, line.agrees) for line in lines] == [
        ("hat", "yes", "yes", True),
        ("coat", "red", "black", False),
    ]
    assert [line.confidence for line in lines] == pytest.approx([0.72, 0.56])
