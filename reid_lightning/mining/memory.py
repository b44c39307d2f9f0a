"""Cross-batch memory: embeddings of earlier batches, to which the images of a batch are compared as well."""

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from reid_lightning.distances import unit_vectors
from reid_lightning.errors import require
from reid_lightning.losses.spec import LossOutput, MetricLoss, compares_unit_vectors, output_of, spec_of
from reid_lightning.mining.batch_hard import Across

EMPTY = -1  # the label of a place that holds nothing yet


@runtime_checkable
class MinesAcross(Protocol):
    """A miner that also finds triplets between a batch and other vectors."""

    def across(self, embeddings: Tensor, labels: Tensor, others: Tensor, other_labels: Tensor) -> Across:
        """Return a positive and a negative among the others for each anchor; a label of -1 is no vector."""


class CrossBatchMemory(nn.Module):
    """The last embeddings of the training with their labels (Wang et al. 2020, "Cross-Batch Memory for Embedding Learning").

    Embeddings change slowly once a training has settled, so that those of earlier batches still say where their people lie.
    A loss then costs its batch, plus `weight` times the pairs of an image of the batch with an image of the memory. The
    memory passes no gradient. It is filled from the first step on, and used after `warmup` steps. It travels in
    checkpoints.

    Args:
        size: Embeddings that it holds; the oldest make room.
        embedding_size: D.
        warmup: Batches after which it is used.
        weight: Factor of the term beside that of the batch.

    Raises:
        ValueError: A number is out of range.

    Examples:
        >>> memory = CrossBatchMemory(size=3, embedding_size=1, warmup=1)
        >>> memory.remember(torch.tensor([[1.0], [2.0]]), torch.tensor([5, 6]))
        >>> memory.remember(torch.tensor([[3.0], [4.0]]), torch.tensor([7, 8]))
        >>> memory.vectors.flatten().tolist(), memory.labels.tolist()
        ([4.0, 2.0, 3.0], [8, 6, 7])
    """

    vectors: Tensor
    labels: Tensor
    place: Tensor
    steps: Tensor

    def __init__(self, size: int, embedding_size: int, warmup: int = 1000, weight: float = 1.0) -> None:
        super().__init__()
        require(size >= 1, "size", ">= 1", size)
        require(warmup >= 0, "warmup", ">= 0", warmup)
        require(weight >= 0, "weight", ">= 0", weight)
        self.size, self.warmup, self.weight = size, warmup, weight
        self.register_buffer("vectors", torch.zeros(size, embedding_size))
        self.register_buffer("labels", torch.full((size,), EMPTY))
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def remember(self, embeddings: Tensor, labels: Tensor) -> None:
        """Take the (N, D) embeddings of a batch in, in place of the oldest; of more than `size` the last ones."""
        embeddings, labels = embeddings.detach()[-self.size :], labels[-self.size :]
        places = (self.place + torch.arange(len(labels), device=labels.device)) % self.size
        self.vectors.index_copy_(0, places, embeddings.to(self.vectors.dtype))
        self.labels.index_copy_(0, places, labels)
        self.place.add_(len(labels)).remainder_(self.size)
        self.steps.add_(1)

    def output(self, loss: nn.Module, embeddings: Tensor, labels: Tensor, miner: Any) -> LossOutput:
        """Return what the pairs of a batch with the memory cost; zero, with a gradient, where there are none.

        Args:
            loss: One that `can_use_memory`.
            embeddings: (N, D) of the batch.
            labels: (N,).
            miner: As of the batch; None for a loss that forms its own pairs.
        """
        others = self.vectors.to(embeddings.dtype)
        # No question to the device: until the warm-up is over all places count as empty.
        theirs = torch.where(self.steps >= self.warmup, self.labels, EMPTY)
        if isinstance(loss, MetricLoss) and spec_of(loss).forms_own_pairs:
            return loss.output_across(embeddings, labels, others, theirs)
        unit = compares_unit_vectors(loss)
        own = embeddings.detach()
        found = miner.across(
            unit_vectors(own) if unit else own, labels, unit_vectors(others) if unit else others, theirs
        )
        joined = torch.cat((embeddings, others[found.positives], others[found.negatives]))
        joined_labels = torch.cat((labels, theirs[found.positives], theirs[found.negatives]))
        count = len(labels)
        anchors = torch.arange(count, device=labels.device)
        places = [torch.where(found.there, anchors + count * part, anchors) for part in (1, 2)]
        if spec_of(loss).takes_padding:
            return output_of(loss, joined, joined_labels, (anchors, places[0], places[1]))
        kept = found.there.nonzero().flatten()
        return output_of(loss, joined, joined_labels, (kept, places[0][kept], places[1][kept]))


def can_use_memory(loss: nn.Module, miner: Any) -> bool:
    """Return whether a loss can compare a batch with the memory, by its own pairs or by a miner that can."""
    spec = spec_of(loss)
    if spec.reads or spec.per_image or spec.keeps_state:
        return False
    if spec.forms_own_pairs:
        return isinstance(loss, MetricLoss) and type(loss).output_across is not MetricLoss.output_across
    return isinstance(miner, MinesAcross)
