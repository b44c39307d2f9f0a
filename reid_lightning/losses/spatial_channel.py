"""Spatial-channel loss: each block of the global vector describes one stripe of the body."""

from torch import Tensor

from reid_lightning.losses.pairs import Indices, refuse_indices
from reid_lightning.losses.spec import LossOutput, LossSpec, MetricLoss
from reid_lightning.losses.stripes import stripes_of
from reid_lightning.models.features import Features


class SpatialChannelLoss(MetricLoss):
    """Ties block r of the global vector to the feature of stripe r (Fan et al. 2018, "SCPNet").

    The global vector `Features.before_neck` of R x d dimensions has R blocks of d. An image costs
    `sum over r of |block r - stripe r|²`, and the batch the mean of it.

    Args:
        embedding_size: Dimensions of the global vector; the objective fills it in.
        num_parts: R; the objective fills it in.
        part_size: d; the objective fills it in.

    Raises:
        ValueError: The global vector is not R x d long.

    Examples:
        >>> import torch
        >>> loss = SpatialChannelLoss(embedding_size=4, num_parts=2, part_size=2)
        >>> vectors = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
        >>> features = Features(vectors, vectors, vectors, {"stripes": torch.tensor([[[1.0, 0.0], [3.0, 5.0]]])})
        >>> loss(features, torch.tensor([0]))  # 2² in the first block, 1² in the second
        tensor(5.)
    """

    spec = LossSpec(reads=("stripes",), per_image=True, forms_own_pairs=True, needs_positives=False)

    def __init__(self, embedding_size: int, num_parts: int, part_size: int) -> None:
        super().__init__()
        if embedding_size != num_parts * part_size:
            raise ValueError(
                f"{num_parts} stripes of {part_size} dimensions need a global vector of {num_parts * part_size}, got "
                f"{embedding_size}; change the stripes' number or size, or use a neck that keeps the vector's length"
            )

    def output(self, features: Features, labels: Tensor, indices_tuple: Indices | None = None) -> LossOutput:
        """Return the loss of B images' features; labels are not read."""
        refuse_indices(self, indices_tuple)
        stripes = stripes_of(self, features)
        squares = (features.before_neck - stripes.flatten(1)).square().sum(dim=1)
        scale = stripes.detach().square().sum(dim=(1, 2)).mean()
        diagnostics = {"relative_error": squares.detach().mean() / scale.clamp(min=1e-12)}
        return LossOutput(squares.mean(), diagnostics)
