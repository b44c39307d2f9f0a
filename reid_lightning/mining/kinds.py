"""Which triplets of a batch are hard, semi-hard and easy, and how many of each there are."""

from dataclasses import dataclass

import torch
from torch import Tensor

from reid_lightning.losses.pairs import Indices

KINDS = ("hard", "semi-hard", "easy")
HARD, SEMI_HARD, EASY = range(3)


def kinds_of(near: Tensor, far: Tensor, margin: float) -> Tensor:
    """Return the place in `KINDS` of each triplet, from its distances to the positive and to the negative.

    Hard: the negative is not farther than the positive. Semi-hard: it is farther, by less than the margin (Schroff et al.
    2015, "FaceNet", Sec. 3.2). Easy: by the margin or more.

    Args:
        near: d(a, p), of any shape.
        far: d(a, n), of the same shape or one that broadcasts with it.
        margin: In the unit of the distances, 0 or more; infinity where no triplet is easy.

    Examples:
        >>> kinds_of(torch.tensor([1.0, 1.0, 1.0, 1.0]), torch.tensor([0.5, 1.0, 1.2, 1.5]), margin=0.5)
        tensor([0, 0, 1, 2])
    """
    return torch.where(far <= near, HARD, torch.where(far < near + margin, SEMI_HARD, EASY))


@dataclass(frozen=True, eq=False)
class BatchTriplets:
    """The valid triplets of a batch: an anchor, another image of its person, and an image of somebody else.

    Attributes:
        distances: (N, N).
        labels: (N,).
        margin: Between semi-hard and easy, in the unit of the distances.
    """

    distances: Tensor
    labels: Tensor
    margin: float

    def by_anchor(self) -> Tensor:
        """Return (N, 3) int64: how many triplets of each kind an anchor has.

        The negatives of an anchor are sorted once and its positives looked up among them, so that memory grows with N² and
        not with the number of triplets.
        """
        same = self.labels[:, None] == self.labels
        negatives = self.distances.masked_fill(same, torch.inf).sort(dim=1).values
        near = self.distances.masked_fill(~same, 0)
        count = (~same).sum(dim=1, keepdim=True)
        hard = torch.searchsorted(negatives, near, right=True).minimum(count)
        missed = torch.searchsorted(negatives, near + self.margin).minimum(count)
        hard_or_semi = torch.maximum(hard, missed)
        counts = torch.stack((hard, hard_or_semi - hard, count - hard_or_semi), dim=2)
        positives = same.fill_diagonal_(False)
        return counts.masked_fill(~positives[:, :, None], 0).sum(dim=1)

    def of(self, indices: Indices) -> list[int]:
        """Return how many of some triplets are of each kind; those whose positive is the anchor are padding.

        Examples:
            >>> distances = torch.tensor([[0.0, 1.0, 1.5], [1.0, 0.0, 0.5], [1.5, 0.5, 0.0]])
            >>> batch = BatchTriplets(distances, torch.tensor([0, 0, 1]), margin=0.3)
            >>> batch.of((torch.tensor([0, 1, 2]), torch.tensor([1, 0, 2]), torch.tensor([2, 2, 2])))
            [1, 0, 1]
        """
        anchors, positives, negatives = (index[indices[0] != indices[1]] for index in indices)
        kinds = kinds_of(self.distances[anchors, positives], self.distances[anchors, negatives], self.margin)
        return torch.bincount(kinds, minlength=len(KINDS)).tolist()

    def examples(self, kind: int, count: int) -> list[tuple[int, int, int]]:
        """Return some triplets of a kind, always the same: of different people, as far as these go around.

        Anchors are taken at even steps among those that have such triplets, and of each anchor the triplet whose gap
        d(a, n) - d(a, p) is the median of this kind.

        Args:
            kind: Place in `KINDS`.
            count: At most so many.
        """
        able = self.by_anchor()[:, kind].nonzero().flatten().tolist()
        turns: dict[int, int] = {}
        order = []
        for anchor in able:
            label = int(self.labels[anchor])
            turns[label] = turns.get(label, -1) + 1
            order.append((turns[label], anchor))
        first = [anchor for turn, anchor in sorted(order) if turn == 0]
        others = [anchor for turn, anchor in sorted(order) if turn > 0]
        steps = (
            torch.linspace(0, len(first) - 1, min(count, len(first))).round().long().tolist() if first else []
        )
        chosen = [first[step] for step in steps] + others
        return [self._typical(anchor, kind) for anchor in chosen[:count]]

    def _typical(self, anchor: int, kind: int) -> tuple[int, int, int]:
        """Return the triplet of an anchor whose gap is the median of its kind."""
        same = self.labels == self.labels[anchor]
        negatives = (~same).nonzero().flatten()
        same[anchor] = False
        positives = same.nonzero().flatten()
        near, far = self.distances[anchor, positives][:, None], self.distances[anchor, negatives][None]
        found = (kinds_of(near, far, self.margin) == kind).nonzero()
        gaps = far[0, found[:, 1]] - near[found[:, 0], 0]
        positive, negative = found[gaps.argsort(stable=True)[(len(gaps) - 1) // 2]].tolist()
        return anchor, int(positives[positive]), int(negatives[negative])
