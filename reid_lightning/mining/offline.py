"""Offline mining: triplets chosen before the batch is made, at random or among the last neighbors."""

from typing import get_args

import numpy as np
import torch
from torch import Tensor, nn

from reid_lightning.data.triplet_sampler import NegativePools
from reid_lightning.distances import Distance
from reid_lightning.errors import require
from reid_lightning.retrieval.neighbour_index import IndexKind, build_index, check_index_kind


class OfflineMiner(nn.Module):
    """The triplets as the sampler drew them (FH Kiel 2020, first round).

    `sampler=triplets` lays them out image after image (anchor, positive, negative, anchor, ...), in a joined batch
    of several processes too, so that their places say all.

    Examples:
        >>> [indices.tolist() for indices in OfflineMiner()(torch.zeros(6, 1), torch.tensor([0, 0, 1, 2, 2, 0]))]
        [[0, 3], [1, 4], [2, 5]]
    """

    needs_triplets = True  # of the sampler

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return anchors, positives and negatives, (T,) int64 each, of (3 T, D) embeddings and (3 T,) labels.

        Raises:
            ValueError: The batch is not one of triplets.
        """
        if len(labels) % 3:
            raise ValueError(
                f"a batch of {len(labels)} images is not one of triplets; use the sampler of triplets"
            )
        anchors = torch.arange(0, len(labels), 3, device=labels.device)
        return anchors, anchors + 1, anchors + 2


class OfflineHardMiner(OfflineMiner):
    """Triplets whose negatives come in part from the wrong neighbors of the person (FH Kiel 2020, second round).

    The first round trains on random triplets. Then, and again every few epochs, the whole training set is embedded and
    each image's nearest neighbors are found. Those that show somebody else are the wrong neighbors of its
    person, from which a share of the negatives is drawn until they are found again.

    Args:
        first_round: Fraction of the run's epochs that train on random triplets, at least one epoch.
        every: Epochs from one search to the next.
        neighbours: Nearest neighbors of each image that are looked at.
        share: Fraction of a batch's triplets whose negative is a wrong neighbor.
        search: How neighbors are found, see `neighbour_index.build_index`: "exact", or by FAISS.

    Raises:
        ValueError: A setting is out of range, or FAISS is wanted and not installed.
    """

    def __init__(
        self,
        first_round: float = 0.5,
        every: int = 5,
        neighbours: int = 10,
        share: float = 0.3,
        search: IndexKind = "exact",
    ) -> None:
        super().__init__()
        require(0 <= first_round < 1, "first_round", "in [0, 1)", first_round)
        require(every >= 1, "every", ">= 1", every)
        require(neighbours >= 1, "neighbours", ">= 1", neighbours)
        require(0 < share <= 1, "share", "in (0, 1]", share)
        require(search in get_args(IndexKind), "search", f"one of {', '.join(get_args(IndexKind))}", search)
        check_index_kind(search)
        self.first_round, self.every, self.neighbours, self.share = first_round, every, neighbours, share
        self.search = search

    def is_due(self, epochs_done: int, epochs: int) -> bool:
        """Return whether neighbors are searched after so many epochs of so many.

        Examples:
            >>> [done for done in range(17) if OfflineHardMiner().is_due(done, 16)]
            [8, 13]
        """
        since = epochs_done - max(1, round(self.first_round * epochs))
        return since >= 0 and since % self.every == 0 and epochs_done < epochs


@torch.no_grad()
def wrong_neighbours(
    embeddings: Tensor,
    labels: Tensor,
    neighbours: int = 10,
    distance: Distance = "euclidean",
    search: IndexKind = "exact",
) -> NegativePools:
    """Collect, for each identity, the nearest neighbors of its images that show somebody else.

    Memory grows with the images times `neighbours`, beside one chunk of similarities.

    Args:
        embeddings: (N, D) of all training images.
        labels: (N,) contiguous from 0.
        neighbours: Neighbors of each image, itself left out.
        distance: How embeddings are compared.
        search: How neighbors are found; an approximate one may miss some.

    Returns:
        A pool per identity; each image stands in it once, in increasing order.

    Examples:
        >>> pools = wrong_neighbours(torch.tensor([[0.0], [1.0], [1.5], [9.0]]), torch.tensor([0, 0, 1, 2]), 1)
        >>> pools.starts.tolist(), pools.members.tolist()  # 0: none; 1: image 1; 2: image 2
        ([0, 1, 2, 3], [2, 1, 2])
    """
    found = build_index(embeddings, distance, search).nearest(embeddings, neighbours + 1).indices
    itself = found == torch.arange(len(found), device=found.device)[:, None]
    # An image may miss in its own list behind so many equal ones; then the last of them goes instead.
    itself[:, -1] |= ~itself.any(dim=1)
    others = found[~itself].view(len(found), -1)
    wrong = (labels[others] != labels[:, None]) & (others >= 0)
    pairs = torch.stack([labels[:, None].expand_as(others)[wrong], others[wrong]], dim=1).unique(dim=0)
    counts = torch.bincount(pairs[:, 0], minlength=int(labels.max()) + 1).cpu().numpy()
    return NegativePools(np.concatenate([[0], np.cumsum(counts)]), pairs[:, 1].cpu().numpy())
