"""The torchmetrics metric around the scores of attributes: every process collects answers, all of them are scored."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from reid_lightning.data.attributes import UNKNOWN
from reid_lightning.distributed.row_metric import RowMetric
from reid_lightning.systems.attributes.scores import (
    AttributeRows,
    AttributeScores,
    HeadScores,
    predicted_classes,
)


class AttributeEvaluation(RowMetric):
    """Collects attribute predictions of all processes and scores them.

    Args:
        names: Attributes.
        sizes: Classes of each.
    """

    higher_is_better = True

    def __init__(self, names: Sequence[str], sizes: Sequence[int]) -> None:
        super().__init__(("probabilities", "squared_scores", "targets"))
        self.names, self.sizes = tuple(names), tuple(sizes)
        self.majority = [0] * len(self.sizes)  # the most frequent training classes, set before an evaluation
        self.evaluated: AttributeRows | None = None

    def update(self, probabilities: Tensor, squared_scores: Tensor, targets: Tensor, index: Tensor) -> None:
        """Add a batch: (B, C) probabilities, (B,) squared scores, (B, heads) true classes, (B,) rows."""
        scores = {"probabilities": probabilities.float(), "squared_scores": squared_scores.float()}
        self.add(index, scores | {"targets": targets})

    def compute(self) -> AttributeScores:
        """Score all images, and keep them in `evaluated`."""
        index, columns = self.gathered()
        self.evaluated = AttributeRows(index, **columns)
        answers = predicted_classes(self.evaluated.probabilities, self.sizes)
        confusions = []
        for head, size in enumerate(self.sizes):
            targets = self.evaluated.targets[:, head]
            known = targets != UNKNOWN
            confusions.append(
                multiclass_confusion_matrix(answers[known, head], targets[known], size).cpu()
                if known.any()
                else torch.zeros(size, size, dtype=torch.int64)
            )
        heads = tuple(
            HeadScores.of(table, majority) for table, majority in zip(confusions, self.majority, strict=True)
        )
        return AttributeScores(self.names, heads, tuple(confusions))

    def reset(self) -> None:
        """Forget all rows."""
        super().reset()
        self.evaluated = None
