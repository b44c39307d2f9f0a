"""Every shipped option composes, builds, and trains two steps."""

import pytest

from reid_lightning.config.resolve import CONF
from reid_lightning.errors import InputError
from reid_lightning.experiments.factory import build_datamodule, build_module
from reid_lightning.experiments.run import run_job

DATA_OPTIONS_WITH_A_ROOT = sorted(
    file.stem for file in CONF.glob("data/*.yaml") if "root: ???" in file.read_text()
)
CHOICES = sorted(
    f"{file.parent.name}={file.stem}"
    for file in CONF.glob("*/*.yaml")
    if not (file.parent.name == "data" and file.stem in DATA_OPTIONS_WITH_A_ROOT)
)
CHOICES += sorted(f"evaluation/rerank={file.stem}" for file in CONF.glob("evaluation/rerank/*.yaml"))
CHOICES += sorted(
    f"experiment={file.relative_to(CONF / 'experiment').with_suffix('')}"
    for pattern in ("*/*.yaml", "*/tables/*.yaml")
    for file in (CONF / "experiment").glob(pattern)
)
# These compose and build; the generated people have other attributes, and faces are tested in test_hiqo.py.
NOT_ON_PEDESTRIANS = ("attributes=pa100k", "data=faces", "experiment=hiqo/face")
OFFLINE = ("backbone=resnet50", "loss=lossless")


def test_every_group_has_options():
    groups = {choice.split("=")[0] for choice in CHOICES}
    assert groups >= {
        "data", "sampler", "augmentation", "backbone", "pooling", "neck", "classifier", "loss", "miner", "evaluation",
        "optimizer", "scheduler", "trainer", "callbacks", "logger", "experiment",
    }  # fmt: skip


@pytest.mark.parametrize("choice", CHOICES)
def test_option_composes_and_builds(compose, choice):
    config = compose(choice, "data.weights=null", *_companions(choice))
    module = build_module(config, num_identities=5)
    assert sum(parameter.numel() for parameter in module.network.parameters()) > 1000


@pytest.mark.parametrize("name", DATA_OPTIONS_WITH_A_ROOT)
def test_data_option_with_a_root_reaches_its_reader(compose, name, tmp_path):
    config = compose(f"data={name}", f"data.root={tmp_path}/nowhere")
    with pytest.raises(InputError, match=rf"data.root={tmp_path}/nowhere is no (file|folder)"):
        build_datamodule(config).prepare_data()


@pytest.mark.slow
@pytest.mark.parametrize("choice", sorted({*CHOICES, "loss=[triplet,lossless]"} - {*NOT_ON_PEDESTRIANS}))
def test_option_trains_two_steps(compose, tiny, choice):
    companions = ["data.weights=null", *_companions(choice)]
    sampler = compose(choice, *companions)["sampler"]
    fitting = [setting for setting in tiny if _fits(setting, sampler)]
    fitting += ["sampler.triplets=2"] if "triplets" in sampler else []
    config = compose(choice, *fitting, "trainer.fast_dev_run=2", *companions)
    config["trainer"]["accelerator"] = "cpu"
    result = run_job(config)
    assert 0 <= result.test["mAP"] <= 1


def _fits(setting: str, sampler: dict[str, object]) -> bool:
    """Tell whether a setting is one that the chosen sampler has."""
    key = setting.split("=")[0]
    return not key.startswith("sampler.") or key.removeprefix("sampler.") in sampler


def _companions(choice: str) -> list[str]:
    """Settings that an option needs beside it on this machine."""
    companions = {
        "trainer=gpu": ["trainer.accelerator=cpu", "trainer.devices=1"],
        "trainer=ddp_cpu": ["trainer.devices=1"],
        "backbone=timm": ["backbone.name=resnet10t"],
        "logger=wandb": ["logger.wandb.offline=true"],
        "backbone=vgg16": ["data.image_size=[64,32]"],  # it halves five times
        "backbone=mildnet": ["data.image_size=[64,32]"],
        "experiment=kiel/mildnet": ["data.image_size=[64,32]"],
        "experiment=small/kiel_mildnet": ["data.image_size=[64,32]"],
        "experiment=small/trento": ["data.validation_queries=5"],
        "experiment=birjand": ["data.image_size=[64,32]"],
        "experiment=best": ["backbone.name=resnet18"],
        "experiment=transformer": ["backbone.name=test_vit", "data.image_size=[32,16]"],
        "experiment=trento": ["data.validation_queries=5"],  # of a handful of people
        "parts=stripes": ["loss=[triplet,part_identity]"],  # what trains them
        "parts=aligned": ["loss=aligned"],
        "evaluation/rerank=aligned": ["loss=aligned"],
        "evaluation/rerank=k_reciprocal": ["evaluation.rerank.k1=3", "evaluation.rerank.k2=2"],
        "parts=scp": ["loss=[triplet,spatial_channel]"],
        "sampler=shuffle": ["sampler.batch_size=4"],
        "pretraining=pose": ["parts=pose"],
    }
    return companions.get(choice, [])
