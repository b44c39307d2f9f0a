"""The tensors of another project's file, read without running or unpickling anything."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reid_lightning.errors import InputError
from reid_lightning.experiments.checkpoint_shape import is_whole
from reid_lightning.experiments.imports.imported import Project
from reid_lightning.files import is_compressed
from reid_lightning.models.weights import SAVED_NUMBERS

_WRAPPERS = ("state_dict", "model", "net", "network")  # what others put the tensors under, outermost first
_PARALLEL = "module."  # of DataParallel


_NOT_WEIGHTS = "not a weight of the network"


def read_state(path: Path, project: Project) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a file by name, on the CPU, and what else it holds.

    Args:
        path: `.pth`, `.pt`, `.tar`, `.ckpt` or `.safetensors`.
        project: Where it comes from, for the advice.

    Returns:
        The tensors without wrappers, and the names of everything else with the reason why it is not used.

    Raises:
        InputError: The file is absent, unreadable, holds more than tensors and numbers, or a tensor is damaged.
    """
    state, others = _tensors(_content(path, project), path)
    while all(name.startswith(_PARALLEL) for name in state):
        state = {name.removeprefix(_PARALLEL): tensor for name, tensor in state.items()}
    for name, tensor in state.items():
        if not is_whole(tensor):
            raise InputError(f"{path} is damaged: {name} claims more values than the file holds")
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise InputError(f"{path} is damaged: {name} holds values that are not finite; use another file")
    return state, others


def _content(path: Path, project: Project) -> Any:
    if path.is_dir():
        raise InputError(f"{path} is a folder; name the file of weights in it")
    if not path.is_file():
        raise InputError(
            f"there is no file {path}; name the file of weights that {project.title} has written"
        )
    if is_compressed(path):
        raise InputError(
            f"{path} is compressed and may expand to more than the memory holds: unpack it, or save its weights with "
            "torch.save"
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        with torch.serialization.safe_globals(SAVED_NUMBERS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(
            f"{path} cannot be read ({type(error).__name__}): it is damaged, or it holds more than tensors, which is never "
            f"loaded; if you trust it, write a plain file where {project.title} is installed and import that:\n"
            f"{project.plain.format(file=path.name)}"
        ) from error


def _tensors(content: Any, path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    others: list[str] = []
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            others += [str(name) for name in content if name != wrapper]
            content = content[wrapper]
    named = content.items() if isinstance(content, Mapping) else ()
    tensors = {name: value for name, value in named if isinstance(name, str) and isinstance(value, Tensor)}
    others += [str(name) for name, _ in named if name not in tensors]
    if not tensors:
        raise InputError(
            f"{path} holds no tensors by name but a {type(content).__name__}; give a file of weights, as "
            "torch.save(model.state_dict(), FILE) writes it"
        )
    return tensors, dict.fromkeys(others, _NOT_WEIGHTS)
