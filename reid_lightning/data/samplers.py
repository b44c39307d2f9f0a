"""Which rows make up which batch, on every rank, as a function of seed and epoch alone.

Batch samplers yield lists of (row, seed): the row of the table and the seed of that sample's augmentation.
Sizes are global: with W ranks, each rank takes its part of the same batch, so that their number does not
change the training.
"""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import torch.distributed
from torch.utils.data import Sampler

from reid_lightning.errors import require

Batch = list[tuple[int, int]]

_ORDER, _AUGMENTATION = 0, 1  # two independent streams of one seed and epoch


class EpochSampler(Sampler[Batch]):
    """A batch sampler whose epochs differ and repeat: what the samplers of this module share.

    Lightning calls `set_epoch` only on `batch_sampler.sampler`, hence the attribute that names itself.
    """

    def __init__(self, seed: int):
        self.seed = seed
        self.epoch = 0
        self.sampler = self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration draws."""
        self.epoch = epoch

    def global_batches(self) -> np.ndarray:
        """Return this epoch's rows of all ranks, (batches, images)."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[Batch]:
        batches, seeds = self._drawn()
        mine = _part_of_rank(batches.shape[1])
        for rows, row_seeds in zip(batches[:, mine], seeds[:, mine], strict=True):
            yield list(zip(rows.tolist(), row_seeds.tolist(), strict=True))

    def batch_after(self) -> Batch:
        """Return the first batch, of all ranks, of the epoch that comes next; the sampler stays where it is."""
        epoch = self.epoch
        self.epoch = epoch + 1
        try:
            batches, seeds = self._drawn()
        finally:
            self.epoch = epoch
        return list(zip(batches[0].tolist(), seeds[0].tolist(), strict=True))

    def _drawn(self) -> tuple[np.ndarray, np.ndarray]:
        """Return this epoch's rows of all ranks and the seeds of their augmentation, (batches, images) each."""
        batches = self.global_batches()
        generator = np.random.default_rng([self.seed, self.epoch, _AUGMENTATION])
        return batches, generator.integers(2**63, size=batches.shape)

    def _generator(self) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.epoch, _ORDER])


class PKSampler(EpochSampler):
    """Batches of P identities x K images (Hermans et al., "In Defense of the Triplet Loss", Sec. 2).

    An epoch deals every identity's images out once, in groups of K with the cameras mixed. What does not fill
    a group is left out ((K - 1) / 2 images of an identity on average, others each epoch), as are fewer than P
    groups at random; an identity with fewer than K images forms one group and repeats some. The length is the
    largest number of batches of P different identities that the groups allow, known before the epoch.

    Args:
        identities: P, in the batch of all ranks together.
        images_per_identity: K.
        rows: The table's rows of the training images, (N,).
        labels: Their identities, (N,).
        cameras: Their camera codes, (N,), -1 where unknown.
        seed: The run's seed.

    Raises:
        ValueError: P exceeds the number of identities, or the ranks cannot share P evenly.

    Examples:
        >>> sampler = PKSampler(2, 2, rows=np.arange(6), labels=np.array([0, 0, 1, 1, 2, 2]),
        ...                     cameras=np.array([0, 1, 0, 1, 0, 1]), seed=0)
        >>> len(sampler), [len(batch) for batch in sampler]
        (1, [4])
    """

    def __init__(
        self,
        identities: int,
        images_per_identity: int,
        *,
        rows: np.ndarray,
        labels: np.ndarray,
        cameras: np.ndarray,
        seed: int,
    ):
        super().__init__(seed)
        self.identities = identities
        self.images_per_identity = images_per_identity
        self._rows = np.asarray(rows)
        self._labels = np.unique(labels, return_inverse=True)[1]
        self._cameras = np.asarray(cameras)
        self._counts = np.bincount(self._labels)
        for name, size in (("identities", identities), ("images_per_identity", images_per_identity)):
            require(type(size) is int and size >= 1, name, "a whole number >= 1", size)
        if np.min(labels, initial=0) < 0:
            raise ValueError("PKSampler needs the identity of every image; use sampler=groups without labels")
        known = len(self._counts)
        require(identities <= known, "identities", f"at most the {known} training identities", identities)
        check_divisible("identities", identities)
        self._groups = np.maximum(self._counts // images_per_identity, 1)
        self._length = _largest_number_of_batches(self._groups, identities)

    def __len__(self) -> int:
        return self._length

    def global_batches(self) -> np.ndarray:
        """Return this epoch's rows of all ranks, (batches, P * K), identity after identity."""
        generator = self._generator()
        order = camera_order(self._labels, self._cameras, generator)
        starts = np.concatenate([[0], np.cumsum(self._counts)[:-1]])
        schedule = _schedule(self._groups, self.identities, self._length, generator)
        batches = np.empty((self._length, self.identities, self.images_per_identity), np.int64)
        next_group = [0] * len(self._counts)
        for batch, labels in enumerate(schedule):
            for slot, label in enumerate(labels):
                first = next_group[label] * self.images_per_identity
                next_group[label] += 1
                within = np.arange(first, first + self.images_per_identity) % self._counts[label]
                batches[batch, slot] = self._rows[order[starts[label] + within]]
        return batches.reshape(self._length, -1)


class ShuffleSampler(EpochSampler):
    """Batches of random images; the images left over at the end of an epoch are dropped.

    Args:
        batch_size: Images in the batch of all ranks together.
        rows: The table's rows of the training images, (N,).
        labels: Not read; every training sampler is given them.
        cameras: Not read.
        seed: The run's seed.

    Raises:
        ValueError: The batch exceeds the number of images, or the ranks cannot share it evenly.
    """

    def __init__(
        self, batch_size: int, *, rows: np.ndarray, labels: np.ndarray, cameras: np.ndarray, seed: int
    ):
        super().__init__(seed)
        self.batch_size = batch_size
        self._rows = np.asarray(rows)
        if not 0 < batch_size <= len(rows):
            raise ValueError(f"batch_size must be between 1 and the {len(rows)} images, got {batch_size}")
        check_divisible("batch_size", batch_size)

    def __len__(self) -> int:
        return len(self._rows) // self.batch_size

    def global_batches(self) -> np.ndarray:
        """Return this epoch's rows of all ranks, (batches, batch_size)."""
        shuffled = self._generator().permutation(self._rows)
        return shuffled[: len(self) * self.batch_size].reshape(len(self), self.batch_size)


class ShardSampler(Sampler[Batch]):
    """Every W-th row in order, for evaluation on W ranks: each row once, nothing padded.

    Args:
        rows: The table's rows to evaluate, (N,).
        batch_size: Images in a batch of one rank.
    """

    def __init__(self, rows: np.ndarray, batch_size: int):
        self._rows = np.asarray(rows)
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self._shard()) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        shard = self._shard().tolist()
        for start in range(0, len(shard), self.batch_size):
            yield [(row, 0) for row in shard[start : start + self.batch_size]]

    def _shard(self) -> np.ndarray:
        rank, ranks = _rank_and_ranks()
        return self._rows[rank::ranks]


def _rank_and_ranks() -> tuple[int, int]:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def check_divisible(name: str, size: int) -> None:
    """Refuse a size of the whole batch that the processes cannot share evenly.

    Raises:
        ValueError: They cannot.
    """
    ranks = _rank_and_ranks()[1]
    if size % ranks:
        raise ValueError(f"{name} must be a multiple of the {ranks} processes that share a batch, got {size}")


def _part_of_rank(images: int) -> slice:
    rank, ranks = _rank_and_ranks()
    share = images // ranks
    return slice(rank * share, (rank + 1) * share)


def camera_order(labels: np.ndarray, cameras: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return indices sorted by label; within a label random, taking one image of each camera in turn."""
    count = len(labels)
    order = np.lexsort((generator.random(count), cameras, labels))
    camera_starts = np.ones(count, bool)
    camera_starts[1:] = (np.diff(labels[order]) != 0) | (np.diff(cameras[order]) != 0)
    camera_run = np.cumsum(camera_starts) - 1
    turn = np.arange(count) - np.flatnonzero(camera_starts)[camera_run]
    rank_of_camera = generator.random(camera_run[-1] + 1)[camera_run]
    return order[np.lexsort((rank_of_camera, turn, labels[order]))]


def _largest_number_of_batches(groups: np.ndarray, identities: int) -> int:
    """Return the largest b with sum(min(groups, b)) >= identities * b: one group of an identity a batch."""
    low, high = 1, int(groups.sum()) // identities
    while low < high:  # what is to spare is concave in b, so the b that fit form one range
        middle = (low + high + 1) // 2
        fits = int(np.minimum(groups, middle).sum()) >= identities * middle
        low, high = (middle, high) if fits else (low, middle - 1)
    return low


def _schedule(
    groups: np.ndarray, identities: int, batches: int, generator: np.random.Generator
) -> Iterator[list[int]]:
    """Yield the identities of each batch: random groups, but an identity whose turn cannot wait goes first.

    With b batches left, no identity has more than b groups left and all have P * b together; both hold again
    after a batch that includes every identity with exactly b groups.
    """
    tickets = np.repeat(np.arange(len(groups)), np.minimum(groups, batches))
    tickets = generator.permutation(tickets)[: identities * batches]
    left = np.bincount(tickets, minlength=len(groups)).tolist()
    with_left = defaultdict(set)
    for label, count in enumerate(left):
        with_left[count].add(label)
    queue = tickets[::-1].tolist()
    spent_early = [0] * len(groups)
    for batches_left in range(batches, 0, -1):
        chosen = sorted(with_left[batches_left])
        for label in chosen:
            spent_early[label] += 1
        taken, waiting = set(chosen), []
        while len(chosen) < identities:
            label = queue.pop()
            if label in taken:
                waiting.append(label)
            elif spent_early[label]:
                spent_early[label] -= 1
            else:
                chosen.append(label)
                taken.add(label)
        queue.extend(reversed(waiting))
        for label in chosen:
            with_left[left[label]].discard(label)
            left[label] -= 1
            with_left[left[label]].add(label)
        yield generator.permutation(chosen).tolist()
