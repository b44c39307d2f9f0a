"""A saved model goes to Hugging Face: what `reid push` and `Model.push_to_hub` do."""

import os
import re
from pathlib import Path

from reid_lightning.errors import InputError
from reid_lightning.experiments.model_folder import CARD, CONFIG, WEIGHTS, read_model_folder
from reid_lightning.models.weights import reach
from reid_lightning.reporting.terminal import say

EXPORTED = ("*.onnx", "*.onnx.json", "*.xml", "*.xml.json", "*.bin", "*.pt2", "*.pt2.json")
_REPOSITORY = re.compile(r"(hf://)?(?P<repo>[\w.-]+/[\w.-]+)", re.ASCII)


def push(
    folder: str | os.PathLike[str],
    repo: str,
    private: bool = True,
    revision: str | None = None,
    message: str | None = None,
) -> str:
    """Upload a saved model, and exported files that lie beside it, as one commit.

    Nothing else in the folder is uploaded. The token is that of `hf auth login` or of the environment's `HF_TOKEN`.

    Args:
        folder: That `reid save` or `Model.save_pretrained` wrote.
        repo: OWNER/NAME; made where it is not there.
        private: Whether a new repository is private; an existing one stays as it is.
        revision: Branch, made where it is not there; None: the main one.
        message: Of the commit; None: the name of the model.

    Returns:
        Address of the commit.

    Raises:
        InputError: The folder is not a whole saved model, the name is none, nobody is logged in, or Hugging Face refuses or
            does not answer.
    """
    place = Path(folder).expanduser()
    named = _REPOSITORY.fullmatch(repo)
    if named is None or ".." in repo:
        raise InputError(f"{repo} does not name a repository of Hugging Face: write OWNER/NAME")
    if not place.is_dir():
        raise InputError(f"{place} is not the folder of a saved model; `reid save` makes one")
    content = read_model_folder(place)  # digests and all
    if not (place / CARD).is_file():
        raise InputError(f"{place} has no card ({CARD}): save the model again")
    _say_of_people(content)
    name = named["repo"]
    try:
        return _uploaded(place, name, private, revision, message or f"Upload {name.partition('/')[2]}")
    except InputError:
        raise
    except Exception as error:
        raise _explained(error, name) from error


def _say_of_people(content: dict[str, object]) -> None:
    entry = content.get("reid_lightning")
    labels = entry.get("identity_labels") if isinstance(entry, dict) else None
    named = [name for name in labels or () if not str(name).isdigit()]
    if named:
        say(
            f"{CONFIG} names {len(named)} people of the training; `reid save --no-labels` leaves them out",
            "yellow",
        )


def _uploaded(place: Path, repo: str, private: bool, revision: str | None, message: str) -> str:
    from huggingface_hub import HfApi, constants

    try:
        reach(constants.ENDPOINT)
    except OSError as error:
        raise InputError(
            f"{constants.ENDPOINT} does not answer ({type(error).__name__}): upload {place} from a machine with a network"
        ) from error
    api = HfApi()
    api.create_repo(repo, private=private, exist_ok=True)
    if revision is not None:
        api.create_branch(repo, branch=revision, exist_ok=True)
    commit = api.upload_folder(
        repo_id=repo,
        folder_path=place,
        revision=revision,
        commit_message=message,
        allow_patterns=[WEIGHTS, CONFIG, CARD, *EXPORTED],
    )
    return str(commit.commit_url)


def _explained(error: Exception, repo: str) -> InputError:
    from huggingface_hub.errors import LocalTokenNotFoundError

    answers = (getattr(one, "response", None) for one in (error, error.__cause__))
    status = next((answer.status_code for answer in answers if answer is not None), None)
    if isinstance(error, LocalTokenNotFoundError) or status == 401:
        return InputError(f"hf://{repo} cannot be written: log in with `hf auth login`, or set HF_TOKEN")
    if status == 403:
        return InputError(f"hf://{repo} cannot be written: the token has no right to write there")
    reason = " ".join(str(error).split())[:200]
    return InputError(f"hf://{repo} cannot be written ({reason}); nothing was committed: try again")
