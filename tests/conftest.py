import functools
import os
from pathlib import Path

import pytest
import quick_compose
from browser import browser  # noqa: F401  a fixture
from dev_group import start_again_with_dev
from exported_models import export_checkpoint, export_images, exported  # noqa: F401  fixtures
from fault_record import FaultRecord
from helpers import Processes

import reid_lightning  # noqa: F401  before torch, whose threads then wait without spinning

os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
quick_compose.install()


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory):
    """Generated people and decoded images of the tests stay out of the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("REID_LIGHTNING_CACHE")
    os.environ["REID_LIGHTNING_CACHE"] = str(folder)
    yield
    if before is None:
        del os.environ["REID_LIGHTNING_CACHE"]
    else:
        os.environ["REID_LIGHTNING_CACHE"] = before


@pytest.fixture(scope="session")
def processes(tmp_path_factory):
    """Return a function that lets two processes work together: `processes(work, ...)`, see `helpers.Processes`."""
    started = Processes(tmp_path_factory.mktemp("processes"))
    yield started
    started.end()


FOLDER = "the folder of the run"  # stands in composed configs for `output_dir`, which differs between tests


@functools.cache
def _composed(overrides: tuple[str, ...]) -> object:
    """Compose a plain run config once for all tests that ask for it: Hydra needs a tenth of a second."""
    import hydra

    from reid_lightning.config.leftover import without_leftover
    from reid_lightning.config.resolve import CONF, plain
    from reid_lightning.sweeps.launchers import prefer_own_options

    prefer_own_options()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("config", [f"output_dir='{FOLDER}'", *overrides])
    without_leftover(config, overrides)
    return plain(config)


def _moved(config, folder: str):
    """Return a copy of a composed config whose run has a folder."""
    if isinstance(config, dict):
        return {key: _moved(value, folder) for key, value in config.items()}
    if isinstance(config, list):
        return [_moved(value, folder) for value in config]
    return config.replace(FOLDER, folder) if isinstance(config, str) else config


@pytest.fixture
def compose(tmp_path):
    """Return a function from overrides to a plain, resolved run config whose folder is `tmp_path`."""

    def composed(*overrides, output_dir: Path | str = tmp_path / "run"):
        return _moved(_composed(overrides), str(output_dir))

    return composed


def pytest_addoption(parser):
    parser.addoption(
        "--update-golden", action="store_true", help="write tests/golden/ anew instead of comparing with it"
    )
    parser.addoption("--record-faults", action="store_true", help="write the table of docs/reliability.md")


def pytest_configure(config):
    start_again_with_dev(config)
    if config.getoption("--record-faults"):
        config.pluginmanager.register(FaultRecord())


TINY = (
    "data.sources.pedestrians.train_identities=10",
    "data.sources.pedestrians.test_identities=6",
    "data.image_size=[32,16]",
    "data.num_workers=0",
    "data.validation=0.3",
    "sampler.identities=2",
    "sampler.images_per_identity=2",
    "trainer.accelerator=cpu",
    "+trainer.enable_progress_bar=false",
)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The best checkpoint of a run of an epoch, with 14 validation people of whom it says what its distances mean."""
    from reid_lightning.experiments.run import run_job

    folder = tmp_path_factory.mktemp("trained")
    kept = [item for item in TINY if "train_identities" not in item and "validation" not in item]
    people = ("data.sources.pedestrians.train_identities=24", "data.validation=0.6", "trainer.max_epochs=1")
    run_job(_moved(_composed((*kept, *people)), str(folder)))
    return folder / "checkpoints" / "best.ckpt"


@pytest.fixture(scope="session")
def tiny():
    """Overrides of a run of a few seconds on a handful of generated people."""
    return TINY


@pytest.fixture(scope="session")
def brief():
    """`tiny` with a brief page and no report of the training, for tests that look at neither: two thirds of the time."""
    return (*TINY, "page=brief", "report=none")
