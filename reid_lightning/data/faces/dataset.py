"""The tree of drawn faces: a folder per person below train, query and gallery."""

import logging
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from reid_lightning.data.faces.person import sample_face
from reid_lightning.data.faces.portrait import draw_portrait
from reid_lightning.data.generated import describe, generated_tree
from reid_lightning.data.readers.identity_folder import read_identity_folder

logger = logging.getLogger("reid_lightning")

#: Changes whenever the same parameters would give other files.
GENERATOR = 1
KIND = "faces"
_QUERIES = 2  # pictures of a test person that are queries


def read_faces(
    root: str | Path | None = None,
    train_identities: int = 200,
    test_identities: int = 100,
    images_per_identity: int = 8,
    image_size: int = 128,
    seed: int = 0,
) -> pd.DataFrame:
    """Draw the faces, unless a tree of the same parameters exists, and read it as a folder per person.

    The people of the test are not in the training; two pictures of each are queries and the others the gallery.
    Cameras are unknown. The same parameters give the same bytes.

    Args:
        root: Folder of the tree; None puts it into the cache, in a folder named after the parameters.
        train_identities: People to train on.
        test_identities: People to test on.
        images_per_identity: Pictures of a person.
        image_size: Height and width of a picture in pixels.
        seed: Seed of people and pictures.

    Raises:
        ValueError: A parameter is out of range, or `root` holds something else.
    """
    parameters = {
        "train_identities": train_identities,
        "test_identities": test_identities,
        "images_per_identity": images_per_identity,
        "image_size": image_size,
        "seed": seed,
    }
    ranges = ((2, 100_000), (2, 100_000), (_QUERIES + 1, 1000), (16, 1024), (0, 2**32))
    for (name, value), (low, high) in zip(parameters.items(), ranges, strict=True):
        if not low <= value <= high:
            raise ValueError(f"{name} must be within {low} and {high}, got {value}")
    parameters = {"generator": GENERATOR, **parameters}
    folder = generated_tree(KIND, root, parameters, lambda new: _write(new, parameters))
    return read_identity_folder(folder).assign(source=KIND)


def _write(folder: Path, parameters: dict[str, int]) -> None:
    people = parameters["train_identities"] + parameters["test_identities"]
    logger.info("Drawing %d faces into %s.", people, folder.parent)
    for person in range(people):
        face = sample_face(np.random.default_rng([parameters["seed"], 0, person]))
        rng = np.random.default_rng([parameters["seed"], 1, person])
        for shot in range(parameters["images_per_identity"]):
            test = "query" if shot < _QUERIES else "gallery"
            split = "train" if person < parameters["train_identities"] else test
            path = folder / split / f"{person + 1:04d}" / f"{shot + 1:03d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture = draw_portrait(face, rng, parameters["image_size"])
            jpeg = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
            path.write_bytes(jpeg.tobytes())
    describe(KIND, folder, parameters)
