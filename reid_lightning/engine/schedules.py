"""Learning-rate schedules, stated in epochs and stepped with every optimizer step."""

import math
from collections.abc import Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from reid_lightning.config.declared import ignores
from reid_lightning.errors import require


@ignores("warmup_factor", "there is no warm-up", warmup_epochs=0)
class Schedule:
    """A constant learning rate after a linear warm-up; the other schedules change what follows it.

    Args:
        warmup_epochs: Length of the warm-up in epochs, fractions allowed; 0 for none.
        warmup_factor: Fraction of the learning rate that the warm-up starts from.
    """

    def __init__(self, warmup_epochs: float = 0.0, warmup_factor: float = 0.01) -> None:
        require(warmup_epochs >= 0, "warmup_epochs", ">= 0", warmup_epochs)
        require(0 <= warmup_factor <= 1, "warmup_factor", "between 0 and 1", warmup_factor)
        self.warmup_epochs, self.warmup_factor = warmup_epochs, warmup_factor

    def __call__(self, optimizer: Optimizer, steps_per_epoch: int, epochs: float) -> LambdaLR:
        """Return the scheduler of a run of so many epochs, to be stepped per optimizer step."""
        return LambdaLR(optimizer, lambda step: self.multiplier(step / steps_per_epoch, epochs))

    def multiplier(self, epoch: float, epochs: float) -> float:
        """Return the factor of the learning rate after so many epochs (fractional) of the run's length.

        Examples:
            >>> schedule = Schedule(warmup_epochs=10, warmup_factor=0.01)
            >>> [round(schedule.multiplier(epoch, 120), 4) for epoch in (0, 5, 10, 100)]
            [0.01, 0.505, 1.0, 1.0]
        """
        after = self.after_warmup(epoch, epochs)
        if epoch >= self.warmup_epochs:
            return after
        return after * (self.warmup_factor + (1 - self.warmup_factor) * epoch / self.warmup_epochs)

    def after_warmup(self, epoch: float, epochs: float) -> float:
        """Return the factor without the warm-up."""
        return 1.0


class StepSchedule(Schedule):
    """Multiply the learning rate at given epochs.

    Args:
        milestones: Epochs after which the rate is multiplied.
        factor: What it is multiplied by.
        warmup_epochs: Length of the linear warm-up in epochs.
        warmup_factor: Fraction of the learning rate that the warm-up starts from.

    Examples:
        >>> schedule = StepSchedule([40, 70], 0.1)
        >>> [round(schedule.multiplier(epoch, 120), 4) for epoch in (39.9, 40, 70)]
        [1.0, 0.1, 0.01]
    """

    def __init__(
        self,
        milestones: Sequence[float],
        factor: float = 0.1,
        warmup_epochs: float = 0.0,
        warmup_factor: float = 0.01,
    ) -> None:
        super().__init__(warmup_epochs, warmup_factor)
        self.milestones, self.factor = sorted(milestones), factor

    def after_warmup(self, epoch: float, epochs: float) -> float:
        """Return the factor without the warm-up."""
        return self.factor ** sum(epoch >= milestone for milestone in self.milestones)


class CosineSchedule(Schedule):
    """Half a cosine from the end of the warm-up to the end of the run (Loshchilov and Hutter 2017, eq. 5).

    Args:
        final_factor: Fraction of the learning rate at the end.
        warmup_epochs: Length of the linear warm-up in epochs.
        warmup_factor: Fraction of the learning rate that the warm-up starts from.

    Examples:
        >>> schedule = CosineSchedule(final_factor=0.0)
        >>> [round(schedule.multiplier(epoch, 10), 4) for epoch in (0, 5, 10)]
        [1.0, 0.5, 0.0]
    """

    def __init__(
        self, final_factor: float = 0.0, warmup_epochs: float = 0.0, warmup_factor: float = 0.01
    ) -> None:
        super().__init__(warmup_epochs, warmup_factor)
        self.final_factor = final_factor

    def after_warmup(self, epoch: float, epochs: float) -> float:
        """Return the factor without the warm-up."""
        done = (epoch - self.warmup_epochs) / max(1e-9, epochs - self.warmup_epochs)
        cosine = (1 + math.cos(math.pi * min(1.0, max(0.0, done)))) / 2
        return self.final_factor + (1 - self.final_factor) * cosine


class ExponentialSchedule(Schedule):
    """Constant, then an exponential decay to the end of the run (Hermans et al. 2017, eq. 10).

    Args:
        start: Where the decay begins, as a fraction of the run's length.
        final_factor: Fraction of the learning rate at the end, above 0.
        warmup_epochs: Length of the linear warm-up in epochs.
        warmup_factor: Fraction of the learning rate that the warm-up starts from.

    Raises:
        ValueError: `start` or `final_factor` is out of range.

    Examples:
        >>> schedule = ExponentialSchedule(start=0.6, final_factor=0.001)
        >>> [round(schedule.multiplier(epoch, 100), 4) for epoch in (0, 60, 80, 100)]
        [1.0, 1.0, 0.0316, 0.001]
    """

    def __init__(
        self,
        start: float = 0.6,
        final_factor: float = 0.001,
        warmup_epochs: float = 0.0,
        warmup_factor: float = 0.01,
    ) -> None:
        super().__init__(warmup_epochs, warmup_factor)
        require(0 <= start < 1, "start", "in [0, 1)", start)
        require(0 < final_factor <= 1, "final_factor", "in (0, 1]", final_factor)
        self.start, self.final_factor = start, final_factor

    def after_warmup(self, epoch: float, epochs: float) -> float:
        """Return the factor without the warm-up."""
        done = (epoch / epochs - self.start) / (1 - self.start)
        return float(self.final_factor ** min(1.0, max(0.0, done)))
