"""How well attributes are recognized, beside what always naming the most frequent class would score."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from reid_lightning.data.attributes import UNKNOWN


@dataclass(frozen=True)
class HeadScores:
    """Scores of one attribute over the images whose class is known; NaN if there is none.

    Attributes:
        accuracy: Share of right answers.
        balanced_accuracy: Mean recall of the classes that occur.
        macro_f1: Mean F1 of the classes that occur or are answered.
        mean_accuracy: mA: mean over the classes that occur of half the sum of true positive and true negative rate (Li
            et al. 2016, RAP, for two classes); a class that is everywhere has no negatives to get wrong.
        majority: Accuracy of always answering the most frequent training class.
    """

    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    mean_accuracy: float
    majority: float

    @classmethod
    def of(cls, confusion: Tensor, majority: int) -> "HeadScores":
        """Score a (k, k) confusion matrix (rows true, columns answered), given the majority class of the training.

        Examples:
            >>> HeadScores.of(torch.tensor([[6, 2], [1, 1]]), majority=0)
            HeadScores(accuracy=0.7, balanced_accuracy=0.625, macro_f1=0.6, mean_accuracy=0.625, majority=0.8)
        """
        table = confusion.double()
        count, right = table.sum(), table.diagonal()
        true, answered = table.sum(dim=1), table.sum(dim=0)
        if not count:
            return cls(*[float("nan")] * len(fields(cls)))
        recall = right / true
        negatives = count - true
        true_negative = torch.where(negatives > 0, 1 - (answered - right) / negatives.clamp(min=1), 1.0)
        f1 = 2 * right / (true + answered)
        numbers = (
            right.sum() / count,
            recall[true > 0].mean(),
            f1[true + answered > 0].mean(),
            ((recall + true_negative) / 2)[true > 0].mean(),
            true[majority] / count,
        )
        return cls(*(round(float(number), 12) for number in numbers))


@dataclass(frozen=True, eq=False)
class AttributeScores:
    """Scores of all heads.

    Attributes:
        names: Attributes.
        heads: Scores of each.
        confusions: (k, k) counts of each, rows true, columns answered.
    """

    names: tuple[str, ...]
    heads: tuple[HeadScores, ...]
    confusions: tuple[Tensor, ...]

    def balanced_majority(self, head: int) -> float:
        """Return the balanced accuracy of always answering a head's most frequent training class."""
        occurring = int((self.confusions[head].sum(dim=1) > 0).sum())
        return 1 / occurring if occurring and self.heads[head].majority > 0 else 0.0

    def summary(self) -> dict[str, float]:
        """Return the mean of every score over the heads that have one, and `NAME/SCORE` of each head."""
        means: dict[str, float] = {}
        each: dict[str, float] = {}
        for score in (field.name for field in fields(HeadScores)):
            values = {name: getattr(head, score) for name, head in zip(self.names, self.heads, strict=True)}
            known = {name: value for name, value in values.items() if value == value}
            if known:
                means[score] = sum(known.values()) / len(known)
                each |= {f"{name}/{score}": value for name, value in known.items()}
        return means | each


@dataclass(frozen=True, eq=False)
class AttributeRows:
    """What was answered, a row an image in the order of `index`."""

    index: Tensor
    """(N,) rows of the table."""
    probabilities: Tensor
    """(N, C) softmax of each head."""
    targets: Tensor
    """(N, heads) true classes, -1 where unknown."""
    squared_scores: Tensor
    """(N,) sum of the squared attribute scores; a low one marks a likely distractor or junk image."""


def predicted_classes(probabilities: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return (N, heads) most probable classes of (N, C) probabilities or logits.

    Examples:
        >>> predicted_classes(torch.tensor([[0.1, 0.9, 0.5, 0.3, 0.2]]), (2, 3))
        tensor([[1, 0]])
    """
    return torch.stack(
        [block.argmax(dim=1) for block in torch.split(probabilities, list(sizes), dim=1)], dim=1
    )


def joint_accuracy(
    logits: Tensor, targets: Tensor, sizes: Sequence[int], identity_logits: Tensor | None, labels: Tensor
) -> Tensor:
    """Return the mean over images of right attributes and identity over those known (Trento: of 12 + 1).

    An image of which nothing is known is left out.

    Args:
        logits: (B, C) of the heads.
        targets: (B, heads), -1 where unknown.
        sizes: Classes of each head.
        identity_logits: (B, identities); None leaves identity out.
        labels: (B,).
    """
    known = targets != UNKNOWN
    right = ((predicted_classes(logits, sizes) == targets) & known).sum(dim=1).float()
    count = known.sum(dim=1).float()
    if identity_logits is not None:
        right, count = right + (identity_logits.argmax(dim=1) == labels), count + 1
    return (right / count.clamp(min=1)).sum() / (count > 0).sum().clamp(min=1)
