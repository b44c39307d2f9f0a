"""Options of `conf/hydra` stand for those of the plug-ins, and every search space is one that the config has."""

import copy
import pickle
from itertools import product
from pathlib import Path

import hydra
import pytest
import yaml
from helpers import run_python
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser

from reid_lightning.config.resolve import CONF
from reid_lightning.experiments.checks import check_run
from reid_lightning.sweeps.launchers import Needs, prefer_own_options

REPOSITORY = Path(__file__).resolve().parents[2]
SEARCHES = sorted(file.stem for file in (CONF / "sweep").glob("*.yaml"))


def hydra_config(*overrides):
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose("config", list(overrides), return_hydra_config=True)


def test_our_options_take_the_place_of_registered_ones_in_every_process(monkeypatch):
    register()
    prefer_own_options()
    for travel in (lambda repo: repo, copy.deepcopy, lambda repo: pickle.loads(pickle.dumps(repo))):
        monkeypatch.setattr(ConfigStore.instance(), "repo", travel(ConfigStore.instance().repo))
        for _ in range(2):
            config = hydra_config("hydra/launcher=joblib", "hydra/sweeper=optuna", "trainer.accelerator=cpu")
            assert config.hydra.launcher.n_jobs == 2
            assert "gpus" in config.hydra.callbacks
            assert config.hydra.sweeper.direction == "maximize"
            assert ConfigStore.instance().load("hydra/launcher/other.yaml").node.n_jobs == -1
            register()  # as a plug-in does when it is found again


def register():
    store = ConfigStore.instance().store
    store(group="hydra/launcher", name="joblib", node={"n_jobs": -1})
    store(group="hydra/launcher", name="other", node={"n_jobs": -1})
    store(
        group="hydra/sweeper", name="optuna", node={"direction": "minimize", "defaults": [{"sampler": "tpe"}]}
    )


def test_a_slurm_job_asks_for_what_its_processes_need():
    two = hydra_config("hydra/launcher=slurm", "trainer.devices=2", "trainer.num_nodes=3").hydra.launcher
    assert (two.nodes, two.tasks_per_node, two.gpus_per_node) == (3, 2, 2)
    cpu = hydra_config("hydra/launcher=slurm", "trainer.accelerator=cpu").hydra.launcher
    assert (cpu.nodes, cpu.tasks_per_node, cpu.gpus_per_node) == (1, 1, None)
    assert cpu.additional_parameters.requeue
    assert cpu.timeout_min > 60


@pytest.mark.parametrize("module", ["surely_missing", "surely_missing.deeper"])
def test_a_missing_package_is_named_with_its_extra(module, capsys):
    with pytest.raises(SystemExit):
        Needs(module, "slurm").on_multirun_start(None)
    assert "pip install 'reid-lightning[slurm]'" in capsys.readouterr().err
    Needs("hydra", "slurm").on_multirun_start(None)


@pytest.mark.parametrize("search", SEARCHES)
def test_what_a_search_may_draw_is_a_run(compose, search):
    space = yaml.safe_load((CONF / "sweep" / f"{search}.yaml").read_text())["hydra"]["sweeper"]["params"]
    parsed = OverridesParser.create().parse_overrides([f"{key}={value}" for key, value in space.items()])
    options = list(product(*(ends(override) for override in parsed if "." not in override.key_or_group)))
    fields = [ends(override) for override in parsed if "." in override.key_or_group]
    for number in range(max(len(options), *map(len, fields))):
        drawn = [values[number % len(values)] for values in fields]
        check_run(compose(f"sweep={search}", *options[number % len(options)], *drawn))


def ends(override):
    """Return a swept override at each of its choices, or at both ends of its interval."""
    if override.is_interval_sweep():
        interval = override.value()
        return [f"{override.key_or_group}={value}" for value in (interval.start, interval.end)]
    return [f"{override.key_or_group}={value}" for value in override.sweep_string_iterator()]


@pytest.mark.slow
def test_a_search_without_its_package_says_what_to_install(tmp_path):
    """In a process that cannot find the sweeper, whether or not it is installed here."""
    code = (
        "import importlib.util as u, sys; find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if 'optuna' in name else find(name, *rest)\n"
        "from reid_lightning.cli.train import main; main()"
    )
    ended = run_python("-c", code, "--multirun", "sweep=optimizer", f"hydra.sweep.dir={tmp_path}", code=1)
    assert "pip install 'reid-lightning[optuna]'" in ended.stderr
    assert "Traceback" not in ended.stderr
