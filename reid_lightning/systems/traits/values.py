"""Numeric columns of a table as arrays, and what is remembered of the training's values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid_lightning.data.table import numbers_of

SPREAD = 1e-6  # smallest deviation, so that a trait of one value divides by no zero


def trait_values(table: pd.DataFrame, traits: Sequence[str]) -> NDArray[np.float32]:
    """Return the (N, T) values of some columns; NaN where a value, or the whole column, is missing.

    Raises:
        InputError: A value is not a finite number.
    """
    columns = [
        numbers_of(table, trait) if trait in table.columns else np.full(len(table), np.nan)
        for trait in traits
    ]
    return np.stack(columns, axis=1).astype(np.float32)


@dataclass(frozen=True, eq=False)
class TrainingValues:
    """What is remembered of the training's values.

    Attributes:
        facts: (T, 5) float32: mean, standard deviation, smallest, largest and median value of each trait.
    """

    NAMES: ClassVar[tuple[str, ...]] = ("mean", "deviation", "smallest", "largest", "median")

    facts: Tensor

    @classmethod
    def of(cls, values: NDArray[np.float32]) -> "TrainingValues":
        """Return the facts of (N, T) values, NaN where unknown.

        Examples:
            >>> TrainingValues.of(np.array([[1.0], [3.0], [np.nan], [5.0]], np.float32)).facts.round(decimals=3)
            tensor([[3.0000, 1.6330, 1.0000, 5.0000, 3.0000]])
        """
        rows = []
        for column in values.astype(np.float64).T:
            known = column[~np.isnan(column)]
            known = known if len(known) else np.zeros(1)
            deviation = max(float(known.std()), SPREAD)
            rows.append([known.mean(), deviation, known.min(), known.max(), float(np.median(known))])
        return cls(torch.tensor(rows, dtype=torch.float32))
