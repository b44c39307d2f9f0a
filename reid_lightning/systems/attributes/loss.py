"""Attribute loss: a cross-entropy per head, over the images whose attribute is known."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from reid_lightning.data.attributes import UNKNOWN
from reid_lightning.errors import require


class AttributeLoss(nn.Module):
    """Mean over heads of the cross-entropy over known labels (Lin et al. 2019, eq. 2).

    A label of -1 is unknown and trains nothing; neither does a head none of whose labels is known in the batch.

    Args:
        sizes: Classes of each attribute.
        counts: Training images of each class, heads one after the other, (C,); None where they are not known yet
            (they are in a checkpoint). Their largest is each head's majority class.
        class_weights: "none", or "balanced": images weigh inversely to how frequent their class is.
        focal: gamma of the focal loss (Lin et al. 2017, eq. 4): images weigh (1 - p)^gamma; 0 is plain cross-entropy.

    Raises:
        ValueError: `class_weights` is neither, or gamma is negative.

    Examples:
        >>> loss = AttributeLoss(sizes=(2, 3))
        >>> loss(torch.zeros(2, 5), torch.tensor([[0, 2], [1, -1]]))  # (ln 2 + ln 3) / 2
        tensor(0.8959)
    """

    counts: Tensor

    def __init__(
        self,
        sizes: Sequence[int],
        counts: Sequence[int] | None = None,
        class_weights: Literal["none", "balanced"] = "none",
        focal: float = 0.0,
    ) -> None:
        super().__init__()
        require(class_weights in ("none", "balanced"), "class_weights", "none or balanced", class_weights)
        require(focal >= 0, "focal", ">= 0 (0 is plain cross-entropy)", focal)
        self.sizes, self.class_weights, self.focal = tuple(sizes), class_weights, focal
        self.register_buffer("counts", torch.tensor(counts or [0] * sum(sizes), dtype=torch.int64))

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the scalar loss of (B, C) logits and (B, heads) classes, -1 where unknown."""
        total, heads = logits.sum() * 0, 0 * targets.sum()
        blocks = zip(
            torch.split(logits, list(self.sizes), dim=1),
            targets.unbind(dim=1),
            torch.split(self.counts, list(self.sizes)),
            strict=True,
        )
        for block, labels, counts in blocks:
            known = labels != UNKNOWN
            weights = self._image_weights(block, labels.clamp(min=0), counts) * known
            costs = functional.cross_entropy(block, labels, ignore_index=UNKNOWN, reduction="none")
            if self.focal:
                # Of a certain answer the miss is 0, where a power below 1 has no slope.
                misses = (-torch.expm1(-costs)).clamp(min=torch.finfo(costs.dtype).eps)
                costs = costs * misses.pow(self.focal)
            total = total + (weights * costs).sum() / weights.sum().clamp(min=1e-12)
            heads = heads + known.any()
        return total / heads.clamp(min=1)

    def majority(self) -> list[int]:
        """Return the most frequent training class of each attribute."""
        return [int(counts.argmax()) for counts in torch.split(self.counts, list(self.sizes))]

    def _image_weights(self, block: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
        if self.class_weights == "none":
            return block.new_ones(len(block))
        counts = counts.to(block.dtype)
        return (counts.sum() / (len(counts) * counts.clamp(min=1)))[labels]
