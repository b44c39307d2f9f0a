"""A trained network with what its vectors depend on: what works on images, and brings no trainer along."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from reid_lightning.engine.objective import Objective
from reid_lightning.models.features import Features
from reid_lightning.models.network import ReIDNetwork
from reid_lightning.retrieval.calibration import Calibration
from reid_lightning.retrieval.evaluation import embed
from reid_lightning.retrieval.protocol import EvaluationProtocol
from reid_lightning.systems.task import Task


class TrainedModule(nn.Module):
    """What a `ReIDModule` is after its training: weights stand under the same names, and vectors are the same.

    Args:
        network: Maps images to `Features`.
        objective: Holds the tasks.
        protocol: How vectors are taken and compared.
        config: That it was built from, plain containers.
        identity_labels: "source/person_id" -> label.

    Attributes:
        calibration: What its distances mean; None where that is not known.
    """

    def __init__(
        self,
        network: ReIDNetwork,
        objective: Objective,
        protocol: EvaluationProtocol,
        config: Mapping[str, Any],
        identity_labels: Mapping[str, int],
    ) -> None:
        super().__init__()
        self.network, self.objective, self.protocol = network, objective, protocol
        self.config, self.identity_labels = dict(config), dict(identity_labels)
        self.calibration: Calibration | None = None

    @property
    def tasks(self) -> list[Task]:
        """The tasks beside the retrieval."""
        return list(self.objective.tasks.values())  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Features:
        """Return the features of (B, 3, H, W) images, uint8 or float in [0, 1]."""
        return self.network(images)

    def embed(self, images: Tensor) -> Tensor:
        """Return the (B, D) float32 retrieval vectors that the protocol compares."""
        return self.embed_with_features(images)[0]

    def embed_with_features(self, images: Tensor) -> tuple[Tensor, Features]:
        """Return what `embed` does, and all features of the images."""
        features = self.network(images)
        return embed(self.network, images, features, self.protocol)[0], features
