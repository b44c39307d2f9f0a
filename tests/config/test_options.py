"""Every shipped option composes, builds, and trains two steps."""

import functools
import inspect
from itertools import combinations

import albumentations as A
import pytest
import torch
from torch import nn

from reid_lightning.config.resolve import CONF, instantiate
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
ROOT = "/nowhere"
ALIKE = {"miner": {("batch_all", "none")}}  # all triplets are what a loss takes that no miner gives any


def test_every_group_has_options():
    groups = {choice.split("=")[0] for choice in CHOICES}
    assert groups >= {
        "data", "sampler", "augmentation", "backbone", "pooling", "neck", "classifier", "loss", "miner", "evaluation",
        "optimizer", "scheduler", "trainer", "callbacks", "logger", "experiment",
    }  # fmt: skip


def portrait(thing: object, depth: int = 6) -> object:
    """Return what can be compared of an object: its type, its settings, and the shapes of its parameters."""
    if isinstance(thing, torch.Tensor):
        return tuple(thing.shape), thing.requires_grad
    if isinstance(thing, A.BaseCompose):
        return str(thing)
    if isinstance(thing, functools.partial):
        return portrait(thing.func, depth), portrait(thing.keywords, depth)
    if isinstance(thing, type) or inspect.isroutine(thing):
        return thing.__qualname__
    if isinstance(thing, dict):
        return {key: portrait(value, depth - 1) for key, value in thing.items()}
    if isinstance(thing, list | tuple):
        return [portrait(value, depth - 1) for value in thing]
    if not hasattr(thing, "__dict__") or depth == 0:
        return thing if isinstance(thing, str | int | float | None) else type(thing).__qualname__
    if isinstance(thing, nn.Module):
        settings = {key: value for key, value in vars(thing).items() if key[0] != "_"}
        state = dict(thing.named_parameters(recurse=False)) | dict(thing.named_buffers(recurse=False))
        children = {name: portrait(child, depth) for name, child in thing.named_children()}
        return type(thing).__qualname__, portrait(settings | state, depth), children
    return type(thing).__qualname__, portrait(vars(thing), depth - 1)


def optimizer(module):
    return module._optimizer, module._optimizer(module.network, module.objective).param_groups


def trainer(config):
    built = instantiate(config["trainer"], logger=False, enable_checkpointing=False)
    return built.num_devices, built.precision


# What the options of a group build: parts of the module, parts of the data module, and what stands alone.
OF_MODULE = {
    "attributes": lambda module: (module.network.attributes, module.tasks),
    "backbone": lambda module: module.network.backbone,
    "classifier": lambda module: module.network.classifier,
    "descriptor": lambda module: module.network.descriptor,
    "evaluation": lambda module: module.protocol,
    "loss": lambda module: module.objective.losses,
    "miner": lambda module: module.objective.miner,
    "neck": lambda module: module.network.neck,
    "optimizer": optimizer,
    "parts": lambda module: module.network.parts,
    "pooling": lambda module: module.network.pooling,
    "scheduler": lambda module: module._scheduler,
    "task": lambda module: module.tasks,
}
OF_DATA = {
    "augmentation": lambda data: data.train_transform,
    "data": lambda data: data.sources,
    "sampler": lambda data: data.sampler,
    "test_transform": lambda data: data.test_transform,
}
OF_CONFIG = {
    "callbacks": lambda config: [instantiate(node) for node in config["callbacks"].values()],
    "logger": lambda config: [instantiate(node) for node in (config["logger"] or {}).values()],
    "pretraining": lambda config: instantiate(config["pretraining"]),
    "report": lambda config: [instantiate(node) for node in config["reports"].values()],
    "trainer": trainer,
}
GROUPS = sorted([*OF_MODULE, *OF_DATA, *OF_CONFIG])
NOT_BUILT = {"experiment", "sweep"}  # test_golden.py, test_launchers.py


def test_every_group_builds_something():
    groups = {folder.name for folder in CONF.iterdir() if folder.is_dir() and folder.name != "hydra"}
    assert groups == {*GROUPS, *NOT_BUILT}


@pytest.fixture(scope="module")
def seen():
    """Return what has been built of each option so far; tests share it, as building all takes a while."""
    return {}


@pytest.fixture
def built(compose, seen):
    """Return a function that composes and builds an option with all that belongs to it, and portrays its own part."""

    def build(choice):
        if choice not in seen:
            group, name = choice.split("=")
            root = [f"data.root={ROOT}"] if name in DATA_OPTIONS_WITH_A_ROOT and group == "data" else []
            config = compose(choice, "data.weights=null", *_companions(choice), *root)
            module = build_module(config, num_identities=5)
            parts = {
                **{name: part(module) for name, part in OF_MODULE.items() if name == group},
                **{name: part(build_datamodule(config)) for name, part in OF_DATA.items() if name == group},
                **{name: part(config) for name, part in OF_CONFIG.items() if name == group},
            }
            parameters = sum(parameter.numel() for parameter in module.network.parameters())
            seen[choice] = parameters, portrait(parts)
        return seen[choice]

    return build


@pytest.mark.parametrize("choice", CHOICES)
def test_option_composes_and_builds(built, choice):
    parameters, _ = built(choice)
    assert parameters > 1000


@pytest.mark.parametrize("group", GROUPS)
def test_every_option_builds_what_no_other_of_its_group_builds(built, group):
    portraits = {
        file.stem: built(f"{group}={file.stem}")[1] for file in sorted((CONF / group).glob("*.yaml"))
    }
    same = {(one, other) for one, other in combinations(portraits, 2) if portraits[one] == portraits[other]}
    assert same == ALIKE.get(group, set())


@pytest.mark.parametrize("name", DATA_OPTIONS_WITH_A_ROOT)
def test_data_option_with_a_root_reaches_its_reader(compose, name):
    config = compose(f"data={name}", "data.weights=null", f"data.root={ROOT}")
    with pytest.raises(InputError, match=rf"data.root={ROOT} is not a (file|folder)"):
        build_datamodule(config).prepare_data()


@pytest.mark.slow
@pytest.mark.parametrize("choice", sorted({*CHOICES, "loss=[triplet,lossless]"} - {*NOT_ON_PEDESTRIANS}))
def test_option_trains_two_steps(compose, tiny, choice):
    companions = ["data.weights=null", *_companions(choice)]
    companions += ["trainer.devices=1"] if choice == "trainer=ddp_cpu" else []
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


_CLUSTERS = ["tasks.clusters.eps=0.1", "tasks.clusters.keep_alone=true"]  # some are found with any weights
_JIGSAW = [
    "backbone=transreid",
    "backbone.name=test_vit",
    "backbone.patch_stride=4",
    "data.image_size=[32,16]",
]


def _companions(choice: str) -> list[str]:
    """Settings that an option needs beside it on this machine."""
    companions = {
        "trainer=gpu": ["trainer.accelerator=cpu", "trainer.devices=1"],
        "backbone=timm": ["backbone.name=resnet10t"],
        "pooling=token": ["backbone=timm", "backbone.name=test_vit"],
        "logger=wandb": ["logger.wandb.offline=true"],
        "backbone=vgg16": ["data.image_size=[64,32]"],  # it halves five times
        "backbone=mildnet": ["data.image_size=[64,32]"],
        "experiment=kiel/mildnet": ["data.image_size=[64,32]"],
        "experiment=small/kiel_mildnet": ["data.image_size=[64,32]"],
        "experiment=small/trento": ["data.validation_queries=5"],
        "experiment=birjand": ["data.image_size=[64,32]"],
        "experiment=unlabelled": _CLUSTERS,
        "sampler=groups": ["experiment=unlabelled", *_CLUSTERS],
        "task=clusters": _CLUSTERS,
        "experiment=best": ["backbone.name=resnet18"],
        "experiment=transformer": ["backbone.name=test_vit", "data.image_size=[32,16]"],
        "experiment=transreid": _JIGSAW[1:],
        "backbone=transreid": _JIGSAW[1:],
        "loss=jigsaw": _JIGSAW,
        "parts=jigsaw": [*_JIGSAW, "loss=[triplet,jigsaw]"],
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
