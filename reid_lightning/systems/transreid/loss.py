"""What trains the groups of patches: an identity classifier and triplets for each."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from reid_lightning.errors import require
from reid_lightning.losses.pairs import Indices, refuse_indices
from reid_lightning.losses.spec import LossOutput, LossSpec, MetricLoss
from reid_lightning.losses.triplet import TripletLoss
from reid_lightning.mining.batch_hard import BatchHardMiner
from reid_lightning.models.features import Features


class JigsawLoss(MetricLoss):
    """The mean over groups of cross-entropy plus batch-hard triplet loss (He et al. 2021, "TransReID", eq. 5).

    Each group has a batch normalization without shift and a linear classifier without bias; triplets read the feature before
    it. The paper gives the whole image half of the sum and the groups together the other half: `weight=0.5` here,
    `classifier.weight=0.5` and `loss.triplet.weight=0.5`.

    Args:
        num_classes: Training identities; the objective fills it in.
        num_parts: Rows of the field: the image and its groups; the objective fills it in.
        part_size: Dimensions of a feature; the objective fills it in.
        label_smoothing: Fraction of the target spread over the other identities.
        margin: Of the triplets; None: the soft margin, `ln(1 + exp(gap))`.

    Examples:
        >>> loss = JigsawLoss(num_classes=5, num_parts=3, part_size=2)
        >>> vectors = torch.zeros(4, 2)
        >>> features = Features(vectors, vectors, vectors, {"jigsaw": torch.zeros(4, 3, 2)})
        >>> loss(features, torch.tensor([0, 0, 1, 1])).detach()  # ln 5 + ln 2: it knows nothing
        tensor(2.3026)
    """

    spec = LossSpec(reads=("jigsaw",), forms_own_pairs=True)

    def __init__(
        self,
        num_classes: int,
        num_parts: int,
        part_size: int,
        label_smoothing: float = 0.0,
        margin: float | None = None,
    ) -> None:
        super().__init__()
        require(num_parts >= 2, "num_parts", ">= 2, the image and its groups", num_parts)
        self.label_smoothing = label_smoothing
        self.norms = nn.ModuleList(nn.BatchNorm1d(part_size) for _ in range(num_parts - 1))
        for norm in self.norms:
            norm.bias.requires_grad_(False)
        self.weight = nn.Parameter(torch.empty(num_parts - 1, num_classes, part_size))
        nn.init.normal_(self.weight, std=0.001)
        self.triplet = TripletLoss(soft_margin=True) if margin is None else TripletLoss(margin)
        self.miner = BatchHardMiner()

    def output(self, features: Features, labels: Tensor, indices_tuple: Indices | None = None) -> LossOutput:
        """Return the loss of N images' features and (N,) labels.

        Raises:
            ValueError: The network gives no groups.
        """
        refuse_indices(self, indices_tuple)
        if "jigsaw" not in features.extra:
            raise ValueError(
                f"{type(self).__name__} reads features of groups of patches, which this network does not give"
            )
        local = features.extra["jigsaw"][:, 1:]
        groups = local.shape[1]
        identity, triplet, right = [], [], []
        for norm, weight, divided in zip(self.norms, self.weight, local.unbind(1), strict=True):
            vectors = divided * groups  # the field holds a share of each
            logits = functional.linear(norm(vectors), weight.to(vectors.dtype))
            identity.append(functional.cross_entropy(logits, labels, label_smoothing=self.label_smoothing))
            mined = self.miner.padded(vectors.detach(), labels)
            triplet.append(self.triplet.output(vectors, labels, mined).value)
            right.append((logits.detach().argmax(1) == labels).float().mean())
        value = torch.stack(identity).mean() + torch.stack(triplet).mean()
        return LossOutput(value, {"accuracy": torch.stack(right).mean()})
