"""A trained model as a folder: its weights as safetensors, what builds its network as JSON, and its card.

The folder is laid out as Hugging Face expects it, so that `huggingface_hub` can upload it as it is. Nothing in it is run:
both files hold plain values, which pass the same checks as a checkpoint.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from reid_lightning import __version__
from reid_lightning.config.schema import as_evaluated
from reid_lightning.engine.checkpoint_entry import CHECKPOINT_KEY
from reid_lightning.errors import InputError
from reid_lightning.files import atomic_path, read_own, require_writable

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
LIBRARY, FORMAT = "reid-lightning", 1
LEFT_OUT = "(left out of the saved model)"
"""Stands for a place on the machine that trained the model, which is nobody else's business."""
_LARGEST = 64_000_000  # bytes of config.json


def is_model_folder(path: Path) -> bool:
    """Tell whether a path is a folder that holds a saved model, or a part of one."""
    return path.is_dir() and any((path / name).exists() for name in (WEIGHTS, CONFIG))


def read_model_folder(folder: Path) -> dict[str, Any]:
    """Return a saved model as the content of a checkpoint; `check_checkpoint` has not looked at it.

    Raises:
        InputError: A file is missing, damaged or of another program, or the weights are not those that were saved.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise InputError(f"{folder} is not a whole saved model: it has no file {name}; save it again")
    content = _read_json(folder / CONFIG)
    if content.get("library") != LIBRARY:
        raise InputError(
            f"{folder / CONFIG} is not of a model that reid-lightning has saved; to start a training from the weights, name "
            f"{folder / WEIGHTS} with backbone.weights"
        )
    if content.get("format") != FORMAT:
        raise InputError(
            f"{folder / CONFIG} has another format than the one that this version reads, which is {FORMAT}; use the version "
            "of reid-lightning that saved the model"
        )
    if content.get("weights_sha256") != digest_of(folder / WEIGHTS):
        raise InputError(
            f"{folder / WEIGHTS} does not hold the weights that {CONFIG} was saved with: one of them is damaged or was "
            "changed; save or download the model again"
        )
    entry = {name: value for name, value in content.items() if name not in _OF_FOLDER}
    return {"state_dict": _read_weights(folder / WEIGHTS), CHECKPOINT_KEY: entry}


_OF_FOLDER = ("library", "format", "weights_sha256", "image_size", "attributes", "protocol")


def require_no_model(folder: Path, overwrite: bool) -> None:
    """Refuse a folder that holds a file which a saved model would replace.

    Args:
        folder: That the model is to be written into.
        overwrite: Whether files are to be replaced.

    Raises:
        InputError: It holds such a file, and it is not to be replaced.
    """
    there = [name for name in (WEIGHTS, CONFIG, CARD) if os.path.lexists(folder / name)]
    if there and not overwrite:
        raise InputError(
            f"{folder} holds {' and '.join(there)} already: choose another folder, or replace "
            f"{'it' if len(there) == 1 else 'them'} with --overwrite."
        )


def write_model_folder(
    folder: Path, state: Mapping[str, Tensor], entry: Mapping[str, Any], card: str, facts: Mapping[str, Any]
) -> None:
    """Write a model into a folder, each file atomically.

    Args:
        folder: Made if it is not there; other files in it stay.
        state: Weights of the module, without those of losses.
        entry: Of its checkpoint, see `ReIDModule.on_save_checkpoint`; places on this machine are left out.
        card: Content of `README.md`.
        facts: Further plain facts for readers of `config.json`: `image_size`, `attributes`, `protocol`.

    Raises:
        InputError: The folder cannot be written to, or JSON cannot hold the config.
    """
    from safetensors.torch import save

    require_writable(folder)
    weights = save(own_memory(state))  # save_file would let nobody else read the file
    content = {
        "library": LIBRARY,
        "format": FORMAT,
        **entry,
        **facts,
        "version": entry.get("version", __version__),
        "config": without_places(entry["config"]),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    if _has_other_keys(content):
        raise InputError(
            "the config of the model has a key that is not text, which JSON cannot hold: quote it in the YAML"
        )
    try:
        text = json.dumps(content, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"the config of the model cannot be written as JSON: {error}") from error
    for name, written in ((WEIGHTS, weights), (CONFIG, f"{text}\n".encode()), (CARD, card.encode())):
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(written)


def own_memory(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors in rows of memory of their own, which is how safetensors holds them."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}


def without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config without what only a training needs and without places on this machine.

    Examples:
        >>> found = without_places({"data": {"sources": {"a": {"root": "photos"}}}, "x": ["/home/me"], "seed": 1})
        >>> found["data"]["sources"]["a"]["root"] == LEFT_OUT, found["x"] == [LEFT_OUT], found["seed"]
        (True, True, 1)
    """
    kept = {name: value for name, value in config.items() if name != "hydra"} | as_evaluated()
    for part in ("backbone", "parts"):
        if isinstance(kept.get(part), Mapping) and "weights" in kept[part]:
            kept[part] = {**kept[part], "weights": None}  # the model's own follow
    return {name: _without_places(value, name) for name, value in kept.items()}


def _without_places(value: Any, key: str) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_places(item, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_places(item, "") for item in value]
    is_place = isinstance(value, str) and (key in ("root", "output_dir") or value.startswith(("/", "~")))
    if is_place and key != "camera_pattern":  # a regular expression
        return None if key == "attributes" else LEFT_OUT  # no file of attributes: as by default
    return value


def _has_other_keys(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(not isinstance(name, str) or _has_other_keys(item) for name, item in value.items())
    return isinstance(value, list) and any(map(_has_other_keys, value))


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_json(path: Path) -> dict[str, Any]:
    wanted = "save or download the model again"
    try:
        content = json.loads(read_own(path, _LARGEST), parse_constant=_refuse_constant)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); {wanted}") from error
    except (ValueError, RecursionError) as error:  # bytes that are not UTF-8 among them
        raise InputError(f"{path} cannot be read as JSON ({_short(error)}); {wanted}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold a JSON object, and holds a {type(content).__name__}; {wanted}")
    return content


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number in JSON")


def _short(error: BaseException) -> str:
    return (
        "it is nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())[:200]
    )


def _read_weights(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except Exception as error:
        raise InputError(
            f"{path} cannot be read as safetensors ({' '.join(str(error).split())[:200]}): it is damaged; save or download "
            "the model again"
        ) from error
