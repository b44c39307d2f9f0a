"""What a config from a file may name: what conf/ names at the same place, and what a trusted package defines."""

import sys

import pytest

from reid_lightning.config.trust import _named_by_conf, check_plain, check_trust
from reid_lightning.errors import InputError

RESNET = "reid_lightning.models.convolutional_backbones.resnet10"
OWN = """
import functools
import os
from os import system
from torch import nn

class Head(nn.Module):
    pass

def backbone():
    return Head()

half = functools.partial(os.system, "true")
"""


@pytest.fixture
def own_package(tmp_path, monkeypatch):
    """A package of a user's own, which is not imported yet."""
    folder = tmp_path / "own_package"
    folder.mkdir()
    (folder / "__init__.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield "own_package"
    sys.modules.pop("own_package", None)


def test_every_option_passes_where_it_stands(compose):
    for overrides in (
        (),
        ("experiment=trento",),
        ("experiment=megvii/pose", "evaluation/rerank=k_reciprocal"),
        ("experiment=hiqo/body", "test_transform=rescale", "report=[open_set,embedding_map]", "task=traits"),
    ):
        check_trust(compose(*overrides, "data=table", "data.root=a.csv"))
    assert RESNET in _named_by_conf()["backbone"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"backbone": {"_target_": "torch.load"}}, "torch.load at backbone"),
        ({"backbone": {"_target_": "os.system"}}, "os.system at backbone, which is not a part of any model"),
        ({"neck": {"_target_": RESNET}}, "resnet10 at neck"),
        ({"backbone": {"_target_": RESNET, "x": [{"_target_": RESNET}]}}, r"resnet10 at backbone\.x\[0\]"),
        ({"tasks": {"a": {"_target_": "reid_lightning_evil.x"}}}, "--trust reid_lightning_evil"),
        (
            {"neck": {"_target_": "a.B"}, "tasks": {"t": {"_target_": "c.D"}}},
            r"names a.B at neck, c.D at tasks.t, .* pass --trust a --trust c .* trust=\['a', 'c'\]",
        ),
        ({"backbone": {"_target_": ["os.system"]}}, "not a name in Python"),
        ({"backbone": {"_target_": f"{RESNET} "}}, "not a name in Python"),
        ({"backbone": {"_target_": RESNET, "_args_": [1]}}, r"_args_=\[1\] at backbone"),
        ({"backbone": {"_target_": RESNET, "_recursive_": False}}, "_recursive_=False at backbone"),
        ({"backbone": {"_target_": RESNET, "_convert_": "object"}}, "_convert_='object' at backbone"),
    ],
)
def test_what_conf_does_not_name_there_is_refused(config, message):
    with pytest.raises(InputError, match=message):
        check_trust(config)


def test_a_package_is_not_imported_before_it_is_trusted(own_package):
    config = {"backbone": {"_target_": f"{own_package}.Head"}}
    with pytest.raises(InputError, match="--trust own_package"):
        check_trust(config)
    assert own_package not in sys.modules
    check_trust(config, [own_package])


@pytest.mark.parametrize(
    ("name", "passes"),
    [
        ("Head", True),
        ("backbone", True),
        ("system", False),
        ("os.system", False),
        ("half", False),
        ("nn.Identity", False),
    ],
)
def test_a_trusted_package_brings_only_what_it_defines(own_package, name, passes):
    config = {"backbone": {"_target_": f"{own_package}.{name}"}}
    if passes:
        check_trust(config, [own_package])
    else:
        with pytest.raises(InputError, match="not a class or function that own_package defines"):
            check_trust(config, [own_package])


def test_of_a_trusted_library_only_modules_pass():
    check_trust({"pooling": {"_target_": "torch.nn.Identity"}}, ["torch"])
    check_trust(
        {"test_transform": {"transforms": [{"_target_": "albumentations.CLAHE"}]}}, ["albumentations"]
    )
    for target in (
        "torch.load",
        "torch.hub.load",
        "torch.nn.modules.module.torch.load",
        "torch.package.PackageImporter",
    ):
        with pytest.raises(InputError, match="not a class or function that torch defines for a model"):
            check_trust({"pooling": {"_target_": target}}, ["torch"])
    with pytest.raises(InputError, match=r"albumentations\.save"):
        check_trust({"test_transform": {"_target_": "albumentations.save"}}, ["albumentations"])


def test_a_package_that_is_not_there_is_named():
    with pytest.raises(
        InputError, match=r"nowhere_to_be.Found at neck, which cannot be found; .* PYTHONPATH"
    ):
        check_trust({"neck": {"_target_": "nowhere_to_be.Found"}}, ["nowhere_to_be"])


def nested(levels):
    config = {}
    for _ in range(levels):
        config = {"a": [config]}
    return config


def bomb():
    config = ["a"]
    for _ in range(25):
        config = [config] * 4
    return config


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"a": ["${oc.env:HOME}"]}, r"interpolation at 'a\[0\]'"),
        ({"${oc.env:HOME}": 1}, "interpolation"),
        ({"a": {1, 2}}, "holds a set at 'a'"),
        ({("a",): 1}, "a key that is neither text nor a number"),
        (nested(10_000), "nested too deeply"),
        (bomb(), "too large"),
    ],
)
def test_only_plain_values_pass(config, message):
    with pytest.raises(InputError, match=message):
        check_plain(config)
    check_plain({"a": [1, 2.5, None, True, "text $x"], 1: {}})


@pytest.mark.parametrize(
    "target", ["numpy.load", "pandas.read_pickle", "joblib.load", "hydra.utils.get_method", "wandb.Api"]
)
def test_trusted_dependencies_bring_no_functions(target):
    """They are libraries, too: only their modules may be parts of a model."""
    with pytest.raises(InputError, match=r"is not a class or function that .* defines for a model"):
        check_trust({"neck": {"_target_": target}}, [target.partition(".")[0]])
