"""A torchmetrics metric over rows: every process collects its own, and all of them are looked at together."""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from reid_lightning.distributed.gather import gather_rows


class RowMetric(Metric):
    """Collects columns of rows over all processes; a row that arrives twice (a padded shard) counts once.

    Shards may be uneven or empty. A subclass calls `add` for a batch and `gathered` in its `compute`, whose result may be
    any value object: it is neither squeezed nor moved nor kept.

    Args:
        columns: Names of the columns.
    """

    full_state_update = False
    is_differentiable = False

    index: list[Tensor]

    def __init__(self, columns: Sequence[str]) -> None:
        super().__init__(dist_sync_fn=gather_rows)
        self.columns = tuple(columns)
        for name in ("index", *self.columns):
            self.add_state(name, [], dist_reduce_fx="cat")

    def add(self, index: Tensor, columns: Mapping[str, Tensor]) -> None:
        """Add a batch: (B,) rows of the table, and (B, ...) of every column."""
        self.index.append(index)
        for name in self.columns:
            getattr(self, name).append(columns[name].detach())

    def gathered(self) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the (N,) rows in their order, and every column in this order.

        What is whole and in order already, such as rows that were read from files, is not copied.
        """
        index = _whole(self.index)
        if bool((index.diff() > 0).all()):
            return index, {name: _whole(getattr(self, name)) for name in self.columns}
        index, order = index.sort(stable=True)
        first = torch.cat([index.new_ones(1), index.diff()]) > 0
        order = order[first]
        return index[first], {name: _whole(getattr(self, name))[order] for name in self.columns}

    def _wrap_compute(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        # The base class rebuilds results field by field to squeeze, copy and move tensors, which a frozen value
        # object refuses and which would turn the columns of a single row into scalars; nor is it kept.
        @wraps(compute)
        def synchronised() -> Any:
            with self.sync_context(
                self.dist_sync_fn, should_sync=self._to_sync, should_unsync=self._should_unsync
            ):
                return compute()

        return synchronised


def _whole(state: list[Tensor] | Tensor) -> Tensor:
    """Return a state as one tensor, which it is after processes have gathered it."""
    if isinstance(state, Tensor):
        return state
    return state[0] if len(state) == 1 else torch.cat(state)
