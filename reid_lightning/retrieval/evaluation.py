"""What a protocol says, done: this is the only module that reads an `EvaluationProtocol`.

Features become vectors (`embed`), vectors of all images become rows (`ranked_rows`), and rows are ranked (`rank_rows`,
`nearest_rows`, `true_match_rows`, `open_set_rows`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from reid_lightning.distances import unit_vectors
from reid_lightning.errors import InputError
from reid_lightning.models.features import Features
from reid_lightning.retrieval.calibration import Calibration
from reid_lightning.retrieval.matches import Matches, Side
from reid_lightning.retrieval.neighbours import Neighbours, nearest_pairs
from reid_lightning.retrieval.open_set import open_set_scores
from reid_lightning.retrieval.protocol import OWN_SIZE, EvaluationProtocol
from reid_lightning.retrieval.ranking import Ranking, no_match_message, rank_pairs
from reid_lightning.retrieval.similarities import Comparison, Similarities
from reid_lightning.retrieval.single_shot import rank_single_shot
from reid_lightning.retrieval.statistics import mean_interval
from reid_lightning.retrieval.tracklets import pool_tracklets
from reid_lightning.retrieval.true_matches import TrueMatches, true_matches
from reid_lightning.retrieval.verification import PairDistances, pair_distances
from reid_lightning.retrieval.views import views


@dataclass(frozen=True, eq=False)
class EvaluationRows(Side):
    """What is ranked: a row per image (or per tracklet, for which its first image stands).

    Vectors are float32, as the protocol compares them; cameras are -1 where unknown.
    """

    camera_ids: Tensor = field(kw_only=False)
    """(N,) int64, -1 where unknown."""
    index: Tensor = field(kw_only=True)
    """(N,) int64 rows of the table."""
    is_query: Tensor = field(kw_only=True)
    """(N,) bool."""
    tracklet_ids: Tensor | None = field(default=None, kw_only=True)
    """(N,) int64, negative where an image stands alone; None: all do."""
    extra: Tensor | None = field(default=None, kw_only=True)
    """(N, ...) float32 field of `Features` that the protocol's re-ranking reads; None where it reads none."""

    @property
    def has_people(self) -> bool:
        """Whether it is known of any image whom it shows (its person is not -1)."""
        return bool((self.person_ids >= 0).any())

    @property
    def query(self) -> "EvaluationRows":
        """The queries, in the order of the ranking's per-query results."""
        return self.select(self.is_query)

    @property
    def gallery(self) -> "EvaluationRows":
        """Everything else."""
        return self.select(~self.is_query)


def vectors(features: Features, protocol: EvaluationProtocol) -> Tensor:
    """Return the (B, D) float32 vectors of features that a protocol compares.

    Raises:
        KeyError: The network does not give the field.
    """
    return _scaled(features.vectors(protocol.feature).float(), protocol)


def embed(
    network: Callable[[Tensor], Features], images: Tensor, features: Features, protocol: EvaluationProtocol
) -> tuple[Tensor, Tensor | None]:
    """Return what a protocol compares of a batch.

    Args:
        network: Maps images to features; called where mirror images or other sizes count too.
        images: (B, 3, H, W).
        features: Of these images.
        protocol: How features are taken.

    Returns:
        (B, D) float32 vectors, and the (B, ...) float32 field that the re-ranking reads, None where it reads none.
    """
    if not protocol.flip and protocol.scales == OWN_SIZE:
        return vectors(features, protocol), _extra(features, protocol)
    found, extras = [], []
    for view in views(images, protocol.flip, protocol.scales):
        seen = features if view is images else network(view)
        found.append(vectors(seen, protocol))
        extras.append(_extra(seen, protocol))
    known = [extra for extra in extras if extra is not None]
    return _scaled(torch.stack(found).mean(0), protocol), torch.stack(known).mean(0) if known else None


def ranked_rows(collected: EvaluationRows, protocol: EvaluationProtocol) -> EvaluationRows:
    """Return the rows to rank, in the order of `index`, of rows that batches and processes have collected.

    A row that was collected twice (a padded shard) counts once. Where the protocol pools tracklets, a row stands for each.

    Args:
        collected: Rows in any order.
        protocol: Whether tracklets are pooled.

    Raises:
        InputError: There are no tracklets to pool.
    """
    rows = collected
    if not bool((rows.index.diff() > 0).all()):  # vectors in order are not copied
        index, order = collected.index.sort(stable=True)
        rows = collected.select(order[torch.cat([index.new_ones(1), index.diff()]) > 0])
    return rows if protocol.tracklets is None else _pooled(rows, protocol)


def check_rankable(rows: EvaluationRows, protocol: EvaluationProtocol) -> None:
    """Refuse rows that a protocol cannot rank whatever their vectors will be.

    Args:
        rows: Rows as `ranked_rows` takes them; their vectors may be empty.
        protocol: How they will be ranked.

    Raises:
        InputError: There are no tracklets to pool, too few images for the re-ranking, or people are known and no query has
            a true match.
    """
    rows = ranked_rows(rows, protocol)
    query, gallery = rows.query, rows.gallery
    matches = Matches.of(query, gallery, protocol.camera_policy)
    if rows.has_people and not matches.of_queries(slice(0, len(query)))[2].any():
        raise InputError(no_match_message(matches, len(query)))
    if (check_size := getattr(protocol.rerank, "check_size", None)) is not None:
        check_size(len(rows))


def rank_rows(rows: EvaluationRows, protocol: EvaluationProtocol) -> Ranking:
    """Score the gallery's order for every query.

    Raises:
        InputError: They cannot be ranked (see `ranking.rank`).
    """
    query, gallery = rows.query, rows.gallery
    if protocol.single_shot is not None:
        return rank_single_shot(
            query,
            gallery,
            draws=protocol.single_shot,
            seed=protocol.single_shot_seed,
            distance=protocol.distance,
            camera_policy=protocol.camera_policy,
        )
    return rank_pairs(
        _comparison(query, gallery, protocol),
        Matches.of(query, gallery, protocol.camera_policy),
        map_at=protocol.map_at,
    )


def map_interval(ranking: Ranking, rows: EvaluationRows) -> list[float] | None:
    """Return the 95 % interval of the mAP over people (`statistics.mean_interval`); None where it shows fewer than two."""
    found = mean_interval(ranking.average_precision.numpy(), rows.query.person_ids.cpu().numpy())
    return None if found is None else list(found)


def nearest_rows(
    rows: EvaluationRows, k: int, protocol: EvaluationProtocol, positions: Tensor | None = None
) -> Neighbours:
    """Return the nearest gallery images of queries, in the order that the protocol scores.

    Where nobody is known, no image is left out.

    Args:
        rows: What was ranked.
        k: Number of results for each image.
        protocol: How it was compared.
        positions: (n,) positions of the queries among all queries; None for all.
    """
    query, gallery = rows.query, rows.gallery
    comparison = _comparison(query, gallery, protocol)
    if positions is not None:
        comparison, query = comparison.of_queries(positions), query.select(positions)
    matches = Matches.of(query, gallery, protocol.camera_policy) if rows.has_people else None
    return nearest_pairs(comparison, k, matches)


def true_match_rows(rows: EvaluationRows, protocol: EvaluationProtocol) -> TrueMatches:
    """Return the rank of every true match (`true_matches.true_matches`), in the order that the protocol scores.

    Single-shot draws are left out: the ranks are those in the whole gallery.

    Args:
        rows: What was ranked, of which people are known.
        protocol: How it was compared.
    """
    query, gallery = rows.query, rows.gallery
    matches = Matches.of(query, gallery, protocol.camera_policy)
    return true_matches(_comparison(query, gallery, protocol), matches)


def open_set_rows(
    rows: EvaluationRows, k: int, protocol: EvaluationProtocol, nobody: Tensor | None = None
) -> dict[str, float]:
    """Identify the queries by the votes of their nearest gallery images (`open_set.open_set_scores`).

    Args:
        rows: What was ranked.
        k: Nearest images that vote.
        protocol: How it was compared; a re-ranking is left out.
        nobody: (N,) bool, rows that show nobody who could be enrolled (distractors).

    Raises:
        InputError: No query can be identified, or there is nobody to enrol or nobody else.
    """
    enrolled = ~rows.is_query if nobody is None else ~rows.is_query & ~nobody
    return open_set_scores(
        rows.query,
        rows.select(enrolled),
        k=k,
        distance=protocol.distance,
        camera_policy=protocol.camera_policy,
    )


def pairs_of_rows(rows: EvaluationRows, protocol: EvaluationProtocol) -> PairDistances:
    """Return the distances of all pairs of a query and a gallery image (`verification.pair_distances`).

    Args:
        rows: What was ranked.
        protocol: How it was compared; a re-ranking is left out.

    Raises:
        InputError: A side is empty or not finite.
    """
    return pair_distances(
        rows.query, rows.gallery, distance=protocol.distance, camera_policy=protocol.camera_policy
    )


def calibrate_rows(rows: EvaluationRows, protocol: EvaluationProtocol) -> Calibration | None:
    """Measure what a distance means (`calibration.Calibration.fit`).

    Args:
        rows: Of people whom the model was not trained on.
        protocol: How they are compared; a re-ranking is left out.

    Returns:
        None of too few people, and where the protocol pools tracklets, whose vectors lie nearer than those of images.

    Raises:
        InputError: A side is empty or not finite.
    """
    if protocol.tracklets is not None:
        return None
    return Calibration.fit(
        rows.query, rows.gallery, distance=protocol.distance, camera_policy=protocol.camera_policy
    )


def _scaled(found: Tensor, protocol: EvaluationProtocol) -> Tensor:
    return unit_vectors(found) if protocol.normalize else found


def _extra(features: Features, protocol: EvaluationProtocol) -> Tensor | None:
    name = None if protocol.rerank is None else protocol.rerank.reads
    found = None if name is None else features.get(name)
    if found is None and name is not None:
        raise InputError(
            f"The re-ranking reads {name}, which this network does not give; choose evaluation/rerank=none."
        )
    return None if found is None else found.float()


def _pooled(rows: EvaluationRows, protocol: EvaluationProtocol) -> EvaluationRows:
    tracklets = rows.tracklet_ids
    if tracklets is None or not (tracklets >= 0).any():
        raise InputError(
            "evaluation.tracklets=pool needs data with tracklets, and this has none: set evaluation.tracklets=null."
        )
    # A tracklet that lies on both sides (rows of a user's own table) stays apart.
    sides = torch.where(tracklets >= 0, 2 * tracklets + rows.is_query.to(tracklets), -1)
    means, first = pool_tracklets(rows.vectors, sides, protocol.normalize)
    return replace(rows.select(first), vectors=means)


def _comparison(query: EvaluationRows, gallery: EvaluationRows, protocol: EvaluationProtocol) -> Comparison:
    plain = Similarities.of(query.vectors, gallery.vectors, protocol.distance)
    return plain if protocol.rerank is None else protocol.rerank.apply(plain, query.extra, gallery.extra)
