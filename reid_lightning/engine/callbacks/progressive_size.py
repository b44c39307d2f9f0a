"""Training that begins with small images."""

from collections.abc import Sequence

from lightning import LightningModule, Trainer
from lightning.pytorch import Callback
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from reid_lightning.errors import require
from reid_lightning.models.backbone import takes_one_size

MULTIPLE = 8  # pixels; so that sides stay whole through the strides of a backbone


class ProgressiveSize(Callback):
    """Trains on small images first and on full ones at the end (Tan and Le 2021, "EfficientNetV2", Sec. 4).

    A step on half the height and width costs about a quarter, and what it teaches a convolutional network holds for larger
    images. Images are augmented at full size and then reduced on the device; validation and test see full images. What an
    epoch trains on follows from its number alone, so a resumed run continues with the same size.

    Args:
        scales: Share of the height and width of each stage, 0 to 1.
        starts: Share of the epochs after which each stage begins, increasing, the first 0.

    Raises:
        ValueError: A number is out of range, or there are not as many starts as scales.

    Examples:
        >>> callback = ProgressiveSize(scales=[0.5, 0.75, 1.0], starts=[0.0, 0.5, 0.8])
        >>> [callback.size_at(epoch, 10, (256, 128)) for epoch in (0, 4, 5, 8)]
        [(128, 64), (128, 64), (192, 96), (256, 128)]
    """

    def __init__(self, scales: Sequence[float] = (0.5, 0.75, 1.0), starts: Sequence[float] = (0.0, 0.5, 0.8)):
        require(bool(scales) and all(0 < scale <= 1 for scale in scales), "scales", "> 0 and <= 1", scales)
        require(len(starts) == len(scales), "starts", f"{len(scales)} numbers, one per scale", starts)
        ordered = list(starts) == sorted(set(starts)) and starts[0] == 0 and starts[-1] < 1
        require(ordered, "starts", "increasing from 0 and below 1", starts)
        self.scales, self.starts = list(scales), list(starts)

    def size_at(self, epoch: int, epochs: int, size: tuple[int, int]) -> tuple[int, int]:
        """Return the height and width in pixels that an epoch trains on.

        Args:
            epoch: Its number, from 0.
            epochs: Epochs of the run.
            size: Height and width of the full images.
        """
        stage = max(i for i, start in enumerate(self.starts) if epoch >= round(start * epochs))
        height, width = (
            max(MULTIPLE, round(side * self.scales[stage] / MULTIPLE) * MULTIPLE) for side in size
        )
        return (height, width) if self.scales[stage] < 1 else size

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a backbone that takes one size only."""
        if takes_one_size(pl_module.network.backbone):  # type: ignore[union-attr,arg-type]
            raise ValueError(
                "this backbone takes images of one size; leave callbacks.progressive_size out, or choose a "
                "convolutional backbone"
            )

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: dict[str, Tensor], batch_idx: int
    ) -> None:
        """Reduce the images of a batch, in place of the full ones."""
        images = batch["images"]
        full = images.shape[-2], images.shape[-1]
        size = self.size_at(trainer.current_epoch, trainer.max_epochs or 1, full)
        if size != full:
            batch["images"] = resize(images, list(size), antialias=True)
