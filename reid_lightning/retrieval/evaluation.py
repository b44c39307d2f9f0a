"""What was ranked, and how a protocol says to rank it."""

from dataclasses import dataclass, replace

from torch import Tensor

from reid_lightning.retrieval.aligned import AlignedRerank
from reid_lightning.retrieval.k_reciprocal import KReciprocal, ReciprocalSimilarities
from reid_lightning.retrieval.matches import Matches
from reid_lightning.retrieval.protocol import EvaluationProtocol


@dataclass(frozen=True, eq=False)
class EvaluationRows:
    """What was ranked: one row an image (or a tracklet, for which its first image stands), in the order of `index`."""

    embeddings: Tensor
    """(N, D) float32, normalised if the protocol says so."""
    person_ids: Tensor
    """(N,) int64."""
    camera_ids: Tensor
    """(N,) int64, -1 where unknown."""
    index: Tensor
    """(N,) int64 rows of the table."""
    is_query: Tensor
    """(N,) bool."""
    stripes: Tensor | None = None
    """(N, S, d) float32, where the protocol compares aligned stripes."""

    def select(self, rows: Tensor) -> "EvaluationRows":
        """Return some rows, by a mask or by positions."""
        columns = {name: column[rows] for name, column in vars(self).items() if column is not None}
        return replace(self, **columns)

    @property
    def query(self) -> "EvaluationRows":
        """The queries, in the order of the ranking's per-query results."""
        return self.select(self.is_query)

    @property
    def gallery(self) -> "EvaluationRows":
        """Everything else."""
        return self.select(~self.is_query)


def aligned_rerank(
    query: EvaluationRows, gallery: EvaluationRows, protocol: EvaluationProtocol
) -> AlignedRerank | None:
    """Return the second look that a protocol asks for, or None."""
    if protocol.aligned is None or query.stripes is None or gallery.stripes is None:
        return None
    return AlignedRerank(query.stripes, gallery.stripes, protocol.aligned, protocol.aligned_weight)


def reciprocal_similarities(
    query: EvaluationRows, gallery: EvaluationRows, protocol: EvaluationProtocol
) -> ReciprocalSimilarities:
    """Return the similarities of a protocol that re-ranks by reciprocal neighbours."""
    settings = KReciprocal(*protocol.k_reciprocal or ())  # type: ignore[arg-type]
    return ReciprocalSimilarities.of(query.embeddings, gallery.embeddings, settings, protocol.metric)


def matches(query: EvaluationRows, gallery: EvaluationRows, protocol: EvaluationProtocol) -> Matches:
    """Return who matches whom."""
    return Matches.of(
        query.person_ids,
        gallery.person_ids,
        query.camera_ids,
        gallery.camera_ids,
        camera_policy=protocol.camera_policy,
        lengths=(len(query.index), len(gallery.index)),
    )
