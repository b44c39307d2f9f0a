"""How long a training is: what its learning-rate schedule needs to know before the first step."""

import math
from typing import Any

from reid_lightning.errors import InputError


def run_length(trainer: Any) -> tuple[int, float]:
    """Return the optimizer steps of an epoch and the epochs of the run, a fraction where `max_steps` ends within one.

    Args:
        trainer: Of Lightning, about to fit.

    Raises:
        InputError: The loader has no length, or the run has no end.
    """
    sampler = getattr(trainer.datamodule, "train_batches", None)
    if sampler is None:
        trainer.fit_loop.setup_data()
        batches = trainer.num_training_batches
    else:
        # Lightning's own count starts the loader, whose workers then draw the first batches before a resumed run
        # knows its epoch and what offline mining had found.
        limit = trainer.limit_train_batches
        batches = min(len(sampler), limit) if isinstance(limit, int) else int(len(sampler) * limit)
    if math.isinf(batches):
        raise InputError(
            "the training loader has no length: give the Trainer limit_train_batches=N, the batches of an epoch"
        )
    steps = max(1, -(-batches // trainer.accumulate_grad_batches))
    if sampler is not None and trainer.max_epochs != -1:
        return steps, trainer.max_epochs or 1
    total = trainer.estimated_stepping_batches
    if math.isinf(total):
        raise InputError(
            "the schedule needs the end of the training: give the Trainer max_epochs or max_steps"
        )
    total = max(1, total)
    return steps, total / steps if total % steps else total // steps
