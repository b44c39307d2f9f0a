"""The options of a config that no command line has composed."""

import pytest

from reid_lightning.config.choices import chosen_options
from reid_lightning.experiments.compose import compose


@pytest.mark.parametrize(
    ("group", "option"),
    [("backbone", "osnet_x0_25"), ("neck", "linear"), ("miner", "semi_hard"), ("scheduler", "step")],
)
def test_an_option_that_alone_fits_is_named(group, option):
    assert chosen_options(compose([f"{group}={option}"], "run"))[group] == option


def test_what_fits_several_or_none_is_left_out():
    config = compose(["optimizer=adamw"], "run")
    config["neck"] = {"_target_": "my_package.Neck"}
    config["scheduler"] = None
    found = chosen_options(config)
    assert "neck" not in found
    assert "scheduler" not in found
    assert found["loss"] == ["triplet"]
