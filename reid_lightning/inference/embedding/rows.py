"""Rows of a table with the vectors of their images, some at a time: what files of vectors and galleries share."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from reid_lightning.errors import InputError
from reid_lightning.inference.gallery.columns import PROBABILITIES
from reid_lightning.inference.model import Model


def embedded(
    model: Model,
    table: pd.DataFrame,
    batch: int,
    damaged: dict[int, str] | None = None,
    attributes: bool = False,
) -> Iterator[tuple[pd.DataFrame, NDArray[np.float32]]]:
    """Yield rows of a table with the vectors of their images, some at a time.

    Args:
        model: What embeds.
        table: With the column `path`.
        batch: Rows at a time.
        damaged: Gets the reason for each row, by position, whose image cannot be read, and the row is left out; None: such
            an image is an error.
        attributes: Whether the rows are to tell what the model's attribute heads state, if it has any; then a damaged image
            is an error.

    Raises:
        InputError: The batch is empty, or an image cannot be read.
    """
    if batch < 1:
        raise InputError(f"--batch must be 1 or more, got {batch}.")
    for start in range(0, len(table), batch):
        part = table.iloc[start : start + batch].reset_index(drop=True)
        files = part["path"].tolist()
        if attributes:
            vectors, answers = model.embed_with_attributes(files)
            if answers is not None:
                part[PROBABILITIES] = list(answers.numpy())
        elif damaged is None:
            vectors = model.embed(files)
        else:
            here: dict[int, str] = {}
            vectors = torch.cat(list(model.stream(files, damaged=here)))
            damaged |= {start + row: reason for row, reason in here.items()}
            part = part.drop(index=list(here)).reset_index(drop=True)
        yield part, vectors.numpy()
