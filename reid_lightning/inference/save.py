"""A trained model as a folder: what `reid save` does."""

from collections.abc import Sequence
from pathlib import Path

from reid_lightning.experiments.model_folder import CARD, CONFIG, WEIGHTS, require_no_model
from reid_lightning.experiments.quiet import quiet
from reid_lightning.files import folder_for
from reid_lightning.inference.load import load
from reid_lightning.reporting.terminal import say


def save(
    checkpoint: Path,
    folder: Path,
    license: str | None = None,
    with_labels: bool = True,
    trust: Sequence[str] = (),
    overwrite: bool = False,
) -> None:
    """Save the model of a checkpoint with `Model.save_pretrained` and say what was written.

    Args:
        checkpoint: A checkpoint file written by a run, or the folder of a saved model.
        folder: Made if it is not there.
        license: For the card, an identifier such as "cc-by-nc-4.0".
        with_labels: Whether the names of the training's people are kept.
        trust: Packages of your own that the checkpoint's config may name; their code is run.
        overwrite: Whether a model that the folder holds is replaced.

    Raises:
        InputError: The checkpoint cannot be used, or the folder holds a model already or cannot be written to.
    """
    quiet()
    require_no_model(folder, overwrite)
    with folder_for(folder):
        model = load(checkpoint, device="cpu", trust=trust)
        model.save_pretrained(folder, license, with_labels)
    say(f"{folder}: {WEIGHTS}, {CONFIG} and {CARD}; use the folder instead of the checkpoint")
