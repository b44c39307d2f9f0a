"""A trained model from its checkpoint alone."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch.nn import Module, Parameter
from torch.nn.modules.module import register_module_parameter_registration_hook

from reid_lightning import __version__
from reid_lightning.config.renamed import current_state, current_targets, task_facts, with_reports, with_tasks
from reid_lightning.config.schema import added_later, as_evaluated
from reid_lightning.config.trust import check_plain, check_trust
from reid_lightning.engine.checkpoint_entry import CHECKPOINT_KEY
from reid_lightning.engine.trained import TrainedModule
from reid_lightning.errors import InputError
from reid_lightning.experiments.calibrated import calibration_for
from reid_lightning.experiments.checkpoint_overrides import override
from reid_lightning.experiments.checkpoint_shape import check_checkpoint, check_entry, check_resumable
from reid_lightning.experiments.checks import check_evaluation
from reid_lightning.experiments.factory import (
    build_inference_module,
    build_trained_module,
    protocol_of_images,
)
from reid_lightning.experiments.model_folder import is_model_folder, read_model_folder
from reid_lightning.files import is_compressed
from reid_lightning.retrieval.calibration import Calibration
from reid_lightning.retrieval.protocol import EvaluationProtocol

if TYPE_CHECKING:
    from reid_lightning.engine.module import ReIDModule

_Module = TypeVar("_Module", TrainedModule, "ReIDModule")
_LOSSES = "objective.losses."  # weights that only a training reads
_SPARE_PARAMETERS = 10_000_000
_EXPORTED = (".onnx", ".xml", ".pt2")


def read_checkpoint(path: str | Path, mmap: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a checkpoint without running or importing anything that it names.

    Args:
        path: A checkpoint file written by a run, or the folder of a saved model.
        mmap: Whether tensors stay in the file until they are used.

    Returns:
        The checkpoint, and its entry of ours: `version`, `config`, `identity_labels`.

    Raises:
        InputError: The file is absent, cannot be read, or is not a checkpoint of this project.
    """
    path = Path(path)
    checkpoint = read_model_folder(path) if is_model_folder(path) else _read_file(path, mmap)
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get(CHECKPOINT_KEY), dict):
        raise InputError(
            f"{path} is not a checkpoint of reid-lightning: it carries no config; convert a model of another project "
            "with `reid import`, or start a training from its weights with backbone.weights"
        )
    entry = checkpoint[CHECKPOINT_KEY]
    if entry.get("config") == {}:
        raise InputError(
            f"{path} carries no config, because its module was built without one: load it with "
            "ReIDModule.load_from_checkpoint(path, network=...)"
        )
    check_plain(entry.get("config"), f"the config of {path}")
    check_checkpoint(checkpoint, path)
    for name, tensor in checkpoint["state_dict"].items():
        if name.startswith("network.") and tensor.is_floating_point() and not tensor.isfinite().all():
            raise InputError(
                f"the weights of {path} are damaged: {name} holds values that are not finite; use another checkpoint"
            )
    with _reading(path, entry):
        entry["config"] = completed(entry["config"])
        entry["tasks"] = task_facts(entry)
    return checkpoint, entry


def _read_file(path: Path, mmap: bool) -> Any:
    if path.is_dir():
        raise InputError(
            f"{path} is a folder and not a saved model; name a file in it, such as checkpoints/best.ckpt"
        )
    if not path.is_file():
        raise InputError(
            f"there is no checkpoint {path}; a run writes checkpoints/best.ckpt into its folder, and small is the model "
            "that comes with the package"
        )
    if path.suffix in _EXPORTED:
        raise InputError(
            f"{path} is an exported model, which this cannot use: name the checkpoint or the saved model that it comes from"
        )
    if is_compressed(path):
        raise InputError(
            f"{path} cannot be read as a checkpoint: it is compressed, which no run writes, and may expand to more than the "
            "memory holds; use a file that a run of reid-lightning has written"
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:
        raise InputError(
            f"{path} cannot be read as a checkpoint: it is damaged, or it holds more than tensors and plain settings, "
            "which is never loaded; use a file that a run of reid-lightning has written"
        ) from error


def read_resumable(path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a checkpoint to continue its training; see `read_checkpoint`.

    Raises:
        InputError: As there, or it lacks what a training continues with.
    """
    checkpoint, entry = read_checkpoint(path, mmap=True)
    check_resumable(checkpoint, path)
    return checkpoint, entry


@contextmanager
def _reading(path: Path, entry: Mapping[str, Any], by_itself: bool = True) -> Iterator[None]:
    """Report whatever a file makes fail within the block in one sentence that names it.

    Args:
        path: The file.
        entry: Its entry of ours.
        by_itself: Whether nothing but the file can be the cause.
    """
    try:
        yield
    except InputError as error:
        if by_itself and str(path) not in str(error):
            raise InputError(f"{path} cannot be used, because of its config: {error}") from error
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or "no reason given"
        written, ours = entry.get("version"), f"this is {__version__}"
        version = "" if written == __version__ else f"; it was written by version {written} and {ours}"
        raise InputError(
            f"{path} cannot be used, because its model cannot be built from its config ({type(error).__name__}: "
            f"{reason}){version}"
        ) from error


def completed(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of an earlier version with what has been added since."""
    present = added_later() | with_reports(with_tasks(current_targets(config)))
    present["data"] = {"damaged": "error"} | dict(present.get("data") or {})
    evaluation = present["evaluation"]
    if str(evaluation["_target_"]).endswith(f".{EvaluationProtocol.__name__}"):
        defaults = {field.name: field.default for field in fields(EvaluationProtocol)}
        lists = {name: list(value) for name, value in defaults.items() if isinstance(value, tuple)}
        present["evaluation"] = defaults | lists | dict(evaluation)
    return present


def load_module(
    path: str | Path, overrides: Sequence[str] = (), trust: Sequence[str] = ()
) -> "tuple[ReIDModule, dict[str, Any]]":
    """Rebuild the module of a checkpoint with its weights, without what only a training needs (losses, optimizer).

    Args:
        path: A checkpoint file written by a run, or the folder of a saved model.
        overrides: Hydra overrides of its config, such as `evaluation=torchreid` or `data.root=DIR`.
        trust: Packages of your own that its config may name, such as `["my_package"]`; their code is run.

    Returns:
        The module in evaluation mode, and the plain config that it was built from.

    Raises:
        InputError: The file cannot be used, or names code outside reid-lightning and the trusted packages.
    """
    checkpoint, _ = read_checkpoint(path)
    return _built(checkpoint, path, overrides, trust, True, build_trained_module)


def build_read(
    checkpoint: Mapping[str, Any], path: str | Path, overrides: Sequence[str] = (), trust: Sequence[str] = ()
) -> tuple[TrainedModule, dict[str, Any]]:
    """Build what a checkpoint that `read_checkpoint` has read says, to work on images of no data set.

    The config that is returned has neither data sources nor reports, so that those of a user's own need no trust.

    Args:
        checkpoint: Its content.
        path: Where it was read.
        overrides: As of `load_module`, like what follows.
        trust: Packages whose code may be run.

    Raises:
        InputError: As of `load_module`.
    """
    return _built(checkpoint, path, overrides, trust, False, build_inference_module)


def read_described(
    entry: Mapping[str, Any], path: Path
) -> tuple[dict[str, Any], dict[str, Any], EvaluationProtocol, Calibration | None]:
    """Read what is said of a model whose weights stand elsewhere, such as in an exported file.

    Args:
        entry: As a checkpoint has it, not looked at before.
        path: Where it was read.

    Returns:
        The entry and its config, both completed, the protocol, and what distances mean.

    Raises:
        InputError: It is not what a run writes, or names code outside reid-lightning.
    """
    check_plain(entry.get("config"), f"the config of {path}")
    check_entry(entry, path)
    read = dict(entry)
    with _reading(path, entry):
        read["config"] = completed(entry["config"])
        read["tasks"] = task_facts(entry)
        config = read["config"] | as_evaluated() | {"reports": {}}
        config["data"] = config["data"] | {"sources": {}}
        config.pop("hydra", None)
        check_trust(config, (), f"the config of {path}")
        protocol = protocol_of_images(config)
        return read, config, protocol, calibration_for(read, config)


def _built(
    checkpoint: Mapping[str, Any],
    path: str | Path,
    overrides: Sequence[str],
    trust: Sequence[str],
    has_data: bool,
    build: Callable[[dict[str, Any], Mapping[str, int]], _Module],
) -> tuple[_Module, dict[str, Any]]:
    path, entry = Path(path), checkpoint[CHECKPOINT_KEY]
    config = override(entry["config"], overrides) | as_evaluated()
    config.pop("hydra", None)
    with _reading(path, entry, by_itself=not overrides):
        if not has_data:
            config |= {"data": {**config["data"], "sources": {}}, "reports": {}}
        for part in ("backbone", "parts"):
            if "weights" in (config.get(part) or {}):
                config[part] = config[part] | {"weights": None}  # the checkpoint's weights follow
        check_trust(config, [trust] if isinstance(trust, str) else trust, f"the config of {path}")
        check_evaluation(config, has_data)
        with _no_larger_than(checkpoint["state_dict"], path):
            module = build(config, entry["identity_labels"])
        _load_weights(module, checkpoint["state_dict"], path, bool(overrides))
        for task in module.tasks:
            task.restore(entry["tasks"].get(task.name, {}))
        module.calibration = calibration_for(entry, config)
    module.eval()
    return module, config


@contextmanager
def _no_larger_than(state: Mapping[str, Any], path: Path) -> Iterator[None]:
    """Refuse to build a network far larger than the weights that it is to get, before it takes the memory.

    Libraries make a classifier that is dropped at once, so that a network may pass twice its size on the way.
    """
    limit = 2 * sum(tensor.numel() for tensor in state.values()) + _SPARE_PARAMETERS
    parameters = 0

    def count(module: Module, name: str, parameter: Parameter | None) -> None:
        nonlocal parameters
        parameters += 0 if parameter is None else parameter.numel()
        if parameters > limit:
            raise InputError(
                f"the network of the config of {path} is larger than the weights in the file: the file is damaged or was "
                "changed"
            )

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def _load_weights(module: Module, state: Mapping[str, Any], path: Path, overridden: bool) -> None:
    """Load the weights of a checkpoint; those of losses are left out."""
    kept = {name: tensor for name, tensor in current_state(state).items() if not name.startswith(_LOSSES)}
    try:
        module.load_state_dict(kept)
    except RuntimeError as error:
        if overridden:
            raise InputError(
                f"the weights of {path} fit the network that they were trained in, not the one that the overrides make; "
                "only data, evaluation and trainer can be changed"
            ) from error
        raise InputError(
            f"the weights of {path} do not fit the network of its config: the file is damaged or was changed"
        ) from error
