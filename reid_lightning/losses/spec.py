"""What a loss says of itself, and what it returns beside its value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from reid_lightning.distances import promote
from reid_lightning.losses.pairs import Indices
from reid_lightning.models.features import Features


@dataclass(frozen=True)
class LossSpec:
    """What the caller of a loss must know about it.

    Attributes:
        reads: Fields of `Features.extra` that the loss reads. With any, it takes whole `Features` in place of embeddings.
        forms_own_pairs: It forms its pairs or triplets from the whole batch and takes no indices of a miner.
        takes_padding: It leaves out triplets whose positive is the anchor, so that a miner need not ask the device how
            many there are.
        per_image: It is a mean over images, and every process may take it over its own.
        needs_positives: It compares images of one person, so that a batch must hold several.
        of_triplets: It wants an anchor's negatives farther than its positives, by `margin` where it has one, as Euclidean
            distances or, where it has a true `squared`, their squares.
        keeps_state: It keeps something from step to step (centers), and must see the same batch in all processes.
    """

    reads: tuple[str, ...] = ()
    forms_own_pairs: bool = False
    takes_padding: bool = False
    per_image: bool = False
    needs_positives: bool = True
    of_triplets: bool = False
    keeps_state: bool = False


@dataclass(frozen=True)
class LossOutput:
    """The outcome of a loss.

    Attributes:
        value: Scalar to minimize, before its weight.
        diagnostics: Detached scalars that show collapse (active fraction, distances, norm), by name. `Deferred` ones cost
            nothing where nobody reads them.
    """

    value: Tensor
    diagnostics: Mapping[str, Tensor] = field(default_factory=dict)


class MetricLoss(nn.Module):
    """A loss of this package: `loss(embeddings, labels, indices_tuple=None) -> scalar`, as in pytorch-metric-learning.

    A subclass declares its `spec` and computes `output`; it keeps nothing of a step behind.
    """

    spec: ClassVar[LossSpec] = LossSpec()
    normalize: bool = False
    """Whether embeddings are scaled to length 1 first; miners then see unit vectors too."""

    def output(self, embeddings: Any, labels: Tensor, indices_tuple: Indices | None = None) -> LossOutput:
        """Return value and diagnostics.

        Args:
            embeddings: (N, D); whole `Features` of N images where the spec reads fields of it.
            labels: (N,).
            indices_tuple: Of a miner; None stands for all valid triplets.
        """
        raise NotImplementedError

    def output_across(
        self, embeddings: Tensor, labels: Tensor, others: Tensor, other_labels: Tensor
    ) -> LossOutput:
        """Return value and diagnostics of the pairs of two sets; a loss that forms its own pairs may define it.

        Args:
            embeddings: (N, D).
            labels: (N,).
            others: (M, D), which pass no gradient.
            other_labels: (M,), -1 where there is no vector.
        """
        raise NotImplementedError

    def forward(
        self, embeddings: Tensor | Features, labels: Tensor, indices_tuple: Indices | None = None
    ) -> Tensor:
        """Return the scalar loss of (N, D) embeddings and (N,) labels; None stands for all valid triplets.

        It is computed without autocast, of half types in float32, because distances and logarithms lose their meaning
        in 16 bits. `output` leaves that to its caller.
        """
        given = embeddings.each(promote) if isinstance(embeddings, Features) else promote(embeddings)
        if not torch.is_autocast_enabled(labels.device.type):  # to ask is cheaper than to switch
            return self.output(given, labels, indices_tuple).value
        with torch.autocast(labels.device.type, enabled=False):
            return self.output(given, labels, indices_tuple).value


FOREIGN = LossSpec(needs_positives=False)
"""Of a loss from another library: it reads embeddings and a miner's indices."""


def spec_of(loss: Any) -> LossSpec:
    """Return what a loss, its class or a partial of it says of itself."""
    while isinstance(loss, partial):  # one of a config holds another
        loss = loss.func
    spec = getattr(loss, "spec", None)
    return spec if isinstance(spec, LossSpec) else FOREIGN


def output_of(
    loss: nn.Module, embeddings: Any, labels: Tensor, indices_tuple: Indices | None = None
) -> LossOutput:
    """Return the outcome of any loss; one of another library has no diagnostics."""
    if isinstance(loss, MetricLoss):
        return loss.output(embeddings, labels, indices_tuple)
    return LossOutput(loss(embeddings, labels, indices_tuple))


def compares_unit_vectors(loss: nn.Module) -> bool:
    """Return whether a loss scales embeddings to length 1; those of pytorch-metric-learning do so in their distance."""
    distance = getattr(loss, "distance", None)
    return bool(getattr(loss, "normalize", False) or getattr(distance, "normalize_embeddings", False))


def margin_of(loss: nn.Module) -> float | None:
    """Return the gap of two distances that a loss of triplets asks for; None where it asks for ever more."""
    return None if getattr(loss, "soft_margin", False) else getattr(loss, "margin", None)
