"""The folder of a round of labeling: what was asked, of which images, and what was answered before."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from reid_lightning.distances import Distance
from reid_lightning.errors import InputError
from reid_lightning.files import read_own
from reid_lightning.retrieval.answered import answered_threshold
from reid_lightning.retrieval.clustering import MOST_IMAGES, distance_matrix
from reid_lightning.retrieval.k_reciprocal import KReciprocalRerank
from reid_lightning.retrieval.links import Answer, Link
from reid_lightning.retrieval.questions import steepness
from reid_lightning.retrieval.similarities import Comparison, Similarities

STATE, VECTORS, ANSWERS, PAGE = "labels.json", "vectors.npy", "answers.csv", "label.html"
SHEETS, IMAGES = "sheets", "images"
COLUMNS = ("pair", "path_a", "path_b", "distance", "question", "answer")
_VERSION = 1
_WIDEST = 65_536  # numbers of a vector


@dataclass(frozen=True)
class Asked:
    """A question as it was asked.

    Attributes:
        pair: Its number, which counts on over rounds.
        first: Number of an image.
        second: Number of another one.
        distance: Mean distance of the groups that they stand for.
        question: Why it was asked.
    """

    pair: int
    first: int
    second: int
    distance: float
    question: str


@dataclass(frozen=True)
class Earlier:
    """An answer of an earlier round.

    Attributes:
        first: Path of an image.
        second: Path of another one.
        answer: What was said.
        name: What messages call it.
    """

    first: str
    second: str
    answer: Answer
    name: str


@dataclass(frozen=True)
class Round:
    """A round of labeling.

    Attributes:
        paths: (N,) files of the images.
        cameras: (N,) their cameras, None where unknown.
        people: (N,) whom they show, None where unknown; the answers are judged by it, and nothing else.
        distance: Of the model's vectors.
        rerank: Whether neighborhoods are compared.
        threshold: Largest mean distance of two groups that join, before any answer.
        given: Whether the user chose it, and answers therefore do not move it.
        slope: Of the log odds of the same person against the distance; None where nothing says.
        questions: What was asked.
        earlier: The answers of the rounds before.
    """

    paths: list[str]
    cameras: list[str | None]
    people: list[str | None]
    distance: Distance
    rerank: bool
    threshold: float
    given: bool
    slope: float | None
    questions: list[Asked] = field(default_factory=list)
    earlier: list[Earlier] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Write the round's state into a folder that is there."""
        text = json.dumps({"version": _VERSION, **asdict(self)})
        (folder / STATE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return the round of a folder.

        Raises:
            InputError: The folder was not made by `reid label`, or its state is damaged.
        """
        file = folder / STATE
        try:
            found = json.loads(read_own(file))
        except OSError as error:
            raise InputError(
                f"{folder} is not a folder of `reid label`: {STATE} cannot be read ({error.strerror})."
            ) from error
        except ValueError as error:
            raise _damaged(file) from error
        try:
            return cls._of(found)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _damaged(file) from error

    @classmethod
    def _of(cls, found: dict[str, Any]) -> Self:
        if found.pop("version") != _VERSION:
            raise ValueError("another version")
        asked = [Asked(**each) for each in found.pop("questions")]
        earlier = [Earlier(**each) for each in found.pop("earlier")]
        read = cls(**found, questions=asked, earlier=earlier)
        images = len(read.paths)
        whole = (
            images == len(read.cameras) == len(read.people)
            and all(isinstance(path, str) for path in read.paths)
            and read.distance in get_args(Distance)
            and 0 <= float(read.threshold) < float("inf")
            and isinstance(read.rerank, bool)
            and isinstance(read.given, bool)
            and (read.slope is None or float(read.slope) >= 0)
            and all(0 <= one < images for each in asked for one in (each.first, each.second))
            and all(each.answer in get_args(Answer) for each in earlier)
        )
        if not whole:
            raise ValueError("values out of range")
        return read


def write_vectors(vectors: NDArray[np.float32], folder: Path) -> None:
    """Write (N, D) vectors into a round's folder."""
    np.save(folder / VECTORS, vectors, allow_pickle=False)


def read_vectors(folder: Path, images: int) -> NDArray[np.float32]:
    """Return the (N, D) vectors of a round's images.

    Raises:
        InputError: They are missing, damaged, or not as many as the images.
    """
    file = folder / VECTORS
    try:
        read_own(file, most=4 * MOST_IMAGES * _WIDEST)
        found = np.load(file, allow_pickle=False)
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}.") from error
    except (ValueError, EOFError) as error:
        raise _damaged(file) from error
    if found.dtype != np.float32 or found.ndim != 2 or len(found) != images or not np.isfinite(found).all():
        raise _damaged(file)
    return found


def distances(vectors: NDArray[np.float32], distance: Distance, rerank: bool) -> NDArray[np.float32]:
    """Return the distances of all images among each other, (N, N)."""
    own = torch.from_numpy(vectors)
    plain = Similarities.of(own, own, distance)
    compared: Comparison = KReciprocalRerank(weight=0.0).among(plain) if rerank else plain
    return distance_matrix(compared, len(vectors))


def moved_threshold(
    threshold: float, slope: float | None, far: NDArray[np.float32], links: Sequence[Link]
) -> float:
    """Return a threshold as the answers move it, see `answered_threshold`; without a slope it is `steepness`."""
    told = [link for link in links if link.answer != "unknown"]
    return answered_threshold(
        threshold,
        slope or steepness(threshold),
        [far[link.first, link.second] for link in told],
        [link.answer == "same" for link in told],
    )


def require_few(images: int) -> None:
    """Refuse more images than whose distances are held at once.

    Raises:
        InputError: There are too many.
    """
    if images > MOST_IMAGES:
        raise InputError(
            f"`reid label` holds the distances of all pairs, and {images:,} images are more than {MOST_IMAGES:,}: "
            "label fewer images at once."
        )


def _damaged(file: Path) -> InputError:
    return InputError(
        f"{file} is damaged, or was not written by this version of `reid label`: ask again with --model."
    )
