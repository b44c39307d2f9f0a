"""How far off the answers are, beside a constant guess."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reid_lightning.distributed.row_metric import RowMetric


@dataclass(frozen=True, eq=False)
class TraitErrors:
    """Answers and true values of an evaluation, a row an image in the table's order.

    Attributes:
        names: Traits.
        answers: (N, T) in the traits' units.
        truth: (N, T), NaN where unknown.
        medians: Of the training's values: the best constant guess by absolute error.
    """

    names: tuple[str, ...]
    answers: Tensor
    truth: Tensor
    medians: tuple[float, ...]

    def summary(self) -> dict[str, float]:
        """Return `NAME/error`, `NAME/constant_error` (mean absolute errors, in its unit) and `NAME/correlation`.

        A trait of which no value is known is left out; the correlation (Pearson) also where either side is constant.

        Examples:
            >>> answers, truth = torch.tensor([[1.0], [2.0], [9.0]]), torch.tensor([[2.0], [4.0], [torch.nan]])
            >>> TraitErrors(("age",), answers, truth, (3.0,)).summary()
            {'age/error': 1.5, 'age/constant_error': 1.0, 'age/correlation': 1.0}
        """
        numbers: dict[str, float] = {}
        for name, answers, truth, median in zip(
            self.names, self.answers.double().T, self.truth.double().T, self.medians, strict=True
        ):
            known = ~truth.isnan()
            if not known.any():
                continue
            answers, truth = answers[known], truth[known]
            numbers[f"{name}/error"] = round(float((answers - truth).abs().mean()), 9)
            numbers[f"{name}/constant_error"] = round(float((truth - median).abs().mean()), 9)
            if len(truth) > 1 and truth.std() > 0 and answers.std() > 0:
                both = torch.corrcoef(torch.stack([answers, truth]))
                numbers[f"{name}/correlation"] = round(float(both[0, 1]), 9)
        return numbers


class TraitEvaluation(RowMetric):
    """Collects answers and true values of all processes.

    Args:
        names: Traits.
    """

    higher_is_better = False

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(("answers", "truth"))
        self.names = tuple(names)
        self.medians: Sequence[float] = [0.0] * len(self.names)  # of the training, set before an evaluation

    def update(self, answers: Tensor, truth: Tensor, index: Tensor) -> None:
        """Add a batch: (B, T) answers, (B, T) true values with NaN where unknown, (B,) rows."""
        self.add(index, {"answers": answers.float(), "truth": truth.float()})

    def compute(self) -> TraitErrors:
        """Return the answers and true values of all images."""
        _, columns = self.gathered()
        return TraitErrors(self.names, columns["answers"].cpu(), columns["truth"].cpu(), tuple(self.medians))
