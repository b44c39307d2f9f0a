"""Attribute heads on the network's vector, and the confidence re-weighting of their predictions."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from reid_lightning.config.declared import ignores
from reid_lightning.errors import require
from reid_lightning.models.branches import VectorHeads


@ignores("predictions", "nothing is re-weighted", reweighting=False)
@ignores("detach", "nothing is re-weighted", reweighting=False)
class AttributeHeads(VectorHeads):
    """A linear head per attribute, and what of its predictions joins the embedding (Lin et al. 2019, Sec. 3.3-3.4).

    The predictions of all heads side by side are `a~`. With re-weighting, `c = sigmoid(V a~ + b)` says how far each is
    to be trusted, and `a = c * a~` is concatenated to the vector f: [f ; a] goes into the identity classifier and
    is what retrieval compares. Without, the heads are further tasks and change neither.

    Args:
        in_features: Dimensions of f.
        sizes: Classes of each attribute.
        reweighting: Whether [f ; a] replaces f.
        predictions: What a~ holds: "logits", or the "probabilities" of each head's softmax (the source leaves it open).
        detach: Whether the identity's gradient stops at a~, so that attribute labels alone train the heads.

    Raises:
        ValueError: `predictions` is neither.

    Examples:
        >>> heads = AttributeHeads(in_features=8, sizes=(2, 3))
        >>> logits, scores = heads(torch.randn(4, 8))
        >>> logits.shape, scores.shape, heads.added_features
        (torch.Size([4, 5]), torch.Size([4, 5]), 5)
    """

    gives = "attributes"

    def __init__(
        self,
        in_features: int,
        sizes: Sequence[int],
        reweighting: bool = True,
        predictions: Literal["logits", "probabilities"] = "logits",
        detach: bool = False,
    ) -> None:
        super().__init__()
        require(
            predictions in ("logits", "probabilities"), "predictions", "logits or probabilities", predictions
        )
        self.sizes, self.predictions, self.detach = tuple(sizes), predictions, detach
        outputs = sum(self.sizes)
        self.heads = nn.Linear(in_features, outputs)  # one matrix: a block of rows per head
        self.confidence = nn.Linear(outputs, outputs) if reweighting else None
        self.added_features = outputs if reweighting else 0

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return (B, C) logits of (B, in_features) vectors, and the (B, C) scores `a`; None without re-weighting."""
        logits = self.heads(vectors)
        if self.confidence is None:
            return logits, None
        scores = logits if self.predictions == "logits" else probabilities(logits, self.sizes)
        scores = scores.detach() if self.detach else scores
        return logits, torch.sigmoid(self.confidence(scores)) * scores


def probabilities(logits: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return the softmax of each head's block of (B, C) logits.

    Examples:
        >>> probabilities(torch.zeros(1, 5), (2, 3))
        tensor([[0.5000, 0.5000, 0.3333, 0.3333, 0.3333]])
    """
    return torch.cat([block.softmax(dim=1) for block in logits.split(list(sizes), dim=1)], dim=1)
