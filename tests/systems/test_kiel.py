"""Kiel's experiments: what they build, and their tables as sweeps; what they compose to is in tests/golden/."""

import itertools

import hydra
import pytest
from helpers import train

from reid_lightning.config.resolve import CONF
from reid_lightning.engine.schedules import StepSchedule
from reid_lightning.experiments.factory import build_network
from reid_lightning.sweeps.reader import read_sweep

TABLES = {
    "backbone": {"network=mildnet_narrow", "network=resnet50_narrow"},
    "loss": {"loss=triplet_squared", "loss=lossless"},
    "mining": {"miner=offline_random", "miner=offline_hard", "miner=batch_all", "miner=batch_hard"},
}


@pytest.mark.parametrize(("network", "frozen"), [("mildnet", 7), ("resnet50", 2)])
def test_layers_are_frozen_where_weights_are_loaded(compose, network, frozen):
    assert compose(f"experiment=kiel/{network}")["backbone"]["frozen_layers"] == 0
    for weights in ("data.weights=imagenet", "backbone.weights=some.pth"):
        assert compose(f"experiment=kiel/{network}", weights)["backbone"]["frozen_layers"] == frozen


def test_the_systems_are_the_thesis(compose):
    mildnet, resnet = (compose(f"experiment=kiel/{name}") for name in ("mildnet", "resnet50"))
    for config in (mildnet, resnet):
        schedule = StepSchedule(config["scheduler"]["milestones"], config["scheduler"]["factor"])
        rates = [config["optimizer"]["lr"] * schedule.multiplier(epoch, 100) for epoch in (0, 49.9, 50, 99.9)]
        assert rates == pytest.approx([1e-4, 1e-4, 5e-5, 5e-5])
    layers = build_network(resnet, 3).neck.layers
    assert [type(layer).__name__ for layer in layers] == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert (layers[0].in_features, layers[0].out_features, layers[3].out_features) == (2048, 1024, 128)
    layers = build_network(mildnet, 3).neck.layers
    assert [type(layer).__name__ for layer in layers] == ["Linear", "ReLU", "Dropout", "Linear"]
    assert (layers[0].in_features, layers[0].out_features, layers[3].out_features) == (1472, 2048, 2048)


def test_mining_is_changed_as_anywhere(compose):
    online = ("miner=batch_all", "sampler.identities=8", "sampler.images_per_identity=8")
    sampler = compose("experiment=kiel/resnet50", *online)["sampler"]
    assert (sampler["identities"], sampler["images_per_identity"]) == (8, 8)
    assert compose("experiment=kiel/resnet50", "miner=offline_hard")["miner"]["share"] == 0.3


def swept(table, *overrides):
    """Return what a table sweeps by default: override and values."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose(
            "config", [f"experiment=kiel/tables/{table}", *overrides], return_hydra_config=True
        )
        return {key: values.split(",") for key, values in config.hydra.sweeper.params.items()}


@pytest.mark.parametrize("table", TABLES)
def test_every_job_of_a_table_composes_at_the_papers_size(compose, table):
    axes = swept(table)
    assert axes.pop("seed") == ["1", "2", "3"]
    assert {f"{key.rsplit('/')[-1]}={value}" for key, values in axes.items() for value in values} == TABLES[
        table
    ]
    for job in itertools.product(*([f"{key}={value}" for value in values] for key, values in axes.items())):
        paper = compose(f"experiment=kiel/tables/{table}", "experiment/kiel/tables/size=paper", *job)
        assert paper["data"]["image_size"] == [256, 128]
        assert paper["trainer"]["max_epochs"] == 100
        assert paper["optimizer"]["lr"] == 1e-4
        if table != "backbone":
            assert paper["backbone"]["name"] == "resnet50"


def test_an_epoch_of_the_mining_table_shows_each_option_as_many_images(compose):
    def sampler(miner):
        return compose("experiment=kiel/tables/mining", f"experiment/kiel/tables/miner={miner}")["sampler"]

    for miner in ("offline_random", "offline_hard"):
        assert 3 * sampler(miner)["anchors"] == pytest.approx(1, abs=0.01)
    for miner in ("batch_all", "batch_hard"):
        assert sampler(miner)["identities"] == sampler(miner)["images_per_identity"] == 8


TINY_TABLE = (
    "data.sources.pedestrians.train_identities=14",
    "data.sources.pedestrians.test_identities=6",
    "data.image_size=[64,32]",
    "data.num_workers=0",
    "data.validation=0.3",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=1",
    "+trainer.enable_progress_bar=false",
)


@pytest.mark.slow
@pytest.mark.parametrize("table", TABLES)
def test_a_table_is_one_command_and_further_overrides_replace_its_own(tmp_path, table):
    done = train(f"experiment=kiel/tables/{table}", *TINY_TABLE, "seed=4", folder=tmp_path, multirun=True)
    jobs = read_sweep(tmp_path)
    assert set(zip(jobs["option"], jobs["seed"], strict=True)) == set(itertools.product(TABLES[table], "4"))
    assert jobs["failure"].isna().all()
    assert f"{len(jobs)} of {len(jobs)} jobs finished" in done.stdout
