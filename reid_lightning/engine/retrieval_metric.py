"""The torchmetrics metric around the ranking: every process collects embeddings, all of them are ranked."""

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from reid_lightning.distances import unit_vectors
from reid_lightning.distributed.gather import gather_rows
from reid_lightning.errors import InputError
from reid_lightning.retrieval.evaluation import (
    EvaluationRows,
    aligned_rerank,
    matches,
    reciprocal_similarities,
)
from reid_lightning.retrieval.protocol import EvaluationProtocol
from reid_lightning.retrieval.ranking import Ranking, rank, rank_pairs
from reid_lightning.retrieval.single_shot import rank_single_shot
from reid_lightning.retrieval.tracklets import pool_tracklets


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

    embeddings: list[Tensor]
    stripes: list[Tensor]  # (N, S, d), none unless the protocol aligns them
    codes: list[Tensor]  # (N, 5): person, camera, index, is_query, tracklet

    def __init__(self, protocol: EvaluationProtocol) -> None:
        super().__init__(dist_sync_fn=gather_rows)
        self.protocol = protocol
        self.rows: EvaluationRows | None = None
        self.add_state("embeddings", [], dist_reduce_fx="cat")
        if protocol.aligned is not None:
            self.add_state("stripes", [], dist_reduce_fx="cat")
        self.add_state("codes", [], dist_reduce_fx="cat")

    def update(
        self,
        embeddings: Tensor,
        person_ids: Tensor,
        camera_ids: Tensor,
        index: Tensor,
        is_query: Tensor,
        tracklet_ids: Tensor | None = None,
        stripes: Tensor | None = None,
    ) -> None:
        """Add a batch: (B, D) embeddings and (B,) columns of the batch; without tracklets every row stands alone.

        Where the protocol aligns stripes, their (B, S, d) features come too.
        """
        if tracklet_ids is None:
            tracklet_ids = torch.full_like(index, -1)
        embeddings = embeddings.detach().float()
        self.embeddings.append(unit_vectors(embeddings) if self.protocol.normalize else embeddings)
        if self.protocol.aligned is not None:
            assert stripes is not None
            self.stripes.append(stripes.detach().float())
        columns = [person_ids, camera_ids, index, is_query.to(index), tracklet_ids]
        self.codes.append(torch.stack(columns, dim=1))

    def compute(self) -> Ranking:
        """Rank, and keep the gathered rows in `rows` for pictures and per-query tables.

        Raises:
            InputError: No rows were added, or they cannot be ranked (see `ranking.rank`).
        """
        self.rows = self._gathered()
        query, gallery, protocol = self.rows.query, self.rows.gallery, self.protocol
        if protocol.k_reciprocal is not None:
            return rank_pairs(
                reciprocal_similarities(query, gallery, protocol), matches(query, gallery, protocol)
            )
        ranker: Callable[..., Ranking] = partial(rank, rerank=aligned_rerank(query, gallery, protocol))
        if protocol.single_shot is not None:
            ranker = partial(rank_single_shot, draws=protocol.single_shot, seed=protocol.single_shot_seed)
        return ranker(
            query.embeddings,
            gallery.embeddings,
            query.person_ids,
            gallery.person_ids,
            query.camera_ids,
            gallery.camera_ids,
            metric=protocol.metric,
            camera_policy=protocol.camera_policy,
        )

    def reset(self) -> None:
        """Forget all rows."""
        super().reset()
        self.rows = None

    def _gathered(self) -> EvaluationRows:
        if not len(self.codes):
            raise InputError("There are no images to evaluate; the evaluation's loader gave no batch.")
        embeddings, codes = dim_zero_cat(self.embeddings), dim_zero_cat(self.codes)
        index, order = codes[:, 2].sort(stable=True)
        order = order[torch.cat([index.new_ones(1), index.diff()]) > 0]
        embeddings, codes = embeddings[order], codes[order]
        if self.protocol.tracklets == "pool":
            embeddings, first = self._pooled(embeddings, codes)
            codes = codes[first]
        person_ids, camera_ids, index, is_query, _ = codes.unbind(dim=1)
        stripes = None if self.protocol.aligned is None else dim_zero_cat(self.stripes)[order]
        return EvaluationRows(embeddings, person_ids, camera_ids, index, is_query.bool(), stripes)

    def _pooled(self, embeddings: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        is_query, tracklets = codes[:, 3], codes[:, 4]
        if not (tracklets >= 0).any():
            raise InputError(
                "evaluation.tracklets=pool needs data with tracklets, and this has none: set evaluation.tracklets=null."
            )
        # A tracklet that lies on both sides (rows of a user's own table) stays apart.
        sides = torch.where(tracklets >= 0, 2 * tracklets + is_query, -1)
        return pool_tracklets(embeddings, sides, self.protocol.normalize)

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
