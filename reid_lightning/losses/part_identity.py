"""Part identity loss: every stripe tells the person apart by itself."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from reid_lightning.losses.pairs import Indices, refuse_indices
from reid_lightning.losses.spec import LossOutput, LossSpec, MetricLoss
from reid_lightning.losses.stripes import stripes_of
from reid_lightning.models.features import Features


class PartIdentityLoss(MetricLoss):
    """A linear identity classifier for each stripe, and the mean of their cross-entropies (Sun et al. 2018, "PCB").

    Args:
        num_classes: Training identities; the objective fills it in.
        num_parts: Stripes; the objective fills it in.
        part_size: Dimensions of a stripe's feature; the objective fills it in.
        label_smoothing: Fraction of the target spread over the other identities.

    Examples:
        >>> loss = PartIdentityLoss(num_classes=5, num_parts=2, part_size=3)
        >>> vectors = torch.zeros(4, 1)
        >>> features = Features(vectors, vectors, vectors, {"stripes": torch.zeros(4, 2, 3)})
        >>> loss(features, torch.tensor([0, 0, 1, 4])).detach()  # ln 5: it knows nothing
        tensor(1.6094)
    """

    spec = LossSpec(reads=("stripes",), per_image=True, forms_own_pairs=True, needs_positives=False)

    def __init__(
        self, num_classes: int, num_parts: int, part_size: int, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.weight = nn.Parameter(torch.empty(num_parts, num_classes, part_size))
        nn.init.normal_(self.weight, std=0.001)

    def output(self, features: Features, labels: Tensor, indices_tuple: Indices | None = None) -> LossOutput:
        """Return the loss of B images' features and (B,) labels."""
        refuse_indices(self, indices_tuple)
        stripes = stripes_of(self, features)
        logits = torch.einsum("bsd,snd->bsn", stripes, self.weight.to(stripes.dtype))
        diagnostics = {"accuracy": (logits.detach().argmax(-1) == labels[:, None]).float().mean()}
        return LossOutput(
            functional.cross_entropy(
                logits.flatten(0, 1),
                labels.repeat_interleave(logits.shape[1]),
                label_smoothing=self.label_smoothing,
            ),
            diagnostics,
        )
