"""A warning when training has collapsed: every image has come to the same vector."""

import logging
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from reid_lightning.engine.objective import Step
from reid_lightning.losses.spec import spec_of
from reid_lightning.models.features import Features

log = logging.getLogger("reid_lightning")

STUCK = 0.02  # largest distance of a loss from its value for equal vectors, fraction of that value
SPREAD = 0.01  # smallest healthy d(a, n), fraction of the embeddings' length
SHRUNK = 0.1  # ... and fraction of what it was at the first look
LOOKS = 3  # looks in a row that must agree


class CollapseWatch:
    """Looks at the metric losses' diagnostics from time to time, and names the cause once they have collapsed.

    A loss has collapsed when its value is that of a batch whose vectors are all equal (the margin, for a hinge) while
    the distance of different people vanishes; so it is for some looks in a row before the warning comes, once a loss.

    Examples:
        >>> watch = CollapseWatch()
        >>> small = {"mean_an_distance": 1e-4, "embedding_norm": 1.0}
        >>> [watch.look("triplet", value=0.3, value_of_equal=0.3, **small) is None for _ in range(3)]
        [True, True, False]
    """

    def __init__(self) -> None:
        self._first_spread: dict[str, float] = {}
        self._looks: dict[str, int] = {}

    def look(
        self,
        name: str,
        value: float,
        value_of_equal: float,
        mean_an_distance: float,
        embedding_norm: float,
    ) -> str | None:
        """Return the sentence to warn with, or None.

        Args:
            name: The loss's key in the config.
            value: Its value in this step.
            value_of_equal: Its value if all vectors of the batch were equal.
            mean_an_distance: Mean distance of different people, in the embeddings' unit.
            embedding_norm: Mean length of the embeddings.
        """
        first = self._first_spread.setdefault(name, mean_an_distance)
        stuck = abs(value - value_of_equal) <= STUCK * abs(value_of_equal)
        vanishing = mean_an_distance <= max(SPREAD * embedding_norm, SHRUNK * first)
        self._looks[name] = self._looks.get(name, 0) + 1 if stuck and vanishing else 0
        if self._looks[name] != LOOKS:
            return None
        shrunk = (
            "their length has shrunk too"
            if embedding_norm < 1e-2
            else f"their length is {embedding_norm:.3g}"
        )
        return (
            f"loss={name} has collapsed: it is stuck at {value:.4g}, its value when all images have the same vector, and "
            f"different people are {mean_an_distance:.2g} apart ({first:.2g} at first; {shrunk}). Hardest negatives of a "
            "network that knows nothing yet, or too large a step, do this: lower optimizer.lr, raise "
            "scheduler.warmup_epochs, begin with miner=semi_hard or miner=batch_all, keep classifier=softmax beside the "
            "loss, or start from trained weights (backbone.weights)"
        )


@torch.no_grad()
def watch_for_collapse(
    watch: CollapseWatch,
    losses: Mapping[str, nn.Module] | nn.ModuleDict,
    step: Step,
    features: Features,
    labels: Tensor,
) -> None:
    """Let a watch look at every metric loss of a step; it waits for the device, so call it where one waits anyway.

    Losses that keep something between steps, and those of other libraries, are left out.

    Args:
        watch: Remembers earlier looks.
        losses: By name.
        step: The step's values and diagnostics.
        features: Of the step's B images, whose shapes are read.
        labels: (B,) of the step, by which a loss is computed for equal vectors.
    """
    equal = features.each(lambda field: torch.zeros_like(field, dtype=torch.float32))
    for name, loss in losses.items():
        if f"{name}/mean_an_distance" not in step.diagnostics or spec_of(loss).keeps_state:
            continue
        value_of_equal = loss(equal if spec_of(loss).reads else equal.before_neck, labels)
        numbers = (
            step.terms[name],
            value_of_equal,
            step.diagnostics[f"{name}/mean_an_distance"],
            step.diagnostics[f"{name}/embedding_norm"],
        )
        value, of_equal, spread, norm = torch.stack([number.float() for number in numbers]).tolist()
        sentence = watch.look(
            name, value, of_equal, spread ** (0.5 if getattr(loss, "squared", False) else 1.0), norm
        )
        if sentence:
            log.warning(sentence)
