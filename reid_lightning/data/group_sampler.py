"""Batches of groups of images that are found during the training: pseudo labels in the place of identities."""

import numpy as np

from reid_lightning.data.samplers import EpochSampler, camera_order, check_divisible
from reid_lightning.errors import InputError, require


class GroupSampler(EpochSampler):
    """Batches of P groups x K images, for groups that change between epochs.

    The length is fixed before any group is known, because the schedule of the learning rate needs it. Each round over the
    groups is a new permutation of them; P groups make a batch, and what does not fill one is left out until the next
    round. Fewer than P groups appear several times in a batch, with other images. A group's images are dealt with the
    cameras mixed, K at a time; a group of fewer than K images repeats some. Images in no group are left out. Groups of
    several kinds, such as those of labeled and of unlabelled sources, share every batch evenly.

    Before `regroup` is called, every image is a group of its own.

    Args:
        identities: P, in the batch of all ranks together.
        images_per_identity: K.
        batches: Batches in an epoch; None: the images divided by P x K.
        rows: The table's rows of the training images, (N,).
        labels: Their identities, (N,), -1 where unknown; not read, groups are told by `regroup`.
        cameras: Their camera codes, (N,), -1 where unknown.
        seed: The run's seed.

    Raises:
        ValueError: A number is out of range, or the ranks cannot share P evenly.

    Examples:
        >>> sampler = GroupSampler(2, 2, rows=np.arange(6), labels=np.full(6, -1), cameras=np.zeros(6, int), seed=0)
        >>> sampler.regroup(np.array([0, 0, 1, 1, -1, -1]))
        >>> [sorted(batch) for batch in sampler.global_batches().tolist()]
        [[0, 1, 2, 3]]
    """

    regroups = True  # so that a task can say what the groups are

    def __init__(
        self,
        identities: int,
        images_per_identity: int,
        batches: int | None = None,
        *,
        rows: np.ndarray,
        labels: np.ndarray,
        cameras: np.ndarray,
        seed: int,
    ):
        super().__init__(seed)
        for name, size in (("identities", identities), ("images_per_identity", images_per_identity)):
            require(type(size) is int and size >= 1, name, "a whole number >= 1", size)
        require(
            batches is None or (type(batches) is int and batches >= 1),
            "batches",
            "a whole number >= 1 or null",
            batches,
        )
        check_divisible("identities", identities)
        self.identities, self.images_per_identity = identities, images_per_identity
        self._rows, self._cameras = np.asarray(rows), np.asarray(cameras)
        self._length = batches or max(1, len(self._rows) // (identities * images_per_identity))
        self.regroup(np.arange(len(self._rows)))

    def __len__(self) -> int:
        return self._length

    def regroup(self, groups: np.ndarray, kinds: np.ndarray | None = None) -> None:
        """Draw later batches from these groups.

        Args:
            groups: (N,) number of each training image's group, -1 for none.
            kinds: (groups,) kind of each group, contiguous from 0; None: they are of one kind.

        Raises:
            InputError: No image is in a group.
        """
        groups = np.asarray(groups)
        if groups.shape != self._rows.shape:
            raise ValueError(
                f"groups must be those of the {len(self._rows)} training images, got {groups.shape}"
            )
        members = np.flatnonzero(groups >= 0)
        if not len(members):
            raise InputError("No training image is in a group, so that there is nothing to train on.")
        numbers, self._groups = np.unique(groups[members], return_inverse=True)
        self._members = members
        self._counts = np.bincount(self._groups)
        self._kinds = np.zeros(len(numbers), np.int64) if kinds is None else np.asarray(kinds)[numbers]

    def global_batches(self) -> np.ndarray:
        """Return this epoch's rows of all ranks, (batches, P * K), group after group."""
        generator = self._generator()
        order = camera_order(self._groups, self._cameras[self._members], generator)
        starts = np.cumsum(self._counts) - self._counts
        drawn = self._schedule(generator)
        turn = _occurrence(drawn.ravel()).reshape(drawn.shape)
        first = turn * self.images_per_identity
        within = (first[..., None] + np.arange(self.images_per_identity)) % self._counts[drawn][..., None]
        chosen = order[starts[drawn][..., None] + within]
        return self._rows[self._members[chosen]].reshape(self._length, -1)

    def _schedule(self, generator: np.random.Generator) -> np.ndarray:
        """Return the groups of each batch, (batches, P)."""
        kinds = np.unique(self._kinds)
        slots = [len(part) for part in np.array_split(np.arange(self.identities), len(kinds))]
        parts = [
            _rounds(np.flatnonzero(self._kinds == kind), slot, self._length, generator)
            for kind, slot in zip(kinds, slots, strict=True)
            if slot
        ]
        return np.concatenate(parts, axis=1)


def _rounds(groups: np.ndarray, slots: int, batches: int, generator: np.random.Generator) -> np.ndarray:
    """Return (batches, slots) groups: whole rows of one permutation after the other."""
    rows = max(1, len(groups) // slots)
    repeats = -(-slots // len(groups))
    drawn: list[np.ndarray] = []
    while len(drawn) * rows < batches:
        shuffled = np.concatenate([generator.permutation(groups) for _ in range(repeats)])
        drawn.append(shuffled[: rows * slots].reshape(rows, slots))
    return np.concatenate(drawn)[:batches]


def _occurrence(values: np.ndarray) -> np.ndarray:
    """Return how often each entry's value occurs before it, (N,).

    Examples:
        >>> _occurrence(np.array([5, 7, 5, 5])).tolist()
        [0, 0, 1, 2]
    """
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    sizes = np.diff(np.append(starts, len(values)))
    occurrence = np.empty(len(values), np.int64)
    occurrence[order] = np.arange(len(values)) - np.repeat(starts, sizes)
    return occurrence
