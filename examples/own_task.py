"""A task of your own: which camera has seen the person, from the vector before the neck.

PYTHONPATH=examples python train.py +tasks.camera._target_=own_task.CameraTask +tasks.camera.weight=0.2
"""

from torch import nn
from torch.nn import functional
from torchmetrics.classification import MulticlassAccuracy

from reid_lightning import Task
from reid_lightning.losses.spec import LossOutput


class CameraTask(Task):
    """A linear classifier of cameras; how often it is right is logged as `val/camera/accuracy`."""

    def __init__(self, weight: float = 1.0, cameras: int = 6, in_features: int = 512):
        super().__init__({"camera": weight})  # the terms that it trains, with their weights
        self.head = nn.Linear(in_features, cameras)
        self.accuracy = MulticlassAccuracy(cameras, average="micro", ignore_index=-1)
        self.found: dict[str, float] = {}

    @classmethod
    def from_config(cls, plan):
        """Return the task of a run: its settings under `tasks.camera`, sized for the network."""
        return cls(**plan.settings, in_features=plan.network.embedding_size)

    def losses(self, network, features, batch, gather):
        """Return its term; cameras are -1 where unknown."""
        logits = self.head(features.before_neck.float())
        return {"camera": LossOutput(functional.cross_entropy(logits, batch["camera_ids"], ignore_index=-1))}

    def reset(self):
        """Forget the last evaluation."""
        self.accuracy.reset()

    def update(self, network, features, batch):
        """Take in a batch of an evaluation."""
        self.accuracy.update(self.head(features.before_neck.float()), batch["camera_ids"])

    def compute(self):
        """Return its numbers, over all processes."""
        self.found = {"accuracy": float(self.accuracy.compute())}
        return self.found

    def scores(self, run):
        """Return what stands in `metrics.json["camera"]`."""
        return self.found

    def line(self, scores):
        """Return what the console and the page say."""
        return f"camera: {100 * scores['accuracy']:.1f} right" if scores else None
