"""The nearest right name for what a command line misspells."""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import hydra
import yaml
from hydra.errors import HydraException

from reid_lightning.config.options import options as options_of
from reid_lightning.config.renamed import SETTINGS
from reid_lightning.config.resolve import CONF, leaves, nearest_key, plain_unresolved

FILLS = {"task": "tasks", "report": "reports"}  # groups whose options fill a key of another name

# What other programs call a setting. A key stands for itself; anything else completes "there is no setting KEY; ".
_BATCH = (
    "a training batch has sampler.identities x sampler.images_per_identity images (or sampler.batch_size with "
    "sampler=shuffle), and an evaluation takes data.batch_size"
)
_DEVICES = "choose trainer.devices=N and trainer.accelerator=cpu or gpu"
_EPOCHS, _DATA = "trainer.max_epochs", "choose data=NAME, which `reid list data` shows"
SLIPS = {
    "accelerator": "trainer.accelerator",
    "arch": "choose backbone=NAME, which `reid list backbone` shows",
    "architecture": "choose backbone=NAME, which `reid list backbone` shows",
    "batch": _BATCH,
    "batch_size": _BATCH,
    "bs": _BATCH,
    "checkpoint": "give resume=FILE to continue a run, or backbone.weights=FILE to start from its weights",
    "ckpt": "give resume=FILE to continue a run, or backbone.weights=FILE to start from its weights",
    "cuda": "choose trainer.accelerator=gpu",
    "data_dir": "choose data=NAME and data.root=DIR",
    "data_path": "choose data=NAME and data.root=DIR",
    "data_root": "choose data=NAME and data.root=DIR",
    "dataset": _DATA,
    "datasets": _DATA,
    "device": _DEVICES,
    "devices": _DEVICES,
    "early_stopping": "choose callbacks=early_stopping",
    "epochs": _EPOCHS,
    "gpu": _DEVICES,
    "gpus": _DEVICES,
    "height": "data.image_size",
    "image_size": "data.image_size",
    "img_size": "data.image_size",
    "input_size": "data.image_size",
    "learning_rate": "optimizer.lr",
    "logdir": "give hydra.run.dir=DIR",
    "lr": "optimizer.lr",
    "margin": "loss.triplet.margin",
    "max_epochs": _EPOCHS,
    "model": "choose backbone=NAME, which `reid list backbone` shows",
    "momentum": "optimizer.optimizer.momentum (with optimizer=sgd)",
    "name": "name the folder of the run by hydra.run.dir=DIR, or a timm model by backbone=timm backbone.name=NAME",
    "network": "choose backbone=NAME, which `reid list backbone` shows",
    "num_epochs": _EPOCHS,
    "num_gpus": _DEVICES,
    "num_workers": "data.num_workers",
    "out": "give hydra.run.dir=DIR",
    "output": "give hydra.run.dir=DIR",
    "output_folder": "give hydra.run.dir=DIR",
    "precision": "trainer.precision",
    "pretrained": "choose backbone.weights=imagenet, backbone.weights=FILE or backbone.weights=null",
    "root": "choose data=NAME and data.root=DIR",
    "run_dir": "give hydra.run.dir=DIR",
    "save_dir": "give hydra.run.dir=DIR",
    "wd": "optimizer.weight_decay",
    "weight_decay": "optimizer.weight_decay",
    "weights": "choose backbone.weights=imagenet, backbone.weights=FILE or backbone.weights=null",
    "width": "data.image_size",
    "workers": "data.num_workers",
}


def hints(arguments: Sequence[str]) -> list[str]:
    """Return a sentence for every override that names a key or option that does not exist.

    Args:
        arguments: The command line without the program.

    Examples:
        >>> hints(["loss.triplet.margn=1", "backbone=resnet5"])
        ['there is no option backbone=resnet5; did you mean backbone=resnet50? (`reid list backbone` shows all)']
        >>> hints(["lr=1e-3"])
        ['there is no setting lr; did you mean optimizer.lr?']
        >>> hints(["evaluation.metric=euclidean"])
        ['evaluation.metric is now evaluation.distance']
        >>> hints(["miner.search=faiss"])
        ['there is no setting miner.search here; it belongs to miner=offline_hard']
    """
    overrides = dict(
        argument.split("=", 1)
        for argument in arguments
        if "=" in argument and argument[0] not in "~-" and not argument.startswith("hydra.")
    )
    overrides = {key.lstrip("+"): value for key, value in overrides.items() if key[0] != "+" or "@" in key}
    options = {
        str(folder.relative_to(CONF)): [option.name for option in options_of(str(folder.relative_to(CONF)))]
        for folder in CONF.rglob("*")
        if folder.is_dir()
    }
    elsewhere = any(re.match(r"--config-(dir|path)|-c[dp]|hydra\.searchpath", line) for line in arguments)
    found = [f"{key} is now {SETTINGS[key]}" for key in overrides if key in SETTINGS]
    for key, values in overrides.items():
        group = key.partition("@")[0]  # miner@loss.triplet.miner is of the group miner
        if group not in options:
            continue
        for option in values.strip("[]").split(","):
            if not re.fullmatch(r"[\w./-]+", option) or option in (*options[group], "null"):
                continue  # choice(...), glob(...)
            near = difflib.get_close_matches(option, options[group], 1, 0.5)
            if not near and (elsewhere or group.startswith("hydra/")):
                continue
            where = f"`reid list {group}` shows all"
            said = f"did you mean {key}={near[0]}? ({where})" if near else where
            if group == "backbone" and not near:
                said += ", and backbone=timm backbone.name=NAME takes any model of timm"
            found.append(f"there is no option {key}={option}; {said}")
    if not found:
        keys = [key for key in overrides if key.partition("@")[0] not in options]
        found += _key_hints(keys, overrides, options)
    return found


def _key_hints(keys: Sequence[str], overrides: dict[str, str], options: dict[str, list[str]]) -> list[str]:
    choices = [
        f"{key}={value}"
        for key, value in overrides.items()
        if key in options and ("," not in value or value[0] == "[")
    ]
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            config = hydra.compose("config", choices)
    except HydraException:
        return []
    known = dict.fromkeys(options) | plain_unresolved(config)
    return [_key_hint(key, known, options) for key in keys if key not in dict(leaves(known))]


def _key_hint(key: str, known: dict[str, Any], options: dict[str, list[str]]) -> str:
    """Return the sentence for a key that a config does not have."""
    group, slip = key.split(".", 1)[0], SLIPS.get(key.rsplit(".", 1)[-1].lower().replace("-", "_"))
    if key == "data.root":
        return (
            "there is no setting data.root here; it belongs to a data set on disk: choose that too, such as "
            "data=market1501, data=identity_folder or data=table"
        )
    if group in options and known.get(group) is None and "." in key:
        choices = [name for name in options[group] if name != "none"]
        return (
            f"there is no setting {key} here; it needs an option of its group, such as {group}={choices[0]}"
        )
    if slip and (
        group not in options or "." not in key or slip.startswith((f"{group}.", f"choose {group}."))
    ):
        is_key = re.fullmatch(r"[\w.]+( \(.*\))?", slip)
        return f"there is no setting {key}; {f'did you mean {slip}?' if is_key else slip}"
    near = nearest_key(key, known)
    if near and near != key:
        return f"there is no setting {key}; did you mean {near}?"
    if choices := _options_with(key, options):
        return f"there is no setting {key} here; it belongs to {_choices(group, choices)}"
    return f"there is no setting {key}; `python train.py --cfg job` shows all, and +{key}=... adds one of your own"


def _choices(group: str, names: Sequence[str]) -> str:
    shown = [f"{group}={name}" for name in names[:4]]
    return f"{', '.join(shown[:-1])} or {shown[-1]}" if shown[1:] else shown[0]


def _options_with(key: str, options: dict[str, list[str]]) -> list[str]:
    """Return the options of the key's group that have its field, as `miner=offline_hard` has `miner.search`."""
    group, *fields = key.split(".")
    found = []
    for name in options.get(group, []):
        node = yaml.safe_load((CONF / group / f"{name}.yaml").read_text(encoding="utf-8")) or {}
        if any(_has(each, fields) for each in (node, node.get(group))):
            found.append(name)
    return found


def _has(node: Any, fields: Sequence[str]) -> bool:
    for field in fields:
        if not isinstance(node, Mapping) or field not in node:
            return False
        node = node[field]
    return bool(fields)
