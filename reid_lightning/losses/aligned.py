"""AlignedReID's loss: triplets mined on the global distance, asked for a margin in the global and the aligned one."""

from torch import Tensor

from reid_lightning.config.declared import ignores
from reid_lightning.distances import aligned_distances
from reid_lightning.errors import require
from reid_lightning.losses.pairs import Deferred, Indices
from reid_lightning.losses.spec import LossOutput, LossSpec, MetricLoss
from reid_lightning.losses.stripes import stripes_of
from reid_lightning.losses.triplet import hinge
from reid_lightning.losses.triplet_costs import Cost, mean_cost_in_matrix, mean_triplet_cost
from reid_lightning.models.features import Features


@ignores("local_margin", "the local term has no weight", local_weight=0)
class AlignedReIDLoss(MetricLoss):
    """Global and local triplet loss of the same triplets (Zhang et al. 2017, "AlignedReID", Sec. 3.2-3.3).

    A triplet costs `max(d(a,p) - d(a,n) + margin, 0)` with Euclidean distances of `Features.before_neck`, on which the miner
    chooses it, plus the same with the aligned distances of its stripes (`distances.aligned_distances`).

    Args:
        margin: Smallest wanted gap of the global distances, in their unit.
        local_margin: Smallest wanted gap of the aligned distances, of which a stripe contributes at most 1.
        local_weight: Factor of the local term; 0 leaves the global triplet loss.

    Raises:
        ValueError: A setting is negative.

    Examples:
        >>> import torch
        >>> vectors, labels = torch.tensor([[0.0], [1.0], [1.5]]), torch.tensor([0, 0, 1])
        >>> stripes = torch.tensor([[[0.0], [90.0]], [[0.0], [90.0]], [[180.0], [270.0]]])
        >>> features = Features(vectors, vectors, vectors, {"stripes": stripes})
        >>> AlignedReIDLoss(margin=0.5)(features, labels)  # the stripes of 0 and 1 are alike: 0.5 and nothing
        tensor(0.5000)
    """

    spec = LossSpec(of_triplets=True, reads=("stripes",), takes_padding=True)

    def __init__(self, margin: float = 0.3, local_margin: float = 0.3, local_weight: float = 1.0) -> None:
        super().__init__()
        require(margin >= 0, "margin", ">= 0", margin)
        self.margin = margin
        require(local_margin >= 0, "local_margin", ">= 0", local_margin)
        self.local_margin = local_margin
        require(local_weight >= 0, "local_weight", ">= 0", local_weight)
        self.local_weight = local_weight

    def output(self, features: Features, labels: Tensor, indices_tuple: Indices | None = None) -> LossOutput:
        """Return the loss of N images' features and (N,) labels; None stands for all valid triplets."""
        stripes = stripes_of(self, features)
        whole, found = mean_triplet_cost(features.before_neck, labels, indices_tuple, self._cost(self.margin))
        local, found_local = mean_cost_in_matrix(
            aligned_distances(stripes),
            labels,
            indices_tuple,
            self._cost(self.local_margin),
            active_only=False,
            embeddings=stripes.flatten(1),
        )
        diagnostics = Deferred(
            lambda: {**found, **{f"local_{name}": found_local[name] for name in found_local}}
        )
        return LossOutput(whole + self.local_weight * local, diagnostics)

    @staticmethod
    def _cost(margin: float) -> Cost:
        return lambda positive, negative: hinge(positive - negative + margin)
