"""Contrastive loss: pull every pair of one person together, push every other pair beyond a margin."""

import torch
from torch import Tensor

from reid_lightning.distances import pairwise_distances, unit_vectors
from reid_lightning.errors import require
from reid_lightning.losses.gradients import distance_matrix
from reid_lightning.losses.pairs import Indices, masked_mean, pair_diagnostics, pair_masks, refuse_indices
from reid_lightning.losses.spec import LossOutput, LossSpec, MetricLoss


class ContrastiveLoss(MetricLoss):
    """Contrastive loss (Hadsell et al. 2006, eq. 4) over all pairs of the batch.

    A pair of one person costs `d² / 2`, a pair of two people `max(margin - d, 0)² / 2`. Each kind is averaged on
    its own and the two are added, because a P x K batch has many times more negative pairs (the paper feeds pairs).

    Args:
        margin: Distance beyond which two people cost nothing.
        normalize: Scale embeddings to length 1 first; distances are then at most 2.

    Raises:
        ValueError: The margin is negative.

    Examples:
        >>> embeddings, labels = torch.tensor([[0.0], [1.0], [1.5]]), torch.tensor([0, 0, 1])
        >>> ContrastiveLoss(margin=1.0, normalize=False)(embeddings, labels)  # 1 / 2 and (0 + 0.25) / 4
        tensor(0.5625)
    """

    spec = LossSpec(forms_own_pairs=True)

    def __init__(self, margin: float = 1.0, normalize: bool = True) -> None:
        super().__init__()
        require(margin >= 0, "margin", ">= 0", margin)
        self.margin, self.normalize = margin, normalize

    def output(self, embeddings: Tensor, labels: Tensor, indices_tuple: Indices | None = None) -> LossOutput:
        """Return the loss of (N, D) embeddings and (N,) labels; indices are refused."""
        refuse_indices(self, indices_tuple)
        if self.normalize:
            embeddings = unit_vectors(embeddings)
        distances = distance_matrix(embeddings)
        positives, negatives = pair_masks(labels)
        close = torch.relu(self.margin - distances)
        active = masked_mean((close.detach() > 0).to(close.dtype), negatives)
        diagnostics = pair_diagnostics(distances, positives, negatives, active, embeddings)
        return LossOutput(
            (masked_mean(distances.square(), positives) + masked_mean(close.square(), negatives)) / 2,
            diagnostics,
        )

    def output_across(
        self, embeddings: Tensor, labels: Tensor, others: Tensor, other_labels: Tensor
    ) -> LossOutput:
        """Return the loss of the pairs of (N, D) embeddings with (M, D) others; a label of -1 has no pairs."""
        if self.normalize:
            embeddings, others = unit_vectors(embeddings), unit_vectors(others)
        distances = pairwise_distances(embeddings, others)
        same = labels[:, None] == other_labels
        different = ~same & (other_labels >= 0)
        close = torch.relu(self.margin - distances)
        active = masked_mean((close.detach() > 0).to(close.dtype), different)
        return LossOutput(
            (masked_mean(distances.square(), same) + masked_mean(close.square(), different)) / 2,
            {"active_fraction": active},
        )
