"""Overrides of a checkpoint's config, as `reid evaluate` takes them."""

import pytest

from reid_lightning.errors import InputError
from reid_lightning.experiments.checkpoint_overrides import override


@pytest.fixture
def config(compose):
    """A config that keeps what it was trained with, other than the defaults of today."""
    return compose("evaluation.feature=before_neck", "evaluation.flip=true")


def test_a_reranking_is_chosen_inside_of_the_evaluation_that_the_checkpoint_has(config):
    told = override(config, ["evaluation/rerank=k_reciprocal", "evaluation.rerank.k1=30"])
    rerank = told["evaluation"]["rerank"]
    assert (rerank["k1"], rerank["k2"], rerank["weight"]) == (30, 6, 0.3)
    assert told["evaluation"] == config["evaluation"] | {"rerank": rerank}
    assert config["evaluation"]["rerank"] is None
    again = override(told, ["evaluation.rerank.k2=4", "evaluation.flip=false"])["evaluation"]
    assert (again["rerank"]["k1"], again["rerank"]["k2"], again["flip"]) == (30, 4, False)
    assert override(told, ["evaluation/rerank=none"])["evaluation"]["rerank"] is None


def test_the_whole_group_and_one_in_it_together(config):
    chosen = ["evaluation=torchreid", "evaluation/rerank=aligned", "evaluation.rerank.nearest=5"]
    for order in (chosen, chosen[::-1]):
        told = override(config, order)["evaluation"]
        assert (told["distance"], told["flip"], told["rerank"]["nearest"]) == ("sqeuclidean", False, 5)


def test_reports_are_chosen(config):
    told = override(config, ["report=[open_set,embedding_map]", "reports.open_set.nearest=3"])
    assert told["reports"]["open_set"]["nearest"] == 3
    assert told["reports"]["embedding_map"]["images"] == 2000
    assert override(told, ["report=none"])["reports"] == {}


@pytest.mark.parametrize(
    "wrong", ["evaluation.rerank.k1=3", "evaluation.k_reciprocal=[20,6,0.3]", "report=map"]
)
def test_what_does_not_exist_is_named(config, wrong):
    with pytest.raises(InputError, match=wrong.split("=")[0].replace(".", r"\.")):
        override(config, [wrong])


@pytest.mark.parametrize("data", ["data=faces", "data=[pedestrians_hard,faces]"])
def test_a_model_keeps_its_image_size_and_preprocessing_on_other_data(compose, data):
    config = compose("data.image_size=[64,32]", "test_transform=rescale")
    told = override(config, [data])
    assert told["data"]["image_size"] == [64, 32]
    assert "faces" in told["data"]["sources"]
    assert told["test_transform"] == config["test_transform"]
    for order in ([data, "data.image_size=[256,128]"], ["data.image_size=[256,128]", data]):
        assert override(config, order)["data"]["image_size"] == [256, 128]
    assert override(config, ["data.batch_size=8"])["data"]["image_size"] == [64, 32]


def test_a_missing_root_is_named_with_its_group(config):
    with pytest.raises(InputError, match=r"^data\.root is not set"):
        override(config, ["data=table"])


def test_data_that_have_moved_are_found_by_their_root(compose):
    config = compose("data=market1501", "data.root=/old/data")
    told = override(config, ["data.root=/new"])
    assert told["data"]["root"] == "/new"
    assert told["data"]["sources"]["market1501"]["root"] == "/new"
    assert config["data"]["sources"]["market1501"]["root"] == "/old/data"
