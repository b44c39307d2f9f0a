"""Re-ranking by aligned stripes against a plain loop over all pairs."""

import pytest
import torch
from sides import sides

from reid_lightning.distances import aligned_distances, pairwise_distances
from reid_lightning.errors import InputError
from reid_lightning.retrieval.aligned import AlignedRerank
from reid_lightning.retrieval.matches import Matches
from reid_lightning.retrieval.neighbours import nearest_pairs
from reid_lightning.retrieval.protocol import EvaluationProtocol
from reid_lightning.retrieval.ranking import rank, rank_pairs
from reid_lightning.retrieval.similarities import Similarities

QUERIES, GALLERY, STRIPES = 7, 40, 4


@pytest.fixture(params=[0, 1, 2])
def people(request):
    torch.manual_seed(request.param)
    ids, cameras = torch.randint(0, 6, (QUERIES + GALLERY,)), torch.randint(0, 3, (QUERIES + GALLERY,))
    ids[-6:], cameras[-6:] = torch.arange(6), 9  # everyone has a match somewhere
    vectors, stripes = torch.randn(QUERIES + GALLERY, 5), torch.randn(QUERIES + GALLERY, STRIPES, 3)
    sides = slice(None, QUERIES), slice(QUERIES, None)
    return [[column[side] for side in sides] for column in (vectors, stripes, ids, cameras)]


def plain_order(query, gallery, own, stripes, removed, k, weight, distance):
    """The gallery's columns in order: the nearest k by the sum of both distances, then the others by one."""
    apart = pairwise_distances(query[None], gallery, distance)[0]
    columns = [column for column in apart.argsort().tolist() if not removed[column]]

    paths = aligned_distances(own[None], stripes)[0]

    def both(column):
        return apart[column].item() + weight * paths[column].item() / (2 * STRIPES - 1)

    return sorted(columns[:k], key=both) + columns[k:]


@pytest.mark.parametrize("distance", ["cosine", "euclidean", "sqeuclidean"])
@pytest.mark.parametrize(("k", "weight"), [(1, 1.0), (5, 0.0), (5, 3.0), (12, 20.0), (40, 1.0), (400, 20.0)])
@pytest.mark.parametrize("chunk_size", [None, 3])
def test_scores_and_lists_follow_the_plain_order(people, distance, k, weight, chunk_size):
    (query, gallery), (own, stripes), (query_ids, ids), (query_cameras, cameras) = people
    plain = Similarities.of(query, gallery, distance)
    reranked = AlignedRerank(k, weight).apply(plain, own, stripes)
    matches = Matches.of(*sides(query, gallery, query_ids, ids, query_cameras, cameras))
    ranking = rank_pairs(reranked, matches, chunk_size)
    lists = nearest_pairs(reranked, GALLERY, matches, chunk_size)
    for row in range(QUERIES):
        removed = (ids == query_ids[row]) & (cameras == query_cameras[row])
        order = plain_order(query[row], gallery, own[row], stripes, removed, k, weight, distance)
        assert [column for column in lists.indices[row].tolist() if column >= 0] == order
        ranks = [place for place, column in enumerate(order, 1) if ids[column] == query_ids[row]]
        precisions = [found / place for found, place in enumerate(ranks, 1)]
        assert ranking.average_precision[row].item() == pytest.approx(sum(precisions) / len(ranks))
        assert ranking.first_match_rank[row] == ranks[0]


def test_a_weight_of_zero_changes_nothing(people):
    (query, gallery), (own, stripes), (query_ids, ids), _ = people
    both = sides(query, gallery, query_ids, ids)
    plain = rank(*both, camera_policy="allow")
    reranked = AlignedRerank(10, 0.0).apply(Similarities.of(query, gallery, "cosine"), own, stripes)
    ranking = rank_pairs(reranked, Matches.of(*both, "allow"))
    torch.testing.assert_close(ranking.average_precision, plain.average_precision)


def test_some_queries_are_reranked_as_among_all(people):
    (query, gallery), (own, stripes), *_ = people
    reranked = AlignedRerank(10, 3.0).apply(Similarities.of(query, gallery, "cosine"), own, stripes)
    whole, some = nearest_pairs(reranked, 12), torch.tensor([5, 0, 2])
    part = nearest_pairs(reranked.of_queries(some), 12)
    assert torch.equal(part.indices, whole.indices[some])
    torch.testing.assert_close(part.distances, whole.distances[some])


def test_a_shifted_person_moves_up():
    """The wrong image's vector is a little nearer; the right one's stripes are the query's, one row lower."""
    stripes = torch.tensor([[0.0], [5.0], [10.0], [15.0]])
    right, wrong = torch.tensor([[-5.0], [0.0], [5.0], [10.0]]), stripes + 40
    query, gallery = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.2], [1.0, 0.1]])
    ids = torch.tensor([7]), torch.tensor([7, 3])
    plain, matches = Similarities.of(query, gallery, "cosine"), Matches.of(*sides(query, gallery, *ids))
    reranked = AlignedRerank(nearest=2).apply(plain, stripes[None], torch.stack([right, wrong]))
    assert rank_pairs(plain, matches).cmc(1) == 0
    assert rank_pairs(reranked, matches).cmc(1) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"nearest": 0}, "^nearest must be a whole number >= 1, got 0"),
        ({"nearest": True}, "^nearest must be a whole number >= 1, got True"),
        ({"weight": -1.0}, "^weight must be >= 0, got -1.0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        AlignedRerank(**settings)


@pytest.mark.parametrize(
    ("stripes", "message"),
    [
        (torch.zeros(3, 4, 5), "equally many stripes"),
        (torch.zeros(3, 10), "equally many stripes"),
        (None, "needs the features of stripes, and there are none"),
    ],
)
def test_stripes_that_cannot_be_compared_are_refused(stripes, message):
    plain = Similarities.of(torch.ones(2, 2), torch.ones(3, 2), "cosine")
    with pytest.raises(InputError, match=message):
        AlignedRerank().apply(plain, torch.zeros(2, 2, 5), stripes)


def test_the_protocol_names_it_and_refuses_what_has_no_stripes():
    protocol = EvaluationProtocol(rerank=AlignedRerank(50, 2.0))
    assert "nearest 50 re-ranked with 2.0 x aligned distance" in protocol.describe()
    assert protocol.reads == ("embedding", "stripes")
    with pytest.raises(
        ValueError, match=r"^tracklets=pool pools vectors, but .* compares the stripes of single"
    ):
        EvaluationProtocol(rerank=AlignedRerank(), tracklets="pool")
    with pytest.raises(ValueError, match=r"^single_shot=3 draws galleries"):
        EvaluationProtocol(rerank=AlignedRerank(), single_shot=3)
