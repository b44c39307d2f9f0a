import pytest

from reid_lightning.config.resolve import instantiate, nearest_key
from reid_lightning.config.suggest import hints
from reid_lightning.config.validate import differences
from reid_lightning.errors import InputError


def test_the_builders_own_error_comes_through():
    with pytest.raises(InputError, match="stays inside"):
        instantiate({"_target_": "tests_support_raise_missing.nothing"} | {"_target_": f"{__name__}.refuse"})


def refuse():
    raise InputError("stays inside one sentence")


def test_an_unknown_argument_is_an_input_error():
    with pytest.raises(InputError, match="unexpected keyword argument 'margn'"):
        instantiate({"_target_": "torch.nn.TripletMarginLoss", "margn": 1})


def test_a_far_away_key_has_no_neighbour():
    assert nearest_key("zzzz", {"loss": {"triplet": {"margin": 0.3}}}) is None


def test_differences_leave_incidental_settings_out():
    old = {"a": {"b": 1}, "data": {"num_workers": 1}, "trainer": {"max_epochs": 2}}
    new = {"a": {"b": 2}, "data": {"num_workers": 9}, "trainer": {"max_epochs": 4}}
    assert list(differences(old, new)) == ["a.b was 1, is 2"]


def test_several_sources_have_roots_of_their_own(compose):
    config = compose(
        "data=[market1501,table]", "data.sources.market1501.root=a", "data.sources.table.root=b.csv"
    )
    assert {name: source["root"] for name, source in config["data"]["sources"].items()} == {
        "market1501": "a",
        "table": "b.csv",
    }


@pytest.mark.parametrize(
    ("overrides", "message"),
    [(["data=market1501"], "data.root is not set"), (["backbone=timm"], "backbone.name is not set")],
)
def test_a_value_that_must_be_given_is_named(compose, overrides, message):
    with pytest.raises(InputError, match=message):
        compose(*overrides)


def test_no_hint_for_a_key_that_exists():
    assert (
        hints(["data=[pedestrians,table]", "data.sources.table.root=x", "trainer.gradient_clip_val=1"]) == []
    )


def test_a_key_of_a_group_without_an_option_names_one():
    assert hints(["attributes.weight=2"]) == [
        "there is no setting attributes.weight here; it needs an option of its group, such as attributes=market12"
    ]


def test_an_option_of_a_nested_group_is_no_key():
    group = "experiment/kiel/network"
    assert hints(["experiment=kiel/tables/loss", f"{group}=mildnet,mildnet_narrow", "seed=1,2"]) == []
    assert hints(["experiment=kiel/tables/loss", f"{group}=mildnett"]) == [
        f"there is no option {group}=mildnett; did you mean {group}=mildnet? (`reid list {group}` shows all)"
    ]


def test_a_tables_columns_can_be_named(compose):
    config = compose("data=table", "data.root=a.csv", "data.sources.table.columns={person_id: pid}")
    assert config["data"]["sources"]["table"]["columns"] == {"person_id": "pid"}
