"""A job that takes another's composition has the config that Hydra composes for it."""

import pickle
import re

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException, OverrideParseException
from hydra.types import RunMode
from omegaconf import OmegaConf

from reid_lightning.config.resolve import CONF
from reid_lightning.sweeps.composed import JobConfigs

FIRST = ["backbone=osnet_x0_25", "seed=1", "optimizer.lr=1e-3", "+trainer.enable_progress_bar=false"]


@pytest.fixture
def jobs():
    """How Hydra composes a job, how we do, and how often we asked Hydra."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        plain, asked = type(loader).load_sweep_config, []

        class Loader:
            def load_sweep_config(self, master, overrides):
                asked.append(overrides)
                return plain(loader, master, overrides)

        master = loader.load_configuration("config", ["hydra.verbose=true"], RunMode.MULTIRUN)
        ours = JobConfigs(Loader())
        yield lambda lines: plain(loader, master, lines), lambda lines: ours(master, lines), asked


def whole(config):
    return OmegaConf.to_container(config, resolve=False)


@pytest.mark.parametrize(
    "second",
    [
        FIRST,
        ["backbone=osnet_x0_25", "seed=2", "optimizer.lr=0.1", "+trainer.enable_progress_bar=true"],
        ["backbone=osnet_x0_25", "seed='a b'", "optimizer.lr=null", "+trainer.enable_progress_bar=${seed}"],
        [*FIRST[:3], "+trainer.enable_progress_bar=${output_dir}"],  # which is known in a job alone
    ],
)
def test_jobs_that_differ_in_values_are_composed_once_to_the_same_config(jobs, second):
    plain, ours, asked = jobs
    ours(FIRST).seed = 77  # a job may change what it was given
    assert whole(ours(second)) == whole(plain(second))
    assert whole(ours(FIRST)) == whole(plain(FIRST))
    assert asked == [FIRST]


@pytest.mark.parametrize(
    "second",
    [
        ["backbone=resnet10", *FIRST[1:]],
        FIRST[:3],
        [*FIRST[:3], "++trainer.enable_progress_bar=false"],
        [*FIRST[:2], "~optimizer.lr", FIRST[3]],
        [*FIRST[:2], "optimizer.lr=[1,2]", FIRST[3]],
        ["backbone=osnet_x0_25", "seed=1", "seed=2", FIRST[3]],
        [*FIRST[:3], "hydra.job.chdir=false"],
    ],
)
def test_jobs_that_differ_in_more_are_composed_anew(jobs, second):
    plain, ours, asked = jobs
    ours(FIRST)
    assert whole(ours(second)) == whole(plain(second))
    assert asked == [FIRST, second]


@pytest.mark.parametrize("above", ["+data.extra=1", "+data.extra={a:1}"])
def test_values_below_another_override_are_composed_anew(jobs, above):
    plain, ours, asked = jobs
    first, second = ([above, f"+data.extra.b={number}"] for number in (1, 2))
    ours(first)
    assert whole(ours(second)) == whole(plain(second))
    assert asked == [first, second]


def test_an_override_that_is_wrong_fails_as_before(jobs):
    plain, ours, _ = jobs
    ours(["seed=1"])
    for wrong, error in (("sed=2", ConfigCompositionException), ("seed=[1", OverrideParseException)):
        with pytest.raises(error) as expected:
            plain([wrong])
        with pytest.raises(error, match=re.escape(str(expected.value))):
            ours([wrong])


def test_a_launcher_s_process_begins_with_nothing_kept(jobs):
    _, ours, _ = jobs
    ours(FIRST)
    configs = JobConfigs(None)
    configs._kept = ("master", ["seed=1"], "config")
    assert pickle.loads(pickle.dumps(configs))._kept is None
