"""Center loss: every image is near the center of its identity, and the centers follow."""

import torch
from torch import Tensor

from reid_lightning.errors import require
from reid_lightning.losses.pairs import Indices, mean_norm, refuse_indices
from reid_lightning.losses.spec import LossOutput, LossSpec, MetricLoss


class CenterLoss(MetricLoss):
    """Center loss with the paper's own update of the centers (Wen et al. 2016, eq. 2-4).

    The batch costs the mean of `|x - c_y|² / 2`. After it, in training mode, the center of each identity in the batch
    moves by `alpha * sum(x - c) / (1 + count)`: no optimizer holds the centers. The update depends on the batch alone
    and gives the same bits in every process that sees the same (gathered) batch. Centers start at zero.

    Args:
        num_classes: Training identities; the objective fills it in.
        embedding_size: Dimensions of an embedding; the objective fills it in.
        alpha: Rate of the centers, fraction of the step to the mean; between 0 and 1.

    Raises:
        ValueError: alpha is outside [0, 1].

    Examples:
        >>> loss = CenterLoss(num_classes=2, embedding_size=1, alpha=0.5)
        >>> loss(torch.tensor([[3.0], [3.0], [1.0]]), torch.tensor([0, 0, 1]))  # (9 + 9 + 1) / 6
        tensor(3.1667)
        >>> loss.centers.flatten()  # 0.5 * (3 + 3) / (1 + 2) and 0.5 * 1 / (1 + 1)
        tensor([1.0000, 0.2500])
    """

    spec = LossSpec(forms_own_pairs=True, needs_positives=False, keeps_state=True)
    centers: Tensor

    def __init__(self, num_classes: int, embedding_size: int, alpha: float = 0.5) -> None:
        super().__init__()
        require(0 <= alpha <= 1, "alpha", "between 0 and 1", alpha)
        self.alpha = alpha
        self.register_buffer("centers", torch.zeros(num_classes, embedding_size))

    def output(self, embeddings: Tensor, labels: Tensor, indices_tuple: Indices | None = None) -> LossOutput:
        """Return the loss of (N, D) embeddings and (N,) labels, and move the centers in training mode."""
        refuse_indices(self, indices_tuple)
        centers = self.centers[labels].to(embeddings.dtype)
        distances = (embeddings - centers).square().sum(dim=1)
        diagnostics = {
            "mean_center_distance": distances.detach().sqrt().mean(),
            "embedding_norm": mean_norm(embeddings),
        }
        if self.training:
            moved = moved_centers(centers, embeddings.detach(), labels, self.alpha)
            self.centers[labels] = moved.to(self.centers.dtype)
        return LossOutput(distances.mean() / 2, diagnostics)


def moved_centers(centers: Tensor, embeddings: Tensor, labels: Tensor, alpha: float) -> Tensor:
    """Return the new center of each image's identity, (N, D), the same row for images of one identity.

    Args:
        centers: (N, D) center of each image's identity.
        embeddings: (N, D).
        labels: (N,).
        alpha: Rate.
    """
    same = labels[:, None] == labels[None, :]
    weights = same.to(embeddings.dtype)
    steps = weights @ (embeddings - centers) / (1 + weights.sum(dim=1, keepdim=True))
    # Rows of one identity are written to one place in any order: take the first one's bits for all of them.
    return (centers + alpha * steps)[same.int().argmax(dim=1)]
