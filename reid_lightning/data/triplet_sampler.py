"""Batches of triplets drawn before any embedding is known: offline mining's side of the data."""

from dataclasses import dataclass

import numpy as np

from reid_lightning.data.samplers import EpochSampler, check_divisible
from reid_lightning.errors import InputError


@dataclass(frozen=True, eq=False)
class NegativePools:
    """Images from which the negatives of an identity are taken, for every identity one after the other.

    Attributes:
        starts: First entry of each identity's pool in `members`, (identities + 1,); the last is their number.
        members: Positions among the training images, (M,).
    """

    starts: np.ndarray
    members: np.ndarray

    @property
    def filled(self) -> int:
        """Number of identities whose pool is not empty."""
        return int(np.count_nonzero(np.diff(self.starts)))


class TripletSampler(EpochSampler):
    """Batches of triplets, image after image: anchor, positive, negative, anchor, ... (FH Kiel 2020, its generator).

    A positive shows the anchor's person in another camera; in the same one only where no other is known. A
    negative is any image of another person. Every image is the anchor once in an epoch; a person's only image and
    what does not fill a batch are left out.

    Args:
        triplets: T, in the batch of all ranks together; the batch has 3 T images.
        anchors: Fraction of the training images that are anchors in an epoch, others each time. A third shows as
            many images in an epoch as the other samplers.
        rows: The table's rows of the training images, (N,).
        labels: Their identities, (N,).
        cameras: Their camera codes, (N,), -1 where unknown.
        seed: The run's seed.

    Raises:
        InputError: No triplet can be drawn, a setting is out of range, or the ranks cannot share T evenly.

    Examples:
        >>> sampler = TripletSampler(1, rows=np.arange(3), labels=np.array([0, 0, 1]), cameras=np.zeros(3, int), seed=0)
        >>> sorted(sampler.global_batches().tolist())
        [[0, 1, 2], [1, 0, 2]]
    """

    def __init__(
        self,
        triplets: int,
        anchors: float = 1.0,
        *,
        rows: np.ndarray,
        labels: np.ndarray,
        cameras: np.ndarray,
        seed: int,
    ):
        super().__init__(seed)
        if type(triplets) is not int or triplets < 1:
            raise ValueError(f"triplets must be a whole number >= 1, got {triplets}")
        if not 0 < anchors <= 1:
            raise ValueError(f"anchors must be a fraction above 0, at most 1, got {anchors}")
        check_divisible("triplets", triplets)
        self.triplets = triplets
        self._hard_pools: NegativePools | None = None
        self._hard_share = 0.0
        labels = np.unique(labels, return_inverse=True)[1]
        self._people = _Blocks.of(np.asarray(rows), labels, np.asarray(cameras))
        self._able = np.flatnonzero(self._people.sizes > 1)
        self._length = round(anchors * len(self._able)) // triplets
        if len(self._people.sizes) == 0 or self._people.sizes.max() == len(labels) or not len(self._able):
            raise InputError(
                "Triplets need two people and two images of one of them, which the training images do not have."
            )
        if self._length < 1:
            raise ValueError(
                f"triplets must be at most the {round(anchors * len(self._able))} anchors of an epoch, got {triplets}; "
                "lower it, or raise anchors"
            )

    def __len__(self) -> int:
        return self._length

    def take_negatives_from(self, pools: NegativePools, share: float) -> None:
        """Draw a share of every later batch's negatives from the pool of the anchor's identity.

        Args:
            pools: By label; an identity whose pool is empty keeps its random negatives.
            share: Fraction of the triplets, rounded to whole ones in the batch of all ranks.
        """
        self._hard_pools, self._hard_share = pools, share

    def global_batches(self) -> np.ndarray:
        """Return this epoch's rows of all ranks, (batches, 3 T)."""
        generator, people = self._generator(), self._people
        anchors = generator.permutation(self._able)[: self._length * self.triplets]
        positives = people.draw_positives(anchors, generator)
        negatives = people.draw_negatives(anchors, generator)
        if self._hard_pools is not None:
            place = np.arange(len(anchors)) % self.triplets
            hard = np.flatnonzero(place < round(self._hard_share * self.triplets))
            negatives[hard] = self._from_pools(self._hard_pools, anchors[hard], negatives[hard], generator)
        drawn = people.rows[np.stack([anchors, positives, negatives], axis=1)]
        return drawn.reshape(self._length, 3 * self.triplets)

    def _from_pools(
        self, pools: NegativePools, anchors: np.ndarray, others: np.ndarray, generator: np.random.Generator
    ) -> np.ndarray:
        """Return a member of each anchor's pool, and where it is empty the other negative."""
        labels = self._people.labels[anchors]
        first, sizes = pools.starts[labels], np.diff(pools.starts)[labels]
        drawn = first + generator.integers(0, np.maximum(sizes, 1))
        chosen = others.copy()
        filled = sizes > 0
        chosen[filled] = self._people.order_of[pools.members[drawn[filled]]]
        return chosen


@dataclass(frozen=True, eq=False)
class _Blocks:
    """Training images sorted by identity and camera, so that "another camera" and "another person" are ranges."""

    rows: np.ndarray  # (N,) in sorted order, as all of the following
    labels: np.ndarray
    starts: np.ndarray  # first image of the same identity
    sizes: np.ndarray  # images of the same identity
    camera_starts: np.ndarray  # first image of the same identity and camera
    camera_sizes: np.ndarray
    order_of: np.ndarray  # (N,) sorted place of each training image

    @classmethod
    def of(cls, rows: np.ndarray, labels: np.ndarray, cameras: np.ndarray) -> "_Blocks":
        """Sort; an unknown camera is nobody else's."""
        count = len(labels)
        cameras = np.where(cameras < 0, cameras.max(initial=0) + 1 + np.arange(count), cameras)
        order = np.lexsort((np.arange(count), cameras, labels))
        order_of = np.empty(count, np.int64)
        order_of[order] = np.arange(count)
        starts, sizes = _runs(labels[order])
        camera_starts, camera_sizes = _runs(labels[order], cameras[order])
        return cls(rows[order], labels[order], starts, sizes, camera_starts, camera_sizes, order_of)

    def draw_positives(self, anchors: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Return an image of the same person in another camera, or any other of a person seen in one only."""
        starts, sizes = self.starts[anchors], self.sizes[anchors]
        alone = self.camera_sizes[anchors] == sizes
        left_out = np.where(alone, anchors, self.camera_starts[anchors])
        left_out_sizes = np.where(alone, 1, self.camera_sizes[anchors])
        drawn = starts + generator.integers(0, sizes - left_out_sizes)
        return drawn + np.where(drawn >= left_out, left_out_sizes, 0)

    def draw_negatives(self, anchors: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Return an image of another person."""
        drawn = generator.integers(0, len(self.rows) - self.sizes[anchors])
        return drawn + np.where(drawn >= self.starts[anchors], self.sizes[anchors], 0)


def _runs(*keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the start and the size of the run of equal keys that each entry lies in."""
    changes = np.zeros(len(keys[0]), bool)
    changes[:1] = True
    for key in keys:
        changes[1:] |= np.diff(key) != 0
    firsts = np.flatnonzero(changes)
    run = np.cumsum(changes) - 1
    return firsts[run], np.diff(np.append(firsts, len(changes)))[run]
