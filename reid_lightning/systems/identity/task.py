"""Who is it: the classifier over the training identities."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from reid_lightning.distances import promote
from reid_lightning.losses.spec import LossOutput
from reid_lightning.models.features import Features
from reid_lightning.models.network import ReIDNetwork
from reid_lightning.systems.task import Gather, Plan, Task


class IdentityTask(Task):
    """Cross-entropy of the network's identity classifier (the "ID loss" of BoT, Luo et al. 2019).

    It is a mean over images, so that each process takes it over its own. The retrieval that identities are judged by is
    every run's and not this task's.

    Args:
        weight: Factor of the cross-entropy; 0 leaves the classifier untrained.
        label_smoothing: Fraction of the target spread over the other identities (Szegedy et al. 2016, Sec. 7).
    """

    name = "identity"
    own_settings = False

    def __init__(self, weight: float = 1.0, label_smoothing: float = 0.0) -> None:
        super().__init__({"identity": weight} if weight else {})
        self.label_smoothing = label_smoothing

    @classmethod
    def from_config(cls, plan: Plan) -> "IdentityTask":
        """Return the task of the network's classifier; it trains nothing if there is none."""
        weight = (
            float(plan.config["classifier"].get("weight", 1.0))
            if plan.network.classifier is not None
            else 0.0
        )
        return cls(weight, getattr(plan.network.classifier, "label_smoothing", 0.0))

    def losses(
        self, network: ReIDNetwork, features: Features, batch: Mapping[str, Tensor], gather: Gather
    ) -> dict[str, LossOutput]:
        """Return the cross-entropy of a batch."""
        labels = batch["labels"]
        logits = network.classify(features, labels) if self.weights else None
        if logits is None:
            return {}
        with torch.autocast(logits.device.type, enabled=False):
            value = functional.cross_entropy(promote(logits), labels, label_smoothing=self.label_smoothing)
        return {"identity": LossOutput(value)}

    def diagnostics(
        self, network: ReIDNetwork, features: Features, batch: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return how often the classifier is right, without its margin."""
        logits = network.classify(features) if self.weights else None
        if logits is None:
            return {}
        return {"accuracy": (logits.argmax(1) == batch["labels"]).float().mean()}
