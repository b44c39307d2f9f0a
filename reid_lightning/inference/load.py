"""A trained model from a checkpoint, a folder or Hugging Face: `reid_lightning.load`."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from reid_lightning.arguments import as_texts, shown
from reid_lightning.config.resolve import instantiate
from reid_lightning.engine.checkpoint_entry import CHECKPOINT_KEY
from reid_lightning.errors import InputError
from reid_lightning.experiments.checkpoint import build_read, read_checkpoint, read_described
from reid_lightning.experiments.model_places import local_path
from reid_lightning.inference.backends import ExportedBackend, TorchBackend
from reid_lightning.inference.model import Model
from reid_lightning.results.card_facts import CardFacts, facts_beside
from reid_lightning.runtime.sessions import is_exported, open_session
from reid_lightning.systems.attributes.task import saved_form


def load(
    path: str | os.PathLike[str],
    device: str | torch.device | None = None,
    trust: Sequence[str] = (),
    overrides: Sequence[str] = (),
) -> Model:
    """Return a trained model, ready to embed images.

    Args:
        path: A checkpoint of a run, the folder of a saved model, an exported file (`.onnx`, or OpenVINO's `.xml`),
            `hf://OWNER/REPO`, with `@REVISION` if wanted, or `small`, which comes with the package.
        device: Where it works, such as "cpu", "cuda:1" or "mps"; None: a GPU (CUDA, or else Apple's) where there is one and
            the config's `trainer.accelerator` is not "cpu", and the CPU otherwise.
        trust: Packages of your own that its config may name, such as `["my_package"]`; their code is run.
        overrides: Hydra overrides of its config, such as `["evaluation.flip=true"]`.

    Raises:
        InputError: The model cannot be found or used, or names code outside reid-lightning and the trusted packages.
    """
    place, overrides, trust = local_path(path), as_texts(overrides, "overrides"), as_texts(trust, "trust")
    if is_exported(place):
        return load_exported(place, overrides)
    checkpoint, entry = read_checkpoint(place)
    module, config = build_read(checkpoint, place, overrides, trust)
    where = usable_device(device, config["trainer"]["accelerator"])
    facts = facts_beside(place, entry)
    return Model(TorchBackend(module), config, checkpoint[CHECKPOINT_KEY], facts, where, module.calibration)


def load_exported(path: Path, overrides: Sequence[str] = ()) -> Model:
    """Return the model of a file that `reid export` has written.

    Args:
        path: A `.onnx` file, or the `.xml` of OpenVINO.
        overrides: None is possible: what a vector depends on is a part of the file.

    Raises:
        InputError: The file cannot be used, or its engine is not installed.
    """
    if overrides:
        raise InputError(
            f"{path} was exported with its settings, so {overrides[0]} cannot be changed: override it in `reid export`"
        )
    session = open_session(path)
    told = session.facts
    entry, config, protocol, calibration = read_described(told.model, path)
    schema = form = None
    if told.attributes:
        schema = instantiate((config["attributes"] or {}).get("schema"), "attributes.schema")
        if schema is None or {one.name: list(one.classes) for one in schema} != told.attributes:
            raise InputError(f"the attributes of {path} do not fit its config: export the model again")
        form = saved_form(entry["tasks"].get("attributes", {}))
    engine = ExportedBackend(session, protocol, schema, form)
    config["data"] = config["data"] | {"image_size": list(told.image_size)}
    return Model(
        engine, config, entry, CardFacts.from_dict(entry.get("card")), torch.device("cpu"), calibration
    )


def usable_device(device: str | torch.device | None, accelerator: str = "auto") -> torch.device:
    """Return a device that works here.

    Args:
        device: The one wanted; None: the best one.
        accelerator: Lightning's word for what may be chosen; "cpu" leaves GPUs alone.

    Raises:
        InputError: It is not a device, or not here.
    """
    if device is None:
        if accelerator == "cpu":
            device = "cpu"
        elif torch.cuda.is_available():
            device = "cuda"
        else:
            device = "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        where = torch.device(device)
    except (RuntimeError, TypeError, OverflowError) as error:
        raise InputError(
            f"device={device if isinstance(device, str) else shown(device)} is not a device; use one such as cpu, cuda or "
            "cuda:1"
        ) from error
    try:
        torch.zeros(1, device=where)
    except (
        RuntimeError,
        AssertionError,
        NotImplementedError,
    ) as error:  # PyTorch is built without it, or it is not here
        raise InputError(
            f"device={device} cannot be used on this machine; use cpu, or leave it out for the best one"
        ) from error
    return where
