import os
from pathlib import Path

import pytest

import reid_lightning  # noqa: F401  before torch, whose threads then wait without spinning

os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")


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


@pytest.fixture
def compose(tmp_path):
    """Return a function from overrides to a plain, resolved run config whose folder is `tmp_path`."""
    import hydra

    from reid_lightning.config.resolve import CONF, plain
    from reid_lightning.sweeps.launchers import prefer_own_options

    prefer_own_options()

    def composed(*overrides, output_dir: Path | str = tmp_path / "run"):
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            return plain(hydra.compose("config", [f"output_dir='{output_dir}'", *overrides]))

    return composed


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
def tiny():
    """Overrides of a run of a few seconds on a handful of generated people."""
    return TINY
