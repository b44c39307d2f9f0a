"""A setting without effect is said in a line, and a sweep that varies it in every job is refused."""

import itertools
import logging
import subprocess
import sys
from pathlib import Path

import hydra
import pytest

from reid_lightning.config.declared import given, ignores, unread_by
from reid_lightning.config.no_effect import say_without_effect, told, without_effect
from reid_lightning.config.resolve import CONF
from reid_lightning.sweeps.varied import varied_in_vain

REPOSITORY = Path(__file__).resolve().parents[2]
TABLES = sorted(
    str(file.relative_to(CONF / "experiment").with_suffix(""))
    for file in (CONF / "experiment").rglob("*.yaml")
    if "params:" in file.read_text()
)
EXPERIMENTS = sorted(
    str(file.relative_to(CONF / "experiment").with_suffix(""))
    for pattern in ("*.yaml", "*/*.yaml", "kiel/tables/*.yaml", "trento/task/*.yaml", "megvii/[mp]a*/*.yaml")
    for file in (CONF / "experiment").glob(pattern)
)


@pytest.fixture(autouse=True)
def _initialized():
    from reid_lightning.sweeps.launchers import prefer_own_options

    prefer_own_options()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def said(*overrides):
    """Return the sentences of a run with these overrides."""
    config = hydra.compose("config", list(overrides))
    return [str(one) for one in told(without_effect(config), config, overrides)]


@pytest.mark.parametrize(
    ("overrides", "start"),
    [
        (("pooling=gem", "parts=pose"), "pooling has no effect: the bilinear pooling of parts=pose"),
        (("pooling=gem", "backbone=mildnet"), "pooling has no effect: MILDNet pools each"),
        (("backbone=mildnet", "pooling=gem", "pooling.p=4"), "pooling has no effect"),
        (("loss=circle", "miner=semi_hard"), "miner has no effect: loss=circle forms its own pairs"),
        (("loss=[circle,center]", "miner=semi_hard"), "miner has no effect: loss=circle and loss=center form their own"),
        (("loss=none", "miner=semi_hard"), "miner has no effect: there is no metric loss"),
        (("loss=none", "across_ranks=false"), "across_ranks has no effect"),
        (("classifier=arcface", "classifier.weight=0", "classifier.scale=4"), "classifier has no effect: classifier.weight"),
        (("loss=[triplet,circle]", "loss.circle.weight=0", "loss.circle.gamma=3"), "loss.circle has no effect"),
        (("loss.triplet.soft_margin=true", "loss.triplet.margin=1"), "loss.triplet.margin has no effect: the soft margin"),
        (("neck=linear", "neck.batch_norm=false"), "neck.batch_norm has no effect"),
        (("scheduler.warmup_epochs=0", "scheduler.warmup_factor=0.1"), "scheduler.warmup_factor has no effect"),
        (("data.cache=false", "data.cache_limit=3"), "data.cache_limit has no effect"),
        (("data.validation=none", "data.validation_seed=3"), "data.validation_seed has no effect"),
        (("evaluation.single_shot_seed=3",), "evaluation.single_shot_seed has no effect"),
        (("data.weights=imagenet",), "data.weights has no effect: no other setting"),
        (("optimizer.lr=1", "data.lr=2"), "data.lr has no effect"),
        (("parts=pose", "pretraining=pose", "parts.weights=x.pt"), "pretraining has no effect: the part branch comes from"),
        (
            ("augmentation=strong", "augmentation.transforms.3.p=0", "augmentation.transforms.3.ratio=1"),
            "augmentation.transforms.3 has no effect",
        ),
        (
            ("attributes=market12", "attributes.heads.reweighting=false", "attributes.heads.detach=true"),
            "attributes.heads.detach has no effect",
        ),
        (("+mine=1",), "mine has no effect: nothing reads a key of this name"),
    ],
)  # fmt: skip
def test_a_chosen_setting_without_effect_is_said(overrides, start):
    sentences = said(*overrides)
    assert len(sentences) == 1
    assert sentences[0].startswith(start)


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("pooling=gem",),
        ("pooling=gem", "parts=stripes", "loss=[triplet,part_identity]"),
        ("loss=circle",),  # the default miner is nobody's choice
        ("loss=[circle,triplet]", "miner=semi_hard"),
        ("miner=none", "loss=circle"),
        ("classifier.weight=0",),
        ("data.weights=null", "backbone=resnet18"),
        ("data.lr=1",),
        ("+mine=1", "optimizer.lr=${mine}"),
        ("data=market1501", "data.root=/x", "experiment=strong"),
        ("neck=linear", "neck.hidden_size=8", "neck.batch_norm=false"),
        ("evaluation.single_shot=2", "evaluation.single_shot_seed=3"),
        ("loss=triplet", "miner=offline_hard"),
    ],
)
def test_a_setting_with_an_effect_is_not_said(overrides):
    assert said(*overrides) == []


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_no_experiment_sets_anything_in_vain(name):
    assert said(f"experiment={name}") == []


def test_a_choice_in_a_file_is_said_too():
    config = hydra.compose("config", ["pooling=gem", "parts=pose"])
    assert [one.key for one in told(without_effect(config), config)] == ["pooling"]


def test_a_run_logs_a_line(caplog):
    config = hydra.compose("config", ["pooling=max", "parts=pose"])
    with caplog.at_level(logging.WARNING, "reid_lightning"):
        say_without_effect(config, ["pooling=max", "parts=pose"])
        say_without_effect(hydra.compose("config", ["backbone=timm"]))  # cannot be resolved: the run says it
    assert [record.message for record in caplog.records] == [
        "pooling has no effect: the bilinear pooling of parts=pose takes its place (parts is PoseBilinear)"
    ]


@pytest.mark.parametrize(
    ("lines", "keys"),
    [
        (("pooling=avg,gem", "parts=pose"), ["pooling"]),
        (("pooling=avg,gem", "parts=pose,none"), []),
        (("miner=batch_hard,semi_hard", "loss=circle,contrastive"), ["miner"]),
        (("miner=batch_hard,semi_hard", "loss=circle,triplet", "seed=1,2,3"), []),
        (("loss.triplet.margin=interval(0.1,0.3)", "loss.triplet.soft_margin=true"), ["loss.triplet.margin"]),
        (("loss.triplet.margin=range(1,3)", "optimizer.lr=1,2"), []),
        (("classifier.weight=0,1",), []),
        (("classifier=arcface", "classifier.scale=8,16", "classifier.weight=0"), ["classifier.scale"]),
        (("pooling=gem,avg", "pooling=gem", "parts=pose"), []),  # the later override fixes it
        (("seed=1,2", "parts=pose"), []),
        (("+mine=1,2",), ["mine"]),
        (("loss=nowhere,circle", "miner=batch_hard,semi_hard"), []),  # Hydra says it better
    ],
)
def test_a_sweep_varies_in_vain_what_matters_in_no_job(lines, keys):
    assert list(varied_in_vain(lines)) == keys


@pytest.mark.parametrize("name", TABLES)
def test_the_sweeps_of_experiments_vary_nothing_in_vain(name):
    config = hydra.compose("config", [f"experiment={name}"], return_hydra_config=True)
    params = [f"{key}={value}" for key, value in config.hydra.sweeper.params.items()]
    assert len(params) > 1
    assert varied_in_vain([f"experiment={name}", *params]) == {}


@pytest.mark.parametrize("name", sorted(file.stem for file in (CONF / "sweep").glob("*.yaml")))
def test_shipped_search_spaces_vary_nothing_in_vain(name):
    import yaml

    params = yaml.safe_load((CONF / "sweep" / f"{name}.yaml").read_text())["hydra"]["sweeper"]["params"]
    assert varied_in_vain([f"{key}={value}" for key, value in params.items()]) == {}


@pytest.mark.slow
def test_such_a_sweep_ends_before_its_first_job(tmp_path):
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "train.py"), "-m", "pooling=avg,gem", "parts=pose"],
        capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert "error: the sweep varies pooling, which has no effect in any job: the bilinear" in done.stderr
    assert not list(tmp_path.rglob("config.yaml"))


def test_a_condition_is_a_value_several_or_a_function():
    @ignores("one", "", other=(1, 2))
    @ignores("two", "", file=given)
    def build(one=0, two=0, other=1, file=None): ...

    assert [unread.name for unread in unread_by(build, {})] == ["one"]
    assert [unread.name for unread in unread_by(build, {"other": 3, "file": "x"})] == ["two"]
    assert unread_by(build, {"other": 3}) == []


def test_a_subclass_reads_as_little():
    @ignores("margin", "", soft=True)
    class Loss:
        def __init__(self, margin=0, soft=True): ...

    class Child(Loss): ...

    assert [unread.name for unread in unread_by(Child, {})] == ["margin"]


CHOICES = {
    "pooling": ("avg", "max", "gem"),
    "neck": ("bnneck", "linear", "relu", "none"),
}
READERS = {
    "stripes": ["triplet", "part_identity"],
    "aligned": ["aligned"],
    "scp": ["triplet", "spatial_channel"],
}


def network_of(config):
    """Return what sets the network of a config apart: modules, their settings, and the shapes of its tensors."""
    from reid_lightning.config.resolve import plain
    from reid_lightning.experiments.factory import build_network

    network = build_network(plain(config), 7)
    modules = [
        (
            name,
            type(module),
            module.extra_repr(),
            sorted((k, v) for k, v in vars(module).items() if isinstance(v, int | float)),
        )
        for name, module in network.named_modules()
    ]
    return modules, [(name, value.shape) for name, value in network.state_dict().items()]


@pytest.mark.slow
@pytest.mark.parametrize("group", CHOICES)
@pytest.mark.parametrize("parts", ["none", "stripes", "aligned", "scp", "pose"])
@pytest.mark.parametrize(
    "backbone", [["mildnet", "backbone.width=0.25"], ["resnet10"], ["timm", "backbone.name=test_vit"]]
)
def test_options_that_make_the_same_network_are_said_to_have_no_effect(backbone, parts, group):
    losses = ",".join(READERS.get(parts, ["triplet"]))
    found = {}
    for choice in CHOICES[group]:
        config = hydra.compose(
            "config",
            [f"backbone={backbone[0]}", *backbone[1:], f"parts={parts}", f"loss=[{losses}]", f"{group}={choice}",
             "data.image_size=[64,32]", "data.weights=null", "output_dir=none"],
        )  # fmt: skip
        found[choice] = network_of(config), any(idle.covers(group) for idle in without_effect(config))
    for (first, (one, idle)), (second, (other, also_idle)) in itertools.combinations(found.items(), 2):
        assert one != other or (idle and also_idle), f"{group}={first} and {group}={second}"
