"""Slips on the command line end in one sentence that names the setting, before any work."""

import copy
import functools
from pathlib import Path

import hydra
import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from reid_lightning.config.resolve import CONF, plain
from reid_lightning.distributed.ddp_launcher import Children
from reid_lightning.errors import InputError
from reid_lightning.experiments.checks import check_run
from reid_lightning.experiments.factory import build_datamodule, build_module
from reid_lightning.experiments.run import _callbacks, _trainer

GROUP = "Misconfigurations"

OUT_OF_RANGE = {
    "seed": ("-1", "1.5", "99999999999"),
    "time_limit": ("0", "-3", "nan"),
    "frozen_epochs": ("-1", "0.5"),
    "data.batch_size": ("0", "-1", "1.5"),
    "data.image_size": ("[200000,100000]", "[0,0]", "[64]", "[64,32,3]", "[64.5,32]"),
    "data.num_workers": ("-1", "100000"),
    "data.cache_limit": ("0", "nan", "-1"),
    "data.validation": ("1", "-0.1", "2"),
    "data.validation_queries": ("0", "-5"),
    "data.validation_seed": ("-1",),
    "data.sources.pedestrians.train_identities": ("0", "-1"),
    "data.sources.pedestrians.occlusion": ("2", "nan"),
    "data.sources.pedestrians.processes": ("0",),
    "data.epochs": ("0",),
    "data.lr": ("0", "inf"),
    "sampler.identities": ("0", "-1", "1000"),
    "sampler.images_per_identity": ("0", "1", "2.5"),
    "backbone.width": ("0", "-1", "1e30"),
    "backbone.frozen_layers": ("99", "-1"),
    "classifier.label_smoothing": ("-2", "1", "nan"),
    "classifier.weight": ("-1", "inf"),
    "loss.triplet.margin": ("-1", "nan", "inf"),
    "loss.triplet.weight": ("nan", "-inf"),
    "optimizer.lr": ("0", "-1", "nan", "inf"),
    "optimizer.weight_decay": ("-1", "nan"),
    "optimizer.layer_decay": ("0", "2"),
    "optimizer.head_factor": ("-1",),
    "scheduler.warmup_epochs": ("-1",),
    "scheduler.final_factor": ("-1",),
    "trainer.max_epochs": ("0", "-1", "2.5"),
    "trainer.check_val_every_n_epoch": ("0",),
    "trainer.gradient_clip_val": ("-1", "0"),
    "trainer.accumulate_grad_batches": ("0",),
    "trainer.log_every_n_steps": ("0",),
    "trainer.devices": ("0", "-3", "1000000000"),
    "trainer.num_nodes": ("0",),
    "trainer.fast_dev_run": ("-1",),
    "callbacks.last.every_n_epochs": ("0",),
    "callbacks.best.save_top_k": ("-2",),
    "evaluation.single_shot": ("0", "1e30"),
    "evaluation.single_shot_seed": ("-1",),
    "evaluation.ranks": ("[0]", "[]"),
}
OF_ANOTHER_TYPE = {
    "seed": ("abc", "null", "true"),
    "time_limit": ("abc", "[1]"),
    "frozen_epochs": ("abc", "null"),
    "refit": ("maybe",),
    "compile": ("abc",),
    "resume": ("[a]",),
    "data.sources": ("null",),
    "data.sources.pedestrians": ("null", "5"),
    "data.image_size": ("abc", "null", "64"),
    "data.cache": ("abc",),
    "data.tracklets": ("abc", "1"),
    "augmentation.transforms": ("abc", "[1]"),
    "loss.triplet": ("null", "abc"),
    "loss.triplet.weight": ("null", "abc"),
    "loss.triplet.reduction": ("sum", "null"),
    "loss.triplet.squared": ("abc",),
    "callbacks.line": ("null", "abc"),
    "callbacks.best": ("null",),
    "evaluation.single_shot_seed": ("abc",),
    "evaluation.flip": ("abc", "null"),
    "evaluation.distance": ("manhattan", "5"),
    "evaluation.rerank": ("abc",),
    "optimizer.lr": ("abc", "null", "[1]"),
    "optimizer.optimizer": ("null",),
    "trainer.max_epochs": ("abc",),
    "trainer.accelerator": ("abc", "{}"),
    "trainer.devices": ("abc", "null"),
    "trainer.precision": ("8-bit",),
    "trainer.deterministic": ("abc",),
    "neck._partial_": ("abc",),
    "backbone._target_": ("5", "nope.resnet10"),
}
NOT_A_SETTING = {  # overrides, and what the sentence says
    "batch_size=32": "sampler.identities x sampler.images_per_identity",
    "epochs=5": "did you mean trainer.max_epochs?",
    "train.max_epochs=5": "did you mean trainer.max_epochs?",
    "lr=0.1": "did you mean optimizer.lr?",
    "optimizer.learning_rate=1": "did you mean optimizer.lr?",
    "image_size=[64,32]": "did you mean data.image_size?",
    "gpus=2": "trainer.devices",
    "workers=2": "did you mean data.num_workers?",
    "name=mine": "hydra.run.dir",
    "output=/tmp": "hydra.run.dir",
    "checkpoint=a.ckpt": "resume=FILE",
    "model=resnet50": "backbone=NAME",
    "dataset=market1501": "data=NAME",
    "weights=imagenet": "backbone.weights=imagenet",
    "pretrained=true": "backbone.weights=imagenet",
    "margin=0.5": "did you mean loss.triplet.margin?",
    "data.root=/data": "data=market1501",
    "loss.triplet.margn=1": "did you mean loss.triplet.margin?",
    "miner.search=faiss": "it belongs to miner=offline_hard",
    "evaluation.metric=cosine": "evaluation.metric is now evaluation.distance",
    "backbone=resnet51": "did you mean backbone=resnet50?",
    "backbone=zzz": "`reid list backbone` shows all",
    "backbone=null": "backbone=null does not choose an option",
    "trainer=5": "trainer=5 does not choose an option",
    "logger={}": "logger={} does not choose an option; `reid list logger` shows all",
    "classifier=null": "classifier=none is for nothing",
    "~backbone": "backbone is missing",
    "~nothing": "there is no setting nothing",
    "+seed=1": "seed is there already: write seed=... without +",
    "+trainer.foo=1": "unexpected keyword argument 'foo'",
    "seed.x=1": "seed.x",
    "nogroup@x=y": "nogroup@x",
    "backbone=timm backbone.name=convnext_tinny": "near it: convnext_tiny,",
    "backbone=timm": "backbone.name is not set",
    "data=market1501": "data.root is not set",
    "backbone._target_=reid_lightning.models.convolutional_backbones.resnet1": "backbones.resnet10?",
    "backbone._target_=reid_lightning.models.convolutional_backbone.resnet10": "backbones.resnet10?",
    "loss.triplet._target_=reid_lightning.losses.triplet.TripletLos": "triplet.TripletLoss?",
    "+x=${y}": "x: Interpolation key 'y' not found",
    "resnet50": "write KEY=VALUE, such as backbone=resnet50",
    "seed = 3": "without spaces around =",
    "--epochs 5": "did you mean trainer.max_epochs?",
    "--trainer.max_epochs=5": "KEY=VALUE without dashes",
    "--config-name=mine": "there is no config mine.yaml",
    "--config-dir=/nowhere": "there is no folder /nowhere",
    "--cfg": "expected one argument",
    "--multirun seed=1,2 lr=3": "did you mean optimizer.lr?",
    "--multirun loss=triplet,losless": "did you mean loss=lossless?",
    "--multirun seed=1,2 hydra.run.dir=a,b": "hydra.run.dir=a,b cannot be swept over",
    "--multirun seed=1,2 hydra/launcher=slurmm": "did you mean hydra/launcher=slurm?",
}
WITHOUT_ITS_QUOTES = {
    "seed=1,2": "add --multirun to run each",
    "seed=range(1,3)": "add --multirun to run each",
    "logger=wandb logger.wandb.name=a(b": "'logger.wandb.name=\"a(b\"'",
    "logger=wandb logger.wandb.name=a=b": "'logger.wandb.name=\"a=b\"'",
    "logger=wandb logger.wandb.name=é#": "'logger.wandb.name=\"é#\"'",
    "loss=[triplet": "loss=[triplet cannot be read",
    "+x={a:": "+x={a: cannot be read",
}
TOGETHER = {
    "loss=none classifier=none miner=none": "leave nothing to train",
    "refit=true data.validation=none": "refit=true needs a validation split",
    "time_limit=5 refit=true": "time_limit cannot be combined with refit=true",
    "trainer.precision=16-true": "16-mixed",
    "trainer.devices=3 sampler.identities=16": "multiple of the 3 processes",
    "miner=offline_hard loss=circle": "an offline miner draws triplets",
    "parts=stripes": "no loss reads the stripes",
    "evaluation.feature=stripes": "evaluation.feature=stripes",
    "resume=last": "there is no checkpoint",
    "resume=/nowhere.ckpt": "there is no checkpoint /nowhere.ckpt",
    "attributes=market12 attributes.weight=abc": "attributes.weight must be a number",
    "attributes=market12 attributes.heads=null": "attributes.heads must be a node",
    "attributes=market12 attributes.weight=0": "attributes.weight=0",
    "neck=linear neck.embedding_size=-1": "neck.embedding_size must be",
    "optimizer=sgd optimizer.optimizer.momentum=-1": "optimizer.optimizer.momentum must be",
    "scheduler=step scheduler.milestones=5": "scheduler.milestones must be",
    "evaluation/rerank=k_reciprocal evaluation.rerank.k1=0": "evaluation.rerank.k1 must be",
    "report=open_set reports.open_set.nearest=0": "reports.open_set.nearest must be",
    "task=traits tasks.traits.weight=nan": "tasks.traits.weight must be",
}
RAW = (
    "/data/a=b",
    "2024_01",
    "/data/ä,ö (1)/#[x]",
    "it's",
    "1.0",
    "true",
    "{a}",
    "a:b",
    "/a b",
    "\\\\host\\share\\",
)
OF_THE_DATA = {  # told when the data is read
    "backbone.weights=/nowhere.pth": "backbone.weights=/nowhere.pth is not a file",
    "callbacks=early_stopping data.validation=none": "EarlyStopping watches val/mAP",
    "data.validation=0.1": "validation needs at least 2",
    "evaluation/rerank=k_reciprocal evaluation.rerank.k1=1000": "k1=1000 reciprocal neighbors needs more than",
    "evaluation.tracklets=pool": "needs data with tracklets",
    "sampler.identities=100": "sampler.identities must be at most",
    "callbacks.best.monitor=val/map trainer.max_epochs=1": "nothing of this name is logged",
}
TINY = (
    "data.sources.pedestrians.train_identities=10 data.sources.pedestrians.test_identities=6 "
    "data.image_size=[32,16] sampler.identities=4"
)


def cases(table, fault):
    return [pytest.param(*case, marks=pytest.mark.fault(GROUP, fault)) for case in table]


def every(table, fault):
    return cases([(key, value) for key, values in table.items() for value in values], fault)


@pytest.fixture
def train(commands, tmp_path):
    """Return a function that runs `train.py` with overrides and returns the sentence in which it ends."""
    return lambda *overrides: commands.run("train.py", *overrides, cwd=tmp_path).sentence


@pytest.fixture(scope="module")
def default():
    """Return the default config as `train.py` composes it."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return plain(hydra.compose("config", [*TINY.split(), "output_dir=nowhere"]))


def begin(config):
    """Do what a run does before its training."""
    check_run(config)
    datamodule = build_datamodule(config)
    module = build_module(config, num_identities=5)
    callbacks = _callbacks(config, Path("nowhere"), has_validation=True, stop_after=None)
    module._optimizer(module.network, module.objective)
    facts = {"labels": np.arange(40) // 4, "cameras": np.arange(40) % 2, "seed": 0}
    datamodule.sampler(rows=np.arange(40), **facts)
    _trainer(config, Path("nowhere"), callbacks, Children(), True, None)
    for source in datamodule.sources.values():
        source()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *every(OUT_OF_RANGE, "a number out of range, not finite or not whole"),
        *every(OF_ANOTHER_TYPE, "text, null, a list or a mapping where something else belongs"),
    ],
)
def test_a_value_is_refused_and_its_key_named(default, seen, key, value):
    config = copy.deepcopy(default)
    *groups, last = key.split(".")
    functools.reduce(dict.__getitem__, groups, config)[last] = (
        OverridesParser.create().parse_override(f"x={value}").value()
    )
    with pytest.raises(InputError) as refused:
        begin(config)
    assert str(refused.value).startswith(key.split(".", 1)[0])
    assert last in str(refused.value)
    assert "\n" not in str(refused.value)
    seen(refused.value)


@pytest.mark.fault(GROUP, "a value that is refused, through the whole command")
@pytest.mark.parametrize(
    "override",
    [
        "optimizer.lr=nan",
        "trainer.max_epochs=abc",
        "data.image_size=[200000,100000]",
        "callbacks.line=null",
        "evaluation.flip=abc",
        "+callbacks.stop={_target_:lightning.pytorch.callbacks.EarlyStoping}",
    ],
)
def test_the_command_refuses_a_value(train, override):
    key = override.lstrip("+").partition("=")[0]
    assert train(*TINY.split()[:2], override).startswith(key)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        *cases(NOT_A_SETTING.items(), "a setting, option, flag or class that does not exist"),
        *cases(WITHOUT_ITS_QUOTES.items(), "a value that needs quotes"),
        *cases(TOGETHER.items(), "settings that do not go together"),
    ],
)
def test_a_slip_says_what_to_do(train, seen, overrides, says):
    sentence = train(*overrides.split(" "))
    assert says in sentence
    seen(sentence)


@pytest.mark.parametrize(
    ("overrides", "says"), cases(OF_THE_DATA.items(), "settings that do not fit the data")
)
def test_what_does_not_fit_the_data(train, seen, overrides, says):
    sentence = train(*TINY.split(), "data.validation=0.3", "trainer.accelerator=cpu", *overrides.split(" "))
    assert says in sentence
    seen(sentence)


@pytest.mark.fault(GROUP, "a path with =, commas, brackets, quotes or spaces, or one that reads as a number")
@pytest.mark.parametrize("path", RAW)
@pytest.mark.parametrize("command", ["train.py", "reid data check"])
def test_a_path_is_taken_as_it_is_written(commands, seen, command, path):
    sentence = commands.run(*command.split(), "data=market1501", f"data.root={path}").sentence
    assert sentence.startswith(f"data.root={path} is not a folder")
    seen(sentence)


@pytest.mark.fault(GROUP, "a pattern of cameras without quotes of Hydra")
def test_a_pattern_is_taken_as_it_is_written(train, tmp_path):
    (tmp_path / "people" / "anna").mkdir(parents=True)
    (tmp_path / "people" / "anna" / "a.jpg").touch()
    pattern = r"camera_pattern=_c(?P<camera>\d+)_"
    source = ("data=identity_folder", f"data.root={tmp_path / 'people'}")
    assert pattern in train(*source, f"data.sources.identity_folder.{pattern}")


@pytest.mark.fault(GROUP, "a folder of the run that cannot be made")
@pytest.mark.parametrize("folder", ["/proc/run", "file/run"])
def test_a_folder_that_cannot_be_made(train, seen, tmp_path, folder):
    (tmp_path / "file").touch()
    sentence = train(f"hydra.run.dir={folder}")
    assert f"{folder} cannot be made: choose another folder" in sentence or " file is a file and " in sentence
    seen(sentence)


@pytest.mark.fault(GROUP, "a sweep of settings that cannot be used: each job says why")
def test_jobs_of_a_sweep_say_why(commands, tmp_path):
    ended = commands.run(
        "train.py", "--multirun", f"hydra.sweep.dir={tmp_path}", "seed=1,2", "optimizer.lr=nan", cwd=tmp_path
    )
    assert ended.code == 1
    assert ended.out.count("optimizer.lr must be a number >= 0, got nan") >= 2
    assert "Traceback" not in ended.out + ended.err
    assert "Error executing" not in ended.out + ended.err


@pytest.mark.fault(GROUP, "a checkpoint that is not there")
def test_no_checkpoint(commands, seen):
    seen(commands.run("reid", "evaluate", "nothing.ckpt").sentence)


@pytest.mark.fault(GROUP, "a command or option of reid that does not exist")
@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("nothing", "there is no command nothing; `reid --help` shows"),
        ("evlauate x", "there is no command evlauate; did you mean evaluate?"),
        ("evaluate x --qqq", "there is no option --qqq; `reid evaluate --help` shows"),
        ("evaluate x --data market1501", "settings are written without dashes, as data=VALUE"),
        ("evaluate x --data.root y", "as data.root=VALUE"),
        ("identify a b c --k=abc", "'--k'"),
        ("embed", "Missing argument 'checkpoint'"),
        ("report sweep --baseline", "'--baseline' requires an argument"),
    ],
)
def test_what_reid_does_not_know(commands, seen, line, says):
    ended = commands.run("reid", *line.split())
    assert ended.code == 2
    assert says in ended.sentence
    assert len(ended.err.splitlines()) == 1
    seen(ended.sentence)


@pytest.mark.fault(GROUP, "a slip in a command of reid")
@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("train lr=1", "did you mean optimizer.lr?"),
        ("data check lr=1", "did you mean optimizer.lr?"),
        ("data check data=markt1501", "did you mean data=market1501?"),
        ("data check seed = 1", "write KEY=VALUE"),
        ("list backbon", "did you mean backbone?"),
        ("report sweep nowhere", "nowhere"),
    ],
)
def test_a_slip_in_a_command_of_reid(commands, seen, line, says):
    sentence = commands.run("reid", *line.split()).sentence
    assert says in sentence
    seen(sentence)
