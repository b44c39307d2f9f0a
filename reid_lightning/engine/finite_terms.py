"""An error when a term of the loss is no longer finite."""

from collections.abc import Mapping

import torch
from torch import Tensor

from reid_lightning.errors import DivergedError


class FiniteTerms:
    """Keeps the terms of each step on the device, and looks at them when the host waits for it anyway.

    Examples:
        >>> terms = FiniteTerms()
        >>> terms.add(0, {"triplet": torch.tensor(0.3)})
        >>> terms.check(epoch=0)
    """

    def __init__(self) -> None:
        self._unchecked: list[tuple[int, str, Tensor]] = []  # by step and name

    def add(self, step: int, terms: Mapping[str, Tensor]) -> None:
        """Keep the terms of an optimizer step, scalars by name, for the next check."""
        self._unchecked += [(step, name, term.detach()) for name, term in terms.items()]

    def check(self, epoch: int) -> None:
        """Name the first term since the last check that is not finite.

        Raises:
            DivergedError: There is one.
        """
        terms, self._unchecked = self._unchecked, []
        if not terms:
            return
        finite = torch.stack([term for _, _, term in terms]).isfinite().tolist()
        for (step, name, _), is_finite in zip(terms, finite, strict=True):
            if not is_finite:
                raise DivergedError(
                    f"the loss term {name!r} became NaN or infinite at optimizer step {step} "
                    f"(epoch {epoch}); lower optimizer.lr, set trainer.gradient_clip_val, "
                    "or use trainer.precision=32-true"
                )
