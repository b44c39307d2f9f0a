import os
from itertools import product
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from reid_lightning.config.resolve import CONF

SWEEP = yaml.safe_load((CONF.parent / "sweep.yaml").read_text())
VALUES = {name: entry["values"] for name, entry in SWEEP["parameters"].items()}


def command(values):
    """Return the overrides as a W&B agent writes them for one choice of values."""
    emitted = {name: {"value": value} for name, value in zip(VALUES, values, strict=True)}
    parts = create_sweep_command_args({"args": emitted}) | {"env": [], "program": [SWEEP["program"]]}
    lines = []
    for word in create_sweep_command(list(SWEEP["command"])):
        macro = word.startswith("${") and word.endswith("}")
        lines += parts[word[2:-1]] if macro else [word]
    assert lines[:2] == ["python", "train.py"]
    return lines[2:]


ALL = list(product(*VALUES.values()))
# As many lines as the longest list of values has show each value once; the slow suite composes every combination.
EACH_ONCE = {
    tuple(values[line % len(values)] for values in VALUES.values())
    for line in range(max(map(len, VALUES.values())))
}


def test_the_quick_lines_hold_every_value():
    assert [set(column) for column in zip(*EACH_ONCE, strict=True)] == [
        set(values) for values in VALUES.values()
    ]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(values, marks=[] if values in EACH_ONCE else pytest.mark.slow, id=str(values))
        for values in ALL
    ],
)
def test_every_value_that_the_sweep_emits_composes(compose, values):
    arguments = [line for line in command(values) if not line.startswith("hydra.")]
    config = compose(*arguments)
    assert config["seed"] == values[list(VALUES).index("seed")]
    assert list(config["loss"]) == [values[list(VALUES).index("loss")]]
    assert values[list(VALUES).index("miner")] in config["miner"]["_target_"]
    assert "wandb" in config["logger"]


def test_every_run_of_an_agent_has_a_folder_of_its_own(monkeypatch):
    from omegaconf import OmegaConf

    folders = set()
    for run in ("abc", "def"):
        monkeypatch.setitem(os.environ, "WANDB_RUN_ID", run)
        (line,) = [
            line for line in command(next(product(*VALUES.values()))) if line.startswith("hydra.run.dir")
        ]
        override = OverridesParser.create().parse_override(line)
        folders.add(Path(OmegaConf.create({"dir": override.value()}).dir).name)
    assert folders == {"abc", "def"}


def test_the_sweep_varies_what_people_compare():
    assert {"backbone", "loss", "miner", "augmentation", "seed"} <= VALUES.keys()


@pytest.mark.parametrize("file", ["sweep.yaml", "examples/sweep_bayes.yaml"])
def test_a_sweep_selects_and_stops_by_a_curve_of_the_validation(file):
    sweep = yaml.safe_load((CONF.parent / file).read_text())
    assert sweep["metric"] == {"name": "val/mAP", "goal": "maximize"}  # Hyperband reads a curve
    assert sweep["early_terminate"]["type"] == "hyperband"


@pytest.mark.parametrize("end", ["min", "max"])
def test_the_ends_of_the_bayesian_search_compose(compose, end):
    sweep = yaml.safe_load((CONF.parent / "examples" / "sweep_bayes.yaml").read_text())
    values = {name: entry.get("value", entry.get(end)) for name, entry in sweep["parameters"].items()}
    config = compose(*(f"{name}={value}" for name, value in values.items()))
    assert config["loss"]["triplet"]["margin"] == values["loss.triplet.margin"]
    assert config["optimizer"]["lr"] == values["optimizer.lr"]
    assert config["optimizer"]["weight_decay"] == values["optimizer.weight_decay"]
