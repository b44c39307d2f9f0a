"""The torchmetrics metric around the ranking: every process collects vectors, all of them are ranked."""

import torch
from torch import Tensor

from reid_lightning.distributed.row_metric import RowMetric
from reid_lightning.errors import InputError
from reid_lightning.retrieval.evaluation import EvaluationRows, rank_rows, ranked_rows
from reid_lightning.retrieval.protocol import EvaluationProtocol
from reid_lightning.retrieval.ranking import Ranking

CODES = ("person_ids", "camera_ids", "is_query", "tracklet_ids")  # int64 columns


class RetrievalEvaluation(RowMetric):
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

    higher_is_better = True

    def __init__(self, protocol: EvaluationProtocol) -> None:
        reads = protocol.rerank is not None and protocol.rerank.reads is not None
        super().__init__(("vectors", *CODES, *(["extra"] if reads else [])))
        self.protocol = protocol
        self.rows: EvaluationRows | None = None

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
        codes = dict(zip(CODES, (person_ids, camera_ids, is_query.to(index), tracklet_ids), strict=True))
        self.add(
            index, {"vectors": vectors.float(), **codes} | ({} if extra is None else {"extra": extra.float()})
        )

    def compute(self) -> Ranking | None:
        """Rank, and keep the gathered rows in `rows` for pictures and per-query tables.

        Returns:
            None where it is known of no image whom it shows.

        Raises:
            InputError: No rows were added, or they cannot be ranked (see `ranking.rank`).
        """
        if not len(self.index):
            raise InputError("There are no images to evaluate; the evaluation's loader gave no batch.")
        index, columns = self.gathered()
        is_query = columns.pop("is_query").bool()
        collected = EvaluationRows(index=index, is_query=is_query, **columns)
        self.rows = ranked_rows(collected, self.protocol)
        return rank_rows(self.rows, self.protocol) if self.rows.has_people else None

    def reset(self) -> None:
        """Forget all rows."""
        super().reset()
        self.rows = None
