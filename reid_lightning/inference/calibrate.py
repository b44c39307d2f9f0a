"""What a model's distances mean, measured on labeled images of one's own: what `reid calibrate` does."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from reid_lightning.errors import InputError
from reid_lightning.experiments.model_folder import require_no_model
from reid_lightning.experiments.quiet import quiet
from reid_lightning.files import folder_for
from reid_lightning.inference.gallery.images import image_rows
from reid_lightning.inference.load import load
from reid_lightning.inference.model import Model
from reid_lightning.reporting.terminal import say
from reid_lightning.retrieval.calibration import LEAST_SAME, Calibration
from reid_lightning.retrieval.matches import Side
from reid_lightning.retrieval.protocol import EvaluationProtocol

NAMED = 3  # people of the training who are listed in a message
FEW = (
    f"The images have too few pairs: {LEAST_SAME} of one person, by two cameras where cameras are known, and more of two "
    "people are needed; give more images."
)


def calibrate(
    checkpoint: Path,
    images: Sequence[Path],
    folder: Path,
    overrides: Sequence[str] = (),
    trust: Sequence[str] = (),
    overwrite: bool = False,
) -> Calibration:
    """Measure what a model's distances mean on images of known people, and save the model with it.

    The people must be others than those of the training, whose images lie nearer to each other than those of strangers.
    Every image is compared with every other; where cameras are known, images of one person by one camera are left out,
    unless the model's protocol compares them.

    Args:
        checkpoint: A checkpoint file written by a run, or the folder of a saved model.
        images: Folders with a folder per person, and tables with columns `path`, `person_id` and, where known,
            `camera_id`; rows without a person are left out.
        folder: For the saved model, see `Model.save_pretrained`.
        overrides: Hydra overrides of the checkpoint's `evaluation`, which are saved as well.
        trust: Packages of your own that the checkpoint's config may name; their code is run.
        overwrite: Whether a model that the folder holds is replaced.

    Raises:
        InputError: An override is of another key, it is not known whom the images show, they have too few pairs, one cannot
            be read, or the folder holds a model already or cannot be written to.
    """
    for override in overrides:
        if not override.lstrip("+~").startswith("evaluation"):
            raise InputError(
                f"{override} would not be saved with the model: override keys of evaluation alone."
            )
    quiet()
    require_no_model(folder, overwrite)
    table = _people(images)
    with folder_for(folder):
        model = load(checkpoint, trust=trust, overrides=overrides)
        _ = model.module  # an exported model is refused before the work
        if model.protocol.tracklets is not None:
            raise InputError(
                "The vectors of pooled tracklets lie nearer than those of images: calibrate with "
                "evaluation.tracklets=null."
            )
        _say_trained(table, model)
        vectors = model.embed(table["path"].tolist())
        model.calibration = found = calibration_of_images(vectors, table, model.protocol)
        model.save_pretrained(folder)
    off = "" if found.error is None else f", off by {100 * found.error:.1f} % on average"
    say(
        f"{folder}: probabilities from {found.same_pairs:,} pairs of one person and {found.different_pairs:,} of two, of "
        f"{found.people:,} people{off}; use the folder instead of the checkpoint"
    )
    return found


def _say_trained(table: pd.DataFrame, model: Model) -> None:
    """Warn of people who may be those of the training."""
    people = _names(table)
    trained = sorted(people & {name.rpartition("/")[2] for name in model.identity_labels})
    if trained:
        shown = ", ".join(trained[:NAMED]) + (" ..." if len(trained) > NAMED else "")
        say(
            f"{len(trained)} of {len(people)} people are called like people of the training ({shown}): if it is they, the "
            "calibration is too confident",
            "bold yellow",
        )


def calibration_of_images(vectors: Tensor, table: pd.DataFrame, protocol: EvaluationProtocol) -> Calibration:
    """Measure what the distances of images mean, each compared with every other.

    Args:
        vectors: (N, D).
        table: (N,) `person_id` and, where known, `camera_id`.
        protocol: How vectors are compared.

    Raises:
        InputError: There are too few pairs.
    """
    people = torch.from_numpy(pd.factorize(table["person_id"])[0])
    # An image is never compared with itself: each has a camera of its own where that is not known, or does not matter.
    own = -1 - np.arange(len(table))
    cameras = own - 1
    if "camera_id" in table.columns and protocol.camera_policy == "exclude_same_camera":
        known, _ = pd.factorize(table["camera_id"])
        cameras = np.where(known >= 0, known, cameras)
    side = Side(vectors, people, torch.from_numpy(cameras))
    found = Calibration.fit(side, side, distance=protocol.distance)
    if found is None:
        raise InputError(FEW)
    return found


def _people(images: Sequence[Path]) -> pd.DataFrame:
    """Return the images of known people."""
    table = image_rows(images, people=True, otherwise="give a table with a column person_id")
    if "person_id" not in table.columns or table["person_id"].isna().all():
        raise InputError(
            f"{images[0]} does not say whom its images show: give a table with a column person_id, or a folder with a "
            "folder for each person."
        )
    known = table["person_id"].notna()
    if not known.all():
        say(f"{(~known).sum():,} images without a person are left out", "dim")
    table = table[known].reset_index(drop=True)
    if table["person_id"].nunique() < 2 or not table["person_id"].duplicated().any():
        raise InputError(FEW)
    return table


def _names(table: pd.DataFrame) -> set[str]:
    return set(table["person_id"].astype(str))
