"""Checkpoints and weight files that try to run, read, write or fetch something: one sentence, and nothing happens."""

import os
import pickle
import sys
import zipfile
from itertools import pairwise

import pytest
import torch
from checkpoints import TINY, recorded, reid, trained  # noqa: F401

from reid_lightning.errors import InputError
from reid_lightning.experiments.checkpoint import load_module
from reid_lightning.experiments.checks import check_weights
from reid_lightning.experiments.evaluate import evaluate
from reid_lightning.experiments.resume import resumed_from
from reid_lightning.inference.embed import Embedder

GROUP = "Foreign code"
EXEC = "torch.fx.graph_module._exec_with_source"
BACKBONES = "reid_lightning.models.convolutional_backbones"
TIMM = "reid_lightning.models.timm_backbone.TimmBackbone"
CALLS = {  # what would run, write, read or fetch something, with its arguments; CANARY is written, SECRET is read
    EXEC: {"src": "open('CANARY', 'w')", "globals": {}},
    "builtins.exec": {"_args_": ["open('CANARY', 'w')"]},
    "builtins.eval": {"_args_": ["open('CANARY', 'w')"]},
    "builtins.open": {"file": "CANARY", "mode": "w"},
    "builtins.__import__": {"name": "evil_module"},
    "os.system": {"command": "touch CANARY"},
    "posix.system": {"command": "touch CANARY"},
    "os.posix_spawn": {"_args_": ["/usr/bin/touch", ["touch", "CANARY"], {}]},
    "subprocess.run": {"args": ["touch", "CANARY"]},
    "functools.partial": {"_args_": ["os.system", "touch CANARY"]},
    "importlib.import_module": {"name": "evil_module"},
    "runpy.run_path": {"path_name": "SECRET"},
    "pathlib.Path.write_text": {"_args_": ["CANARY", "x"]},
    "pickle.loads": {"data": "x"},
    "evil_module.run": {},
    "evil_module": {},
    "torch.load": {"f": "SECRET", "weights_only": False},
    "torch.nn.modules.module.torch.load": {"f": "SECRET", "weights_only": False},
    "torch.serialization.load": {"f": "SECRET", "weights_only": False},
    "torch.save": {"obj": 1, "f": "CANARY"},
    "torch.hub.load": {"repo_or_dir": "SECRET", "model": "x", "source": "local"},
    "torch.hub.download_url_to_file": {"url": "http://localhost/x", "dst": "CANARY"},
    "torch.ops.load_library": {"path": "SECRET"},
    "torch.utils.cpp_extension.load_inline": {"name": "x", "cpp_sources": ["int x;"]},
    "torch.jit.load": {"f": "SECRET"},
    "torch.package.PackageImporter": {"file_or_buffer": "SECRET"},
    "torch.nn.modules.module.Module.__subclasses__": {},
    "torch.nn.Module.__init__.__globals__": {},
    "timm.create_model": {"model_name": "resnet10t", "checkpoint_path": "SECRET"},
    "timm.models.load_checkpoint": {"model": 1, "checkpoint_path": "SECRET"},
    "albumentations.save": {"transform": {}, "filepath_or_buffer": "CANARY"},
    "albumentations.load": {"filepath_or_buffer": "SECRET"},
    "hydra.utils.instantiate": {"config": {"_target_": "os.system", "command": "touch CANARY"}},
    "hydra.utils.get_method": {"path": "os.system"},
    "hydra.main": {},
    "omegaconf.OmegaConf.load": {"file_": "SECRET"},
    "lightning.pytorch.Trainer": {"default_root_dir": "CANARY"},
    "lightning.pytorch.callbacks.ModelCheckpoint": {"dirpath": "CANARY"},
    "lightning.pytorch.cli.LightningCLI": {},
    "reid_lightning.engine.loggers.wandb_logger": {"save_dir": "CANARY"},
    "reid_lightning.data.pedestrians.dataset.read_pedestrians": {"root": "CANARY", "train_identities": 2},
    "reid_lightning.experiments.compose.run": {"overrides": ["output_dir=CANARY"]},
    "reid_lightning.experiments.checkpoint.torch.load": {"f": "SECRET", "weights_only": False},
    "reid_lightning.models.weights.load_weights": {"module": 1, "path": "SECRET"},
}
PLACES = {  # dotted keys: where an object is built
    "backbone": "backbone",
    "pooling": "pooling",
    "neck": "neck",
    "classifier": "classifier",
    "evaluation": "evaluation",
    "test_transform": "test_transform",
    "nested": "neck.x",
    "in_a_list": "test_transform.transforms[0]",
    "task": "tasks.x",
    "report": "reports.x",
    "rerank": "evaluation.rerank",
    "schema": "attributes.schema",
    "reader": "data.sources.x",
    "nowhere": "something.else",
    "deep": "tasks.identity.a.b.c[0].d",
}


class Runs:
    """Runs a command when it is unpickled."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A file that must not be written, one that must not be read, and a module that must not be imported."""
    (tmp_path / "secret").write_bytes(b"secret")
    evil = tmp_path / "evil"
    evil.mkdir()
    (evil / "evil_module.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w')\ndef run(**_): ...\n")
    monkeypatch.syspath_prepend(evil)
    return {"CANARY": str(tmp_path / "canary"), "SECRET": str(tmp_path / "secret")}


def filled(value, places):
    """Return arguments with the names of the places."""
    if isinstance(value, dict):
        return {key: filled(item, places) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, places) for item in value]
    if isinstance(value, str):
        for name, path in places.items():
            value = value.replace(name, path)
    return value


def put(content, key, value):
    """Set a dotted key of the config in a checkpoint, `[0]` for a list of one."""
    node = content["reid_lightning"]["config"]
    steps = key.replace("[0]", ".0").split(".")
    for name, following in pairwise(steps):
        if isinstance(node, list):
            node.append({})
            node = node[0]
            continue
        if not isinstance(node.get(name), dict | list):
            node[name] = [] if following == "0" else {}
        node = node[name]
    if isinstance(node, list):
        node.append(value)
    else:
        node[steps[-1]] = value


def nothing_happened(events, places):
    """Assert that nothing was started, connected, imported, read or written that a stranger has named."""
    assert not os.path.exists(places["CANARY"])
    assert "evil_module" not in sys.modules
    for event, what in events:
        assert event in ("open", "import"), (event, what)
        assert what not in (*places.values(), "evil_module"), (event, what)


def refused(path, tmp_path, places):
    """Assert that every way to build refuses the file in one sentence, and return it."""
    with recorded() as events:
        with pytest.raises(InputError) as error:
            load_module(path)
        with pytest.raises(InputError):
            evaluate(path, tmp_path / "evaluation")
    nothing_happened(events, places)
    sentence = str(error.value)
    assert "\n" not in sentence
    assert str(path) in sentence
    return sentence


@pytest.mark.fault(GROUP, "a checkpoint's config names a function that runs, reads, writes or fetches")
@pytest.mark.parametrize("target", CALLS)
def test_a_call_in_the_config(trained, tmp_path, places, seen, target):  # noqa: F811
    node = {"_target_": target, **filled(CALLS[target], places)}
    path = trained.changed(tmp_path / "x.ckpt", lambda content: put(content, "backbone", node))
    seen(refused(path, tmp_path, places))


@pytest.mark.fault(GROUP, "the same anywhere in the config")
@pytest.mark.parametrize("target", [EXEC, "evil_module.run"])
@pytest.mark.parametrize("place", PLACES)
def test_a_call_anywhere(trained, tmp_path, places, place, target):  # noqa: F811
    def change(content):
        transform = {"_target_": "albumentations.Compose", "transforms": []}
        content["reid_lightning"]["config"]["test_transform"] = transform
        put(content, PLACES[place], {"_target_": target, **filled(CALLS[target], places)})

    refused(trained.changed(tmp_path / "x.ckpt", change), tmp_path, places)


TRICKS = {
    "interpolated_target": ("backbone._target_", "torch.${oc.env:NOPE,hub.load}"),
    "interpolated_value": ("backbone.name", "${oc.env:HOME}"),
    "interpolated_key": ("backbone.${oc.env:HOME}", 1),
    "own_resolver": ("backbone._target_", "${if_set:${seed},os.system,os.system}"),
    "decode": ("backbone._target_", "${oc.decode:os.system}"),
    "escaped": ("backbone._target_", r"\${oc.env:HOME}"),
    "list": ("backbone._target_", ["os.system"]),
    "mapping": ("backbone._target_", {"_target_": "os.system"}),
    "number": ("backbone._target_", 1),
    "spaces": ("backbone._target_", f" {BACKBONES}.resnet10"),
    "newline": ("backbone._target_", f"{BACKBONES}.resnet10\n"),
    "homoglyph": ("backbone._target_", f"{BACKBONES}.r\u0435snet10"),
    "empty": ("backbone._target_", ""),
    "dots": ("backbone._target_", "..os.system"),
    "yaml_tag": ("backbone._target_", "!!python/object/apply:os.system"),
    "positional": ("backbone._args_", ["touch CANARY"]),
    "not_recursive": ("backbone._recursive_", False),
    "conversion": ("backbone._convert_", "object"),
    "dunder": ("backbone.__class__", "os.system"),
    "partial": ("backbone._partial_", True),
    "reader_as_task": ("tasks.x._target_", "reid_lightning.data.pedestrians.dataset.read_pedestrians"),
    "loss_as_report": ("reports.x._target_", "reid_lightning.losses.triplet.TripletLoss"),
    "hub_name": ("backbone", {"_target_": TIMM, "name": "hf-hub:evil/model", "weights": "imagenet"}),
    "local_name": ("backbone", {"_target_": TIMM, "name": "local-dir:SECRET", "weights": "imagenet"}),
    "pretrained_url": (
        "backbone",
        {
            "_target_": TIMM,
            "name": "resnet10t",
            "weights": None,
            "pretrained_cfg": {"url": "http://localhost/x"},
        },
    ),
    "weights_of_osnet": ("backbone", {"_target_": f"{BACKBONES}.osnet", "weights": "SECRET"}),
    "dotted_key": (
        "backbone",
        {"_target_": f"{BACKBONES}.resnet10", "body.evil": {"_target_": "evil_module.run"}},
    ),
}


@pytest.mark.fault(
    GROUP, "a disguised name, an interpolation, an instruction of Hydra's, or a dangerous argument"
)
@pytest.mark.parametrize("trick", TRICKS)
def test_a_trick(trained, tmp_path, places, trick):  # noqa: F811
    key, value = TRICKS[trick]
    path = trained.changed(tmp_path / "x.ckpt", lambda content: put(content, key, filled(value, places)))
    refused(path, tmp_path, places)


@pytest.mark.fault(GROUP, "a checkpoint that runs code when it is unpickled")
@pytest.mark.parametrize("key", ["state_dict", "reid_lightning", "config", "legacy"])
def test_code_in_the_pickle(trained, tmp_path, places, seen, key):  # noqa: F811
    def change(content):
        node = content["reid_lightning"] if key == "config" else content
        node[key] = Runs(places["CANARY"])

    path = trained.changed(tmp_path / "x.ckpt", change)
    if key == "legacy":
        path.write_bytes(pickle.dumps({"state_dict": Runs(places["CANARY"])}))
    seen(refused(path, tmp_path, places))


@pytest.mark.fault(GROUP, "a config of 10,000 levels, or of 4^25 values that share their memory")
@pytest.mark.parametrize("kind", ["deep", "wide"])
def test_a_config_without_end(trained, tmp_path, places, kind):  # noqa: F811
    def change(content):
        value = ["x"]
        if kind == "wide":
            for _ in range(25):
                value = [value] * 4
        content["reid_lightning"]["config"]["x"] = value

    path = trained.changed(tmp_path / "x.ckpt", change)
    if kind == "deep":
        nest_pickle(path, 10_000)
    refused(path, tmp_path, places)


def nest_pickle(path, levels):
    """Replace the pickle in a checkpoint by one of nested lists, which Python's own pickler refuses to write."""
    with zipfile.ZipFile(path) as file:
        members = {info: file.read(info) for info in file.infolist()}
    config = (
        b"\x80\x02}X\x0e\x00\x00\x00reid_lightning}X\x06\x00\x00\x00config"
        + b"]" * levels
        + b"a" * (levels - 1)
    )
    with zipfile.ZipFile(path, "w") as file:
        for info, content in members.items():
            file.writestr(info, config + b"ss." if info.filename.endswith("data.pkl") else content)


@pytest.mark.fault(GROUP, "a checkpoint names a file or a folder as an argument of an allowed class")
def test_weights_and_roots_of_the_config_are_not_touched(trained, tmp_path, places, seen):  # noqa: F811
    def change(content):
        put(content, "backbone.weights", places["SECRET"])
        put(content, "data.sources.pedestrians.root", places["CANARY"])

    path = trained.changed(tmp_path / "x.ckpt", change)
    with recorded() as events:
        load_module(path)
        Embedder(path)
        with pytest.raises(InputError, match=r"data\.sources\.pedestrians\.root=.* is not there") as error:
            evaluate(path, tmp_path / "evaluation")
    nothing_happened(events, places)
    seen(error.value)


@pytest.mark.fault(GROUP, "what only a training needs names foreign code")
def test_what_only_a_training_builds_is_not_even_imported(trained, tmp_path, places, seen):  # noqa: F811
    keys = (
        "loss.own",
        "callbacks.own",
        "logger.own",
        "optimizer",
        "scheduler",
        "sampler",
        "miner",
        "hydra.x",
    )

    def change(content):
        for key in (*keys, "augmentation", "pretraining"):
            put(content, key, {"_target_": "evil_module.run"})

    path = trained.changed(tmp_path / "x.ckpt", change)
    with recorded() as events:
        load_module(path)
        Embedder(path)
        evaluate(path, tmp_path / "evaluation")
    nothing_happened(events, places)
    seen("the numbers, as of any checkpoint")


@pytest.mark.fault(GROUP, "a training is resumed from a checkpoint whose config names foreign code")
@pytest.mark.parametrize("key", ["tasks.x", "tasks.identity", "backbone"])
def test_resuming_imports_nothing_that_the_file_names(trained, compose, tmp_path, places, seen, key):  # noqa: F811
    path = trained.changed(
        tmp_path / "x.ckpt", lambda content: put(content, key, {"_target_": "evil_module.run"})
    )
    config = compose(*TINY, "callbacks=average", "trainer.max_epochs=2", f"resume={path}")
    with recorded() as events, pytest.raises(InputError, match=r"the network of .* is another one") as error:
        resumed_from(config, tmp_path)
    nothing_happened(events, places)
    seen(error.value)


@pytest.mark.fault(GROUP, "a file of weights that runs code when it is unpickled")
@pytest.mark.parametrize("ending", [".pth", ".ckpt", ".safetensors", ".pickle", ".npz"])
@pytest.mark.parametrize("part", ["backbone", "parts"])
def test_code_in_a_file_of_weights(compose, tmp_path, places, seen, ending, part):
    path = tmp_path / f"weights{ending}"
    torch.save({"state_dict": {"conv1.weight": Runs(places["CANARY"])}}, path)
    config = compose(*TINY, "parts=pose", f"{part}.weights={path}")
    with recorded() as events, pytest.raises(InputError) as error:
        check_weights(config)
    assert f"{part}.weights={path} cannot be read as weights" in str(error.value)
    nothing_happened(events, places)
    seen(error.value)


@pytest.mark.fault(GROUP, "a file of weights that runs code, before any image is drawn or decoded")
def test_weights_are_read_before_images(commands, tmp_path, places, seen):
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": {"conv1.weight": Runs(places["CANARY"])}}, path)
    cache = tmp_path / "cache"
    arguments = (*TINY, f"backbone.weights={path}", f"hydra.run.dir={tmp_path}/run")
    ended = commands.run("train.py", *arguments, REID_LIGHTNING_CACHE=str(cache))
    assert not os.path.exists(places["CANARY"])
    assert not cache.exists()
    assert f"backbone.weights={path} cannot be read as weights" in ended.sentence
    seen(ended.sentence)


@pytest.mark.fault(GROUP, "a class of the user's own package, with and without --trust")
def test_trust_on_the_command_line(trained, monkeypatch, capsys, tmp_path, seen):  # noqa: F811
    (tmp_path / "own_heads.py").write_text(
        "from reid_lightning.models.pooling import AveragePooling\nclass Own(AveragePooling): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    path = trained.changed(
        tmp_path / "own.ckpt", lambda content: put(content, "pooling", {"_target_": "own_heads.Own"})
    )
    people = tmp_path / "people.npz"
    lines = {
        "evaluate": (path, "--output", tmp_path / "evaluation"),
        "embed": (path, trained.images, tmp_path / "vectors.npz"),
        "enrol": (path, trained.images, people),
        "identify": (path, people, trained.images, "--output", tmp_path / "names.csv"),
    }
    for command, arguments in lines.items():
        code, said = reid(monkeypatch, capsys, command, *arguments)
        assert code == 2
        assert "own_heads.Own at pooling" in said
        assert "--trust own_heads" in said
        seen(said.removeprefix("error: "))
        code, said = reid(monkeypatch, capsys, command, *arguments, "--trust", "own_heads")
        assert code == 0, said
