"""No training step waits for the device: nothing in it asks for a value or a length that only the device knows.

A processor runs the same operators as a GPU, so that watching them there shows where a GPU would be waited for.
"""

import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from lightning import Callback, LightningDataModule
from lightning.pytorch.callbacks import RichProgressBar
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader

import reid_lightning
from reid_lightning.config.resolve import CONF, instantiate
from reid_lightning.engine.callbacks.freeze_backbone import FreezeBackbone
from reid_lightning.engine.metrics_file import MetricsFile
from reid_lightning.experiments.factory import build_module
from reid_lightning.experiments.quiet import quiet

PACKAGE = str(Path(reid_lightning.__file__).parent)
OPERATORS = {  # whose result or whose length must be known on the host
    "_local_scalar_dense", "is_nonzero", "equal", "nonzero", "nonzero_numpy", "masked_select", "_unique", "_unique2",
    "unique_dim", "unique_consecutive", "unique_dim_consecutive", "bincount", "histc", "linalg_inv_ex",
}  # fmt: skip
CALLS = {torch.Tensor.cpu, torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.__array__}
FACTORIES = {torch.tensor, torch.as_tensor}
INHERENT = {  # where a wait stays, and why
    "losses/triplet_costs.py in mean_cost_of_all": "how many pairs show one person is known to the device alone",
    "losses/quadruplet.py in quadruplet_term": "likewise",
    "mining/semi_hard.py in forward": "likewise, and how many of these have a farther negative",
    "mining/batch_hard.py in forward": "the list for a loss that takes no padding, of another library",
    "pytorch_metric_learning": "another library's way",
    "torch/optim": "steps are counted on the host",
}


class Waits(TorchDispatchMode):
    """Counts in `found`, where there is a counter, what makes the host wait, and the innermost place in the package.

    Tensors that were brought to the host, or made there, may be asked freely, and so may what is computed from them.
    """

    def __init__(self):
        super().__init__()
        self.found, self.hosted = None, {}
        self.calls = _Calls(self)

    def __enter__(self):
        self.calls.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self.calls.__exit__(*error)

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        hosted = bool(tensors) and all(self.is_hosted(tensor) for tensor in tensors)
        if not hosted and waits(operator, args, kwargs):
            self.note(str(operator))
        result = operator(*args, **kwargs)
        if hosted:
            self.host(result)
        return result

    def host(self, result):
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                storage = leaf.untyped_storage()
                self.hosted[storage._cdata] = storage  # kept, so that no other takes its place

    def is_hosted(self, tensor):
        return tensor.untyped_storage()._cdata in self.hosted

    def note(self, what):
        if self.found is not None:
            place = where()
            if not any(known in place for known in INHERENT):
                self.found[f"{what} at {place}"] += 1


class _Calls(TorchFunctionMode):
    """Sees what a CPU does without any operator: tensors that come to the host, or numbers that go to the device."""

    def __init__(self, waits):
        super().__init__()
        self.waits = waits

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        hosted = bool(args) and isinstance(args[0], torch.Tensor) and self.waits.is_hosted(args[0])
        if function in CALLS and not hosted:
            self.waits.note(function.__name__)
        if function in FACTORIES and kwargs.get("device") is not None:
            self.waits.note(f"{function.__name__} to the device")
        if function is torch.Tensor.__getitem__ and any(isinstance(leaf, int) for leaf in listed(args[1])):
            self.waits.note("a list as index")
        if function is torch.Tensor.cpu and not hosted:
            result = args[0].clone()
            self.waits.host(result)
            return result
        result = function(*args, **kwargs)
        if function in FACTORIES and kwargs.get("device") is None:
            self.waits.host(result)
        return result


def listed(index):
    """What lists in an index hold."""
    parts = index if isinstance(index, tuple) else (index,)
    return [leaf for part in parts if isinstance(part, list) for leaf in part]


def waits(operator, args, kwargs):
    """Tell whether an operator makes the host wait for what its inputs hold."""
    name = operator.overloadpacket.__name__
    if name == "repeat_interleave":
        return operator is torch.ops.aten.repeat_interleave.Tensor and kwargs.get("output_size") is None
    if name in ("index", "index_put", "index_put_", "_index_put_impl_"):  # a mask has to be counted first
        masks = any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
        return masks and (name == "index" or args[2].dim() > 0)
    return name in OPERATORS


def where():
    """The innermost frame within the package, and what it calls that is no part of torch."""
    frame, outside = sys._getframe(1), ""
    while frame is not None:
        file, name = frame.f_code.co_filename, frame.f_code.co_name
        if file.startswith(PACKAGE):
            return f"{file.removeprefix(PACKAGE)[1:]} in {name}{outside}"
        if "/torch/optim/" in file:
            return "torch/optim"
        if not outside and "/torch/" not in file and file != __file__:
            outside = f", {file.split('site-packages/')[-1]} in {name}"
        frame = frame.f_back
    return outside


class Arm(Callback):
    """Counts apart the waits of steps that log and of others; the first step makes what lasts and is left out."""

    def __init__(self, watch):
        self.watch, self.plain, self.logging = watch, Counter(), Counter()

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        logs = (batch_idx + 1) % trainer.log_every_n_steps == 0 or trainer.is_last_batch
        self.watch.found = (self.logging if logs else self.plain) if batch_idx else None

    def on_train_epoch_end(self, trainer, pl_module):
        self.watch.found = None


class Batches(LightningDataModule):
    """The same few batches on end, ready on the device."""

    def __init__(self, batch, count):
        super().__init__()
        self.train_batches = [batch] * count

    def train_dataloader(self):
        return DataLoader(self.train_batches, batch_size=None)

    val_dataloader = train_dataloader  # not used


IDENTITIES = [
    0,
    0,
    1,
    0,
    0,
    2,
    3,
    3,
    4,
    1,
    1,
    0,
]  # triplets in a row, as an offline miner wants; 2 and 4 appear once


def a_batch(heads=12, size=(32, 16)):
    torch.manual_seed(0)
    labels = torch.tensor(IDENTITIES)
    return {
        "images": torch.randint(0, 256, (len(labels), 3, *size), dtype=torch.uint8),
        "labels": labels,
        "person_ids": labels,
        "camera_ids": torch.zeros_like(labels),
        "attributes": torch.randint(-1, 2, (len(labels), heads)),
        "index": torch.arange(len(labels)),
    }


def waits_of(config, callbacks=(), size=(32, 16)):
    """What a run's steps wait for: those that do not log, and the two that do."""
    quiet()
    module = build_module(config, num_identities=5)
    batch = a_batch(
        len(config["attributes"]["schema"].get("attributes", range(12))) if config["attributes"] else 12, size
    )
    settings = {
        name: value for name, value in config["trainer"].items() if name not in ("max_epochs", "accelerator")
    }
    with Waits() as watch:
        arm = Arm(watch)
        trainer = instantiate(
            settings | {"devices": 1, "limit_val_batches": 0, "log_every_n_steps": 3},
            max_epochs=1, accelerator="cpu", logger=MetricsFile(config["output_dir"]), callbacks=[arm, *callbacks],
            default_root_dir=config["output_dir"], enable_checkpointing=False, enable_model_summary=False,
            enable_progress_bar=any(isinstance(callback, RichProgressBar) for callback in callbacks),
        )  # fmt: skip
        trainer.fit(module, Batches(batch, 5))
    assert trainer.global_step == 5
    return arm.plain, arm.logging


def options(*groups):
    """Every option of some groups of the config."""
    return [f"{group}={file.stem}" for group in groups for file in sorted(CONF.glob(f"{group}/*.yaml"))]


_JIGSAW = ["backbone=transreid", "backbone.name=test_vit", "backbone.patch_stride=4"]
COMPANIONS = {  # what an option needs beside it
    "loss=part_identity": ["parts=stripes"],
    "loss=aligned": ["parts=aligned"],
    "loss=spatial_channel": ["parts=scp"],
    "loss=jigsaw": _JIGSAW,
    "parts=jigsaw": [*_JIGSAW, "loss=[triplet,jigsaw]"],
    "backbone=transreid": _JIGSAW[1:],
    "parts=stripes": ["loss=[triplet,part_identity]"],
    "parts=aligned": ["loss=aligned"],
    "parts=scp": ["loss=[triplet,spatial_channel]"],
    "backbone=timm": ["backbone.name=resnet10t"],
    "pooling=token": ["backbone=timm", "backbone.name=test_vit"],
    "backbone=mildnet": ["data.image_size=[64,32]"],  # it halves five times
    "trainer=ddp_cpu": ["trainer.devices=1"],
}


def check(compose, *choices, **settings):
    companions = [setting for choice in choices for setting in COMPANIONS.get(choice, [])]
    config = compose("data.image_size=[32,16]", "data.weights=null", *choices, *companions)
    plain, logging = waits_of(config, size=config["data"]["image_size"], **settings)
    assert not plain
    assert logging["cpu at engine/module.py in _log_step"] == 2
    assert sum(logging.values()) <= 2 * (
        2 + len(config["loss"])
    )  # for the terms, for what is logged, for each watch


VECTOR_LOSSES = [
    file.stem for file in sorted(CONF.glob("loss/*.yaml")) if f"loss={file.stem}" not in COMPANIONS
]


@pytest.mark.parametrize(
    "choices",
    [
        (f"loss=[{','.join(VECTOR_LOSSES)}]", "loss.triplet.reduction=mean_active"),
        (f"loss=[{','.join(VECTOR_LOSSES)}]", "miner=batch_all", "classifier=arcface"),
        ("loss=lossless", "miner=offline_random", "parts=none", "classifier=none"),
        ("parts=stripes",),
        ("parts=aligned",),
        ("parts=jigsaw",),
        ("attributes=market12", "attributes.loss.class_weights=balanced", "attributes.loss.focal=2.0"),
        ("attributes=market12", "attributes.heads.reweighting=false", "miner=semi_hard"),
        ("trainer.precision=bf16-mixed", "trainer.gradient_clip_val=1.0"),
        ("loss=[triplet,contrastive]", "memory.size=64", "memory.warmup=0"),
    ],
    ids=" ".join,
)
def test_no_step_waits(compose, choices):
    check(compose, *choices)


GROUPS = ("loss", "miner", "classifier", "parts", "attributes", "backbone", "pooling", "neck", "optimizer")
LARGER_ONES = {
    f"backbone={name}" for name in ("resnet101", "resnet50", "resnet50_narrow", "osnet_x1_0", "vgg16")
}


@pytest.mark.slow
@pytest.mark.parametrize("choice", [choice for choice in options(*GROUPS) if choice not in LARGER_ONES])
def test_no_option_waits(compose, choice):
    check(compose, choice)


def test_no_callback_waits(compose):
    config = compose("callbacks=average", "data.image_size=[32,16]")
    per_run = [node for name, node in config["callbacks"].items() if name not in ("best", "last")]
    callbacks = [instantiate(node) for node in per_run]
    check(
        compose, "trainer.gradient_clip_val=1.0", callbacks=[*callbacks, FreezeBackbone(1), RichProgressBar()]
    )


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(), lambda x: bool(x.any()), lambda x: x.nonzero(), lambda x: x[x > 0], lambda x: x.tolist(),
        lambda x: x.cpu(), lambda x: x.unique(), lambda x: torch.where(x > 0), lambda x: x.masked_select(x > 0),
        lambda x: x.index_put((x > 0,), torch.ones(4)), lambda x: x.long().bincount(), lambda x: torch.equal(x, x + 1),
        lambda x: x.repeat_interleave(x.long()), lambda x: x[[0, 1]], lambda x: torch.tensor([1.0], device=x.device),
    ],
)  # fmt: skip
def test_what_waits_is_found(wait):
    x = torch.ones(4)
    with Waits() as watch:
        watch.found = Counter()
        wait(x)
        assert watch.found


def test_what_does_not_wait_is_not_found():
    x = torch.ones(4)
    with Waits() as watch:
        watch.found = Counter()
        x.masked_fill(x > 0, 0)[torch.zeros_like(x).long()].clamp(min=1)
        x.clone()[x > 0] = 0.0
        x.repeat_interleave(2)
        torch.nonzero_static(x, size=4)
        assert not watch.found
        known = torch.stack([x.sum(), x.mean()]).cpu()
        assert watch.found.pop(next(iter(watch.found))) == 1
        assert (known * 2).unbind()[0].item() == 8
        assert not watch.found
