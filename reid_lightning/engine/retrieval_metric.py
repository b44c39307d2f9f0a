"""The torchmetrics metric around the ranking: every process collects vectors, all of them are ranked."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from reid_lightning.distributed.gather import gather_rows
from reid_lightning.errors import InputError
from reid_lightning.retrieval.evaluation import EvaluationRows, rank_rows, ranked_rows
from reid_lightning.retrieval.protocol import EvaluationProtocol
from reid_lightning.retrieval.ranking import Ranking


class RetrievalEvaluation(Metric):
    """Ranks the gallery for every query after all batches of all processes.

    Shards may be uneven or empty. A row that arrives twice (a padded shard) counts once.

    Args:
        protocol: How embeddings are compared and scored.

    Examples:
        >>> evaluation = RetrievalEvaluation(EvaluationProtocol(camera_policy="allow"))
        >>> embeddings = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
        >>> people, cameras, index = torch.tensor([1, 1, 2]), torch.tensor([0, 1, 1]), torch.arange(3)
        >>> evaluation.update(embeddings, people, cameras, index, torch.tensor([True, False, False]))
        >>> evaluation.compute().mean_ap
        1.0
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False

    vectors: list[Tensor]
    extra: list[Tensor]  # (N, ...), none unless the protocol's re-ranking reads a field
    codes: list[Tensor]  # (N, 5): person, camera, index, is_query, tracklet

    def __init__(self, protocol: EvaluationProtocol) -> None:
        super().__init__(dist_sync_fn=gather_rows)
        self.protocol = protocol
        self.rows: EvaluationRows | None = None
        for state in ("vectors", "extra", "codes"):
            self.add_state(state, [], dist_reduce_fx="cat")

    def update(
        self,
        vectors: Tensor,
        person_ids: Tensor,
        camera_ids: Tensor,
        index: Tensor,
        is_query: Tensor,
        tracklet_ids: Tensor | None = None,
        extra: Tensor | None = None,
    ) -> None:
        """Add a batch: what `evaluation.embed` returns, and (B,) columns; without tracklets every row stands alone."""
        if tracklet_ids is None:
            tracklet_ids = torch.full_like(index, -1)
        self.vectors.append(vectors.detach().float())
        if extra is not None:
            self.extra.append(extra.detach().float())
        columns = [person_ids, camera_ids, index, is_query.to(index), tracklet_ids]
        self.codes.append(torch.stack(columns, dim=1))

    def compute(self) -> Ranking:
        """Rank, and keep the gathered rows in `rows` for pictures and per-query tables.

        Raises:
            InputError: No rows were added, or they cannot be ranked (see `ranking.rank`).
        """
        self.rows = ranked_rows(self._gathered(), self.protocol)
        return rank_rows(self.rows, self.protocol)

    def reset(self) -> None:
        """Forget all rows."""
        super().reset()
        self.rows = None

    def _gathered(self) -> EvaluationRows:
        if not len(self.codes):
            raise InputError("There are no images to evaluate; the evaluation's loader gave no batch.")
        person_ids, camera_ids, index, is_query, tracklet_ids = dim_zero_cat(self.codes).unbind(dim=1)
        return EvaluationRows(
            dim_zero_cat(self.vectors),
            person_ids,
            camera_ids,
            index=index,
            is_query=is_query.bool(),
            tracklet_ids=tracklet_ids,
            extra=dim_zero_cat(self.extra) if len(self.extra) else None,
        )

    def _wrap_compute(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        # The base class rebuilds results field by field to squeeze, copy and move tensors, which a frozen value
        # object refuses and which would turn the columns of a single query into scalars; nor is it kept.
        @wraps(compute)
        def synchronised() -> Ranking:
            with self.sync_context(
                self.dist_sync_fn, should_sync=self._to_sync, should_unsync=self._should_unsync
            ):
                return compute()

        return synchronised
