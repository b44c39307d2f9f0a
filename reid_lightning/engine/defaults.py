"""What a module trains with by default: the defaults of `conf/config.yaml`."""

from torch import nn

from reid_lightning.engine.objective import Objective
from reid_lightning.engine.schedules import CosineSchedule
from reid_lightning.losses.triplet import TripletLoss
from reid_lightning.mining.batch_hard import BatchHardMiner
from reid_lightning.models.network import ReIDNetwork
from reid_lightning.systems.identity.task import IdentityTask


def default_objective(network: ReIDNetwork) -> Objective:
    """Return the identity's cross-entropy, where the network has a classifier, plus a batch-hard triplet loss."""
    classifier: nn.Module | None = network.classifier
    smoothing = float(getattr(classifier, "label_smoothing", 0.0))
    return Objective(
        tasks={"identity": IdentityTask(0.0 if classifier is None else 1.0, smoothing)},
        losses={"triplet": TripletLoss()},
        miners={"triplet": BatchHardMiner()},
    )


def default_schedule() -> CosineSchedule:
    """Return half a cosine after a linear warm-up of one epoch."""
    return CosineSchedule(warmup_epochs=1.0)
