"""Where a model lies that is named: a file, a folder, one of Hugging Face, or one that comes with the package."""

import os
import re
from pathlib import Path

import reid_lightning
from reid_lightning.arguments import as_path
from reid_lightning.errors import InputError
from reid_lightning.experiments.model_folder import CARD, CONFIG, WEIGHTS
from reid_lightning.models.hub import download_from_hub

READY = Path(reid_lightning.__file__).parent / "inference" / "ready"
"""Models that come with the package, a folder each."""

_HUB = re.compile(r"hf:/{1,2}(?P<repo>[\w.-]+/[\w.-]+?)(@(?P<revision>[\w./-]+))?", re.ASCII)
_OF_HUB = ("hf:", "https://huggingface.co/")


def local_path(path: str | os.PathLike[str]) -> Path:
    """Return where a model lies on this machine; one of Hugging Face is downloaded once.

    A name such as `small` is a model of the package, unless a file is called so.

    Raises:
        InputError: Hugging Face does not answer, or has no such model.
    """
    text = os.fspath(as_path(path, "The path of a model")) if not isinstance(path, str) or not path else path
    if not text.startswith(_OF_HUB):
        return READY / text if comes_along(text) else Path(text).expanduser()
    found = _HUB.fullmatch(text)
    if found is None:
        raise InputError(
            f"{text} does not name a model of Hugging Face: write hf://OWNER/REPO or hf://OWNER/REPO@REVISION"
        )
    instead = f"fetch {CONFIG} and {WEIGHTS} on another machine and give their folder"
    return download_from_hub(found["repo"], [WEIGHTS, CONFIG, CARD], found["revision"], instead)


def comes_along(name: str) -> bool:
    """Return whether a name is that of a model of the package, and not of a file."""
    return re.fullmatch(r"\w+", name) is not None and (READY / name).is_dir() and not os.path.lexists(name)
