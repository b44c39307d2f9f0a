"""Who is photographed how often and where: the file names of a generated Market-1501."""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

#: Changes whenever the same parameters would give other files.
GENERATOR = 5

# Random streams that hang off the seed; `make_camera` and `Studio` use 1, 2 and 3.
_SPLIT, PERSON, _SHOTS, _OTHERS = 0, 4, 5, 6

# Shares of identities seen by 2, 3, ... 6 cameras, and of distractors and junk in `bounding_box_test`, counted in
# Market-1501.
_CAMERAS_PER_IDENTITY = (0.067, 0.140, 0.285, 0.400, 0.108)
_DISTRACTOR_SHARE, _JUNK_SHARE = 0.142, 0.194


class Shot(NamedTuple):
    """One picture to take: its file, who is in it (0: a stranger) and the camera, counted from 1."""

    name: str
    identity: int
    camera: int


@dataclass(frozen=True)
class Settings:
    """Everything that the generated files depend on.

    Attributes:
        train_identities: People in `bounding_box_train`.
        test_identities: People in `query` and `bounding_box_test`.
        cameras: Number of cameras.
        images_per_camera: Mean number of training images of a person in one camera.
        occlusion: Probability that something stands in front of the person.
        misalignment: Standard deviation of the box' shift and size, as a fraction of its size.
        seed: Seed of it all.
    """

    train_identities: int = 300
    test_identities: int = 100
    cameras: int = 6
    images_per_camera: float = 2.5
    occlusion: float = 0.12
    misalignment: float = 0.035
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("train_identities", 2, 100_000),
            ("test_identities", 2, 100_000),
            ("cameras", 2, 64),
            ("images_per_camera", 1, 100),
            ("occlusion", 0, 1),
            ("misalignment", 0, 0.5),
            ("seed", 0, 2**32),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} must be within {low} and {high}, got {value}")

    def described(self) -> dict[str, float]:
        """Return the parameters and the generator's version as plain data."""
        return {"generator": GENERATOR, **asdict(self)}

    @cached_property
    def identities(self) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the training and of the test identities, each sorted."""
        total = self.train_identities + self.test_identities
        order = np.random.default_rng([self.seed, _SPLIT]).permutation(total) + 1
        return np.sort(order[: self.train_identities]), np.sort(order[self.train_identities :])

    @cached_property
    def _training(self) -> np.ndarray:
        flags = np.zeros(self.train_identities + self.test_identities + 1, bool)
        flags[self.identities[0]] = True
        return flags

    def identity_name(self, identity: int) -> str:
        """Return the number as file names write it: at least four digits."""
        return f"{identity:0{max(4, len(str(self.train_identities + self.test_identities)))}d}"

    def shots_of(self, identity: int) -> list[Shot]:
        """Return all pictures of one person; in the test, one of each camera is the query."""
        rng = np.random.default_rng([self.seed, _SHOTS, identity])
        training = bool(self._training[identity])
        shots = []
        for camera in np.sort(rng.permutation(self.cameras)[: self._sample_cameras(rng)]) + 1:
            sequence, frame = int(rng.integers(1, 7)), int(rng.integers(1, 90_000))
            count = 1 + int(rng.poisson(self.images_per_camera - 1) if training else 1 + rng.poisson(1.0))
            query = -1 if training else int(rng.integers(count))
            for k in range(count):
                folder = "bounding_box_train" if training else "query" if k == query else "bounding_box_test"
                stem = f"{self.identity_name(identity)}_c{camera}s{sequence}_{frame:06d}_{int(rng.integers(3)):02d}"
                shots.append(Shot(f"{folder}/{stem}.jpg", identity, int(camera)))
                frame += int(rng.integers(8, 120))
        return shots

    @property
    def others(self) -> tuple[int, int]:
        """Numbers of distractors and of junk images, in realistic shares of `bounding_box_test`."""
        gallery = self.test_identities * 2 * min(self.cameras, 4.35)
        total = gallery / (1 - _DISTRACTOR_SHARE - _JUNK_SHARE)
        return max(1, round(_DISTRACTOR_SHARE * total)), max(1, round(_JUNK_SHARE * total))

    def other_shot(self, number: int) -> Shot:
        """Return one distractor (a stranger or a piece of street) or, after those, one junk image."""
        rng = np.random.default_rng([self.seed, _OTHERS, number])
        camera, sequence = int(rng.integers(1, self.cameras + 1)), int(rng.integers(1, 7))
        junk = number >= self.others[0]
        stem = f"{'-1' if junk else self.identity_name(0)}_c{camera}s{sequence}_{101 + 13 * number:06d}_00"
        person = int(rng.choice(self.identities[1])) if junk else 0
        return Shot(f"bounding_box_test/{stem}.jpg", person, camera)

    def _sample_cameras(self, rng: np.random.Generator) -> int:
        if self.cameras == 6:
            return int(rng.choice([2, 3, 4, 5, 6], p=_CAMERAS_PER_IDENTITY))
        return int(rng.integers(2, self.cameras + 1))
