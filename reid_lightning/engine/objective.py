"""What is minimised: the identity term and any number of metric losses, weighed and added."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from reid_lightning.distances import promote, unit_vectors
from reid_lightning.errors import InputError
from reid_lightning.losses.attributes import AttributeLoss
from reid_lightning.models.features import Features

log = logging.getLogger("reid_lightning")


@dataclass(frozen=True)
class Objective:
    """The outcome of one step.

    Attributes:
        total: Scalar to minimise.
        terms: Every term before its weight, by name.
        diagnostics: Detached scalars that show collapse (active fraction, distances, norm), as "loss/name".
    """

    total: Tensor
    terms: dict[str, Tensor]
    diagnostics: dict[str, Tensor]


class MultiTaskObjective(nn.Module):
    """Weighted sum of the identity cross-entropy and metric losses over one miner.

    Every loss and miner runs with autocast off, and on half types promoted to float32, because distances and
    logarithms lose their meaning in 16 bits; float64 stays float64.

    Args:
        losses: Metric losses by name, `loss(embeddings, labels, indices_tuple=None) -> scalar`; those with
            `reads_features` take whole `Features` in place of embeddings, those with `per_image` are means over images,
            those with `takes_padding` leave out triplets whose positive is the anchor.
        weights: Weight per loss name.
        identity_weight: Weight of the identity cross-entropy; 0 leaves the classifier untrained.
        label_smoothing: Fraction of the target spread over the other identities.
        miner: `miner(embeddings, labels) -> (anchors, positives, negatives)`, or None for all valid triplets. One whose
            count depends on the batch may have a method `padded` that need not ask the device for it.
        across_ranks: Metric losses and miners see the batch of all processes together; False: each process its own
            share.
        attribute_loss: Loss of the attribute heads; None without them.
        attribute_weight: Its weight.
    """

    def __init__(
        self,
        losses: Mapping[str, nn.Module],
        weights: Mapping[str, float],
        identity_weight: float = 1.0,
        label_smoothing: float = 0.0,
        miner: Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]] | None = None,
        across_ranks: bool = True,
        attribute_loss: AttributeLoss | None = None,
        attribute_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.losses = nn.ModuleDict(losses)
        self.weights = dict(weights)
        self.identity_weight = identity_weight
        self.label_smoothing = label_smoothing
        self.miner = miner
        self.across_ranks = across_ranks
        self.attribute_loss = attribute_loss
        self.attribute_weight = attribute_weight
        self._check()

    def _check(self) -> None:
        if not self.losses and not self.identity_weight and self.attribute_loss is None:
            raise InputError(
                "nothing to train: choose a loss (loss=triplet) or a classifier (classifier=softmax)"
            )
        own = [
            name
            for name, loss in self.losses.items()
            if getattr(loss, "forms_own_pairs", False) and not getattr(loss, "per_image", False)
        ]
        if own and self.miner is not None:
            log.info(
                "the miner does not serve %s, which forms its own pairs from the whole batch",
                " and ".join(own),
            )

    def forward(
        self,
        features: Features,
        labels: Tensor,
        logits: Tensor | None,
        gather: Callable[[Tensor], Tensor] = lambda tensor: tensor,
        attributes: Tensor | None = None,
    ) -> Objective:
        """Compute every term of a batch.

        Args:
            features: The network's output for this process's B images.
            labels: (B,) training identities.
            logits: (B, identities) of the classifier, or None without one.
            gather: Joins a tensor of all processes along dimension 0, with gradients. Metric losses see the
                joined batch (unless `across_ranks` is off), so that several processes train as one would; the
                identity term is a mean over images and needs no joining.
            attributes: (B, heads) classes, -1 where unknown; read where there are attribute heads.
        """
        with torch.autocast(features.before_neck.device.type, enabled=False):
            terms: dict[str, Tensor] = {}
            diagnostics: dict[str, Tensor] = {}
            if logits is not None and self.identity_weight:
                terms["identity"] = functional.cross_entropy(
                    promote(logits), labels, label_smoothing=self.label_smoothing
                )
            total = (
                self.identity_weight * terms["identity"]
                if terms
                else promote(features.before_neck).new_zeros(())
            )
            if self.attribute_loss is not None and "attributes" in features.extra and attributes is not None:
                # Joined, because how many labels are known differs between processes.
                logits_of_all = gather(promote(features.extra["attributes"]))
                terms["attributes"] = self.attribute_loss(logits_of_all, gather(attributes))
                total = total + self.attribute_weight * terms["attributes"]
            if self.losses:
                own = features.each(promote), labels
                joined = self._joined(own[0], gather), gather(labels)
                mined: dict[tuple[bool, ...], Any] = {}
                for name, loss in self.losses.items():
                    joins = self._joins(loss)
                    seen, seen_labels = joined if joins else own
                    embeddings = seen.before_neck
                    indices = None
                    if self.miner is not None and not getattr(loss, "forms_own_pairs", False):
                        unit, padded = compares_unit_vectors(loss), getattr(loss, "takes_padding", False)
                        if (unit, joins, padded) not in mined:  # mine on the vectors that the loss compares
                            vectors = embeddings.detach()
                            mine = getattr(self.miner, "padded", self.miner) if padded else self.miner
                            mined[unit, joins, padded] = mine(
                                unit_vectors(vectors) if unit else vectors, seen_labels
                            )
                        indices = mined[unit, joins, padded]
                    given = seen if getattr(loss, "reads_features", False) else embeddings
                    terms[name] = loss(given, seen_labels, indices)
                    total = total + self.weights[name] * terms[name]
                    for key, value in getattr(loss, "diagnostics", {}).items():
                        diagnostics[f"{name}/{key}"] = value
        return Objective(total, terms, diagnostics)

    def _joins(self, loss: nn.Module) -> bool:
        """Return whether a loss sees the batch of all processes."""
        if getattr(loss, "per_image", False):
            return False
        # A loss that keeps something from step to step (centers) keeps it alike in all processes.
        return self.across_ranks or any(True for _ in loss.buffers())

    def _joined(self, features: Features, gather: Callable[[Tensor], Tensor]) -> Features:
        """Join the fields that losses read over all processes: the metric vector, or whole features where any loss does."""
        whole = any(
            getattr(loss, "reads_features", False) and self._joins(loss) for loss in self.losses.values()
        )
        if not whole:
            return features._replace(before_neck=gather(features.before_neck))
        return features.each(gather)


def compares_unit_vectors(loss: nn.Module) -> bool:
    """Return whether a loss scales embeddings to length 1; those of pytorch-metric-learning do so in their distance."""
    distance = getattr(loss, "distance", None)
    return bool(getattr(loss, "normalize", getattr(distance, "normalize_embeddings", False)))
