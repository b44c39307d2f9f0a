from itertools import product

import pytest
import yaml

from reid_lightning.training.configuration import CONF

SWEEP = yaml.safe_load((CONF.parent / "sweep.yaml").read_text())
VALUES = {name: entry["values"] for name, entry in SWEEP["parameters"].items()}


@pytest.mark.parametrize("values", list(product(*VALUES.values())), ids=str)
def test_every_value_that_the_sweep_emits_composes(compose, values):
    arguments = [f"{name}={value}" for name, value in zip(VALUES, values, strict=True)]
    config = compose("logger=wandb", *arguments)
    assert config["seed"] == values[list(VALUES).index("seed")]
    assert list(config["loss"]) == [values[list(VALUES).index("loss")]]


def test_a_sweep_selects_by_validation_and_passes_arguments_as_hydra_reads_them():
    assert SWEEP["metric"] == {"name": "val/mAP", "goal": "maximize"}
    assert "${args_no_hyphens}" in SWEEP["command"]
