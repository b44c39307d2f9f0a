"""Files of Hugging Face: downloaded once, or an answer at once why they cannot be."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from reid_lightning.errors import InputError
from reid_lightning.files import read_own
from reid_lightning.models.weights import reach

_REPOSITORY = r"(?P<repo>[\w.-]+/[\w.-]+?)(@(?P<revision>[\w.-]+))?"
_FILE = re.compile(rf"hf://{_REPOSITORY}/(?P<file>[\w./-]+)", re.ASCII)
_TIMM = re.compile(rf"hf[-_]hub:{_REPOSITORY}", re.ASCII)
_LARGEST = 1_000_000  # bytes of a config.json


def download_from_hub(
    repo: str, files: Sequence[str], revision: str | None = None, instead: str = ""
) -> Path:
    """Return the folder with some files of a repository; an earlier copy serves where there is no network.

    Args:
        repo: OWNER/NAME.
        files: Their names in it.
        revision: Branch, tag or commit; None: the newest.
        instead: What can be done without a network, in words.

    Raises:
        InputError: Hugging Face does not answer and there is no copy, or it has no such repository.
    """
    import huggingface_hub
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    name = f"hf://{repo}" + (f"@{revision}" if revision else "")
    why = "the environment says HF_HUB_OFFLINE"
    if not constants.HF_HUB_OFFLINE:
        try:
            reach(constants.ENDPOINT)  # once: the library tries for minutes
            return Path(
                huggingface_hub.snapshot_download(repo, revision=revision, allow_patterns=list(files))
            )
        except RevisionNotFoundError as error:
            raise InputError(
                f"{name} has no revision {revision}; name a branch, a tag or a commit"
            ) from error
        except GatedRepoError as error:
            raise InputError(
                f"{name} wants its conditions to be accepted: do so on its page, and log in with `hf auth login`"
            ) from error
        except RepositoryNotFoundError as error:
            raise InputError(
                f"{name} does not exist, or is private: correct the name, or log in with `hf auth login`"
            ) from error
        except OSError as error:
            why = f"{constants.ENDPOINT} does not answer ({type(error).__name__})"
    try:
        copy = huggingface_hub.snapshot_download(
            repo, revision=revision, allow_patterns=list(files), local_files_only=True
        )
        return Path(copy)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{name} cannot be downloaded, and there is no earlier copy: {why}; {instead}"
        ) from error


def is_hub_file(weights: str) -> bool:
    """Return whether weights name a file of Hugging Face."""
    return weights.startswith("hf:")


def hub_file(weights: str) -> Path:
    """Return the copy of a file `hf://OWNER/REPO/FILE`, with `@REVISION` after the repository if wanted.

    Raises:
        InputError: It is not so named, does not exist, or cannot be downloaded.
    """
    found = _FILE.fullmatch(weights)
    if found is None or ".." in found["file"]:
        raise InputError(
            f"{weights} does not name a file of Hugging Face: write hf://OWNER/REPO/FILE, such as "
            "hf://timm/resnet18.a1_in1k/model.safetensors"
        )
    fetch = f"fetch {found['file']} on another machine and name the file"
    wanted = [found["file"], "config.json"]  # which says how images come in
    path = download_from_hub(found["repo"], wanted, found["revision"], fetch) / found["file"]
    if not path.is_file():
        raise InputError(f"hf://{found['repo']} has no file {found['file']}; look at its list of files")
    return path


def is_hub_model(name: str) -> bool:
    """Return whether a model of timm is named by its repository."""
    return name.startswith(("hf-hub:", "hf_hub:"))


def hub_model(name: str) -> tuple[str, Path]:
    """Return architecture and weights of a timm model that is named as timm does, `hf-hub:OWNER/REPO`.

    Raises:
        InputError: It is not so named, cannot be downloaded, or its config does not name a plain model of timm.
    """
    found = _TIMM.fullmatch(name)
    if found is None:
        raise InputError(f"backbone.name={name} does not name a repository: write hf-hub:OWNER/REPO")
    instead = "fetch model.safetensors on another machine, and give the architecture's name and backbone.weights=FILE"
    folder = download_from_hub(
        found["repo"], ["config.json", "model.safetensors"], found["revision"], instead
    )
    file, config = folder / "model.safetensors", folder / "config.json"
    try:
        content = json.loads(read_own(config, _LARGEST))
    except (OSError, ValueError, RecursionError):
        content = None
    architecture = content.get("architecture") if isinstance(content, dict) else None
    if not isinstance(architecture, str) or not file.is_file():
        raise InputError(
            f"backbone.name={name} is not a model of timm: it has no config.json with an architecture, or no "
            "model.safetensors; name a single file of it with backbone.weights=hf://OWNER/REPO/FILE"
        )
    if isinstance(content, dict) and content.get("model_args"):
        raise InputError(
            f"backbone.name={name} is a changed {architecture} (model_args in its config.json), which cannot be built; "
            "choose a model without"
        )
    return architecture, file
