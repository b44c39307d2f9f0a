"""Semi-hard mining: negatives that are farther than the positive, but barely."""

import torch
from torch import Tensor, nn

from reid_lightning.distances import pairwise_distances


class SemiHardMiner(nn.Module):
    """For each anchor and positive the nearest negative that is farther than the positive (Schroff et al. 2015, eq. 4).

    Whether it lies inside the margin is the loss's to say: beyond it a hinge costs nothing. So the choice needs no
    margin and is the same for plain and squared distances. A pair without a farther negative gives no triplet.

    Examples:
        >>> embeddings, labels = torch.tensor([[0.0], [1.0], [1.5], [9.0]]), torch.tensor([0, 0, 1, 2])
        >>> [indices.tolist() for indices in SemiHardMiner()(embeddings, labels)]
        [[0, 1], [1, 0], [2, 3]]
    """

    @torch.no_grad()
    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return anchors, positives and negatives, (T,) int64 each, of (N, D) embeddings and (N,) labels."""
        distances = pairwise_distances(embeddings, distance="sqeuclidean")
        same = labels[:, None] == labels[None, :]
        anchors, positives = same.clone().fill_diagonal_(False).nonzero(as_tuple=True)
        candidates = distances.masked_fill(same, -torch.inf)[anchors]
        nearer = candidates <= distances[anchors, positives][:, None]
        nearest = candidates.masked_fill_(nearer, torch.inf).min(dim=1)
        found = nearest.values != torch.inf
        return anchors[found], positives[found], nearest.indices[found]
