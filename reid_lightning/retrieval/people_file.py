"""The file of enrolled people: their vectors, whom each shows, and what the model's distances mean."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reid_lightning.distances import Distance
from reid_lightning.errors import InputError
from reid_lightning.files import atomic_path
from reid_lightning.retrieval.calibration import Calibration
from reid_lightning.retrieval.embeddings import read_arrays

FORMS = {"vectors": ("f", 2), "names": ("U", 1), "images": ("U", 1), "distance": ("U", 0), "model": ("U", 0)}
LATER_FORMS = {"calibration": ("U", 0)}  # which earlier versions did not write


class PeopleFile(NamedTuple):
    """What a file of enrolled people holds."""

    vectors: Tensor
    """(N, D), one an enrolled image."""
    names: list[str]
    """(N,) whom each image shows."""
    images: list[str]
    """(N,) what each image is called."""
    distance: Distance
    """How vectors are compared."""
    model: str
    """Mark of the model that the vectors come from."""
    calibration: Calibration | None
    """What its distances mean; None where that is not known."""


def write_people(path: str | Path, people: PeopleFile) -> None:
    """Write everything to one `.npz` file atomically; the calibration is JSON."""
    calibration = "" if people.calibration is None else json.dumps(people.calibration.as_dict())
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.savez(
            handle,
            vectors=people.vectors.numpy(),
            names=np.array(people.names, dtype=np.str_),
            images=np.array(people.images, dtype=np.str_),
            distance=np.array(people.distance),
            model=np.array(people.model),
            calibration=np.array(calibration),
        )


def read_people(path: str | Path) -> PeopleFile:
    """Read what `write_people` wrote, now or in an earlier version.

    Raises:
        InputError: The file is absent or is not one of enrolled people, or its calibration is damaged.
    """
    found = read_arrays(path, FORMS, "enrolled people", "reid enrol", LATER_FORMS)
    names, images = ([str(text) for text in found[name]] for name in ("names", "images"))
    try:
        calibration = _calibration(str(found.get("calibration", "")))
    except (ValueError, RecursionError) as error:  # InputError is a ValueError, too
        raise InputError(
            f"The calibration in {path} cannot be read ({error}); enrol the people again into a new file."
        ) from error
    distance, model = str(found["distance"]), str(found["model"])
    return PeopleFile(torch.from_numpy(found["vectors"]), names, images, distance, model, calibration)  # type: ignore[arg-type]


def _calibration(text: str) -> Calibration | None:
    return Calibration.from_dict(json.loads(text)) if text else None
