"""Whether an exported file says what the model says, measured on images."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from reid_lightning.distances import Distance
from reid_lightning.errors import InputError
from reid_lightning.inference.backends import Answers
from reid_lightning.inference.model import Model
from reid_lightning.retrieval.matches import Side
from reid_lightning.retrieval.ranking import rank

LARGEST = 1e-4  # of one less the cosine of two vectors of a float export
LARGEST_ANSWER = 1e-3  # of probabilities
LARGEST_LOSS = 0.05  # of the mAP of int8
SMALLEST_COSINE = 0.9  # of int8 where nobody is known, on average
IMAGES = 64


@dataclass(frozen=True)
class Parity:
    """How far an exported file is from the model.

    Attributes:
        images: Number of images that both have seen.
        of: Where they come from.
        largest: The largest one less the cosine of two vectors of one image.
        mean: The mean of it.
        answers: The largest difference of a probability, or of a trait in its unit; None where there are none.
        mAP: Of the model on these images, each searched among all others; None where it is not known whom they show.
        exported_mAP: Likewise of the file.
    """

    images: int
    of: str
    largest: float
    mean: float
    answers: float | None = None
    mAP: float | None = None
    exported_mAP: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, rounded to what was measured."""
        return {
            name: float(f"{value:.4g}") if isinstance(value, float) else value
            for name, value in asdict(self).items()
            if value is not None
        }

    def __str__(self) -> str:
        said = f"1 - cosine at most {self.largest:.1e}, mean {self.mean:.1e}, on {self.images} images of {self.of}"
        if self.mAP is not None and self.exported_mAP is not None:
            change = 100 * (self.exported_mAP - self.mAP)
            said += f"; mAP {100 * self.exported_mAP:.1f} for {100 * self.mAP:.1f} ({change:+.2f})"
        return said


def compare_models(model: Model, exported: Model, images: pd.DataFrame, of: str, with_map: bool) -> Parity:
    """Compare a model with its exported file on images.

    Args:
        model: Of torch.
        exported: Of the file.
        images: Column `path` and, for the mAP, `person_id` and, where known, `camera_id`.
        of: Where they come from, for the record.
        with_map: Whether the mAP is measured as well.

    Raises:
        InputError: An image cannot be read.
    """
    paths = images["path"].tolist()
    ours, theirs = (_answers(one, paths) for one in (model, exported))
    apart = 1 - functional.cosine_similarity(ours.vectors.double(), theirs.vectors.double(), dim=1)
    gaps = [
        float((before - after).abs().max())
        for before, after in ((ours.attributes, theirs.attributes), (ours.traits, theirs.traits))
        if before is not None and after is not None
    ]
    scores = [
        _map(one.vectors, images, model.protocol.distance) if with_map else None for one in (ours, theirs)
    ]
    largest, mean = (max(0.0, float(value)) for value in (apart.max(), apart.mean()))
    return Parity(len(paths), of, largest, mean, max(gaps, default=None), *scores)


def check_parity(parity: Parity, int8: bool) -> None:
    """Refuse an exported file that is off.

    Raises:
        InputError: It is.
    """
    keep = "--no-verify writes it nevertheless"
    if int8 and parity.mAP is not None and parity.exported_mAP is not None:
        loss = parity.mAP - parity.exported_mAP
        if loss > LARGEST_LOSS:
            raise InputError(
                f"int8 costs {100 * loss:.1f} points of mAP ({parity}), more than {100 * LARGEST_LOSS:.0f}: give more, or "
                f"more typical, images to calibrate with, or leave --int8 out; {keep}"
            )
    elif int8 and 1 - parity.mean < SMALLEST_COSINE:
        raise InputError(
            f"int8 changes vectors too much ({parity}): give more, or more typical, images to calibrate with, or leave "
            f"--int8 out; {keep}"
        )
    elif not int8 and not parity.largest <= LARGEST:  # NaN as well
        raise InputError(
            f"the exported vectors are not those of the model ({parity}): report it with the config; {keep}"
        )
    elif not int8 and parity.answers is not None and not parity.answers <= LARGEST_ANSWER:
        raise InputError(
            f"the exported outputs differ by {parity.answers:.1e}: report it with the config; {keep}"
        )


def _answers(model: Model, paths: Sequence[str]) -> Answers:
    batches = list(model.answer(paths))

    def joined(parts: Sequence[Tensor | None]) -> Tensor | None:
        known = [part for part in parts if part is not None]
        return torch.cat(known) if known else None

    return Answers(
        torch.cat([batch.vectors for batch in batches]),
        joined([batch.attributes for batch in batches]),
        joined([batch.traits for batch in batches]),
    )


def _map(vectors: Tensor, images: pd.DataFrame, distance: Distance) -> float | None:
    """Return the mAP of each image among all others; None where no image has a true match."""
    people = pd.factorize(images["person_id"])[0]
    cameras = (
        pd.factorize(images["camera_id"])[0] if "camera_id" in images.columns else np.full(len(images), -1)
    )
    if not (pd.Series(people[people >= 0]).value_counts() > 1).any():
        return None
    # An image stands on both sides and is never its own match: where its camera is unknown it gets one of its own.
    own = -2 - np.arange(len(images))
    seen = torch.from_numpy(np.where(cameras >= 0, cameras, own))
    side = Side(vectors, torch.from_numpy(people), seen)
    try:
        return rank(side, side, distance=distance).mean_ap
    except InputError:  # images of each person by one camera alone
        return None
