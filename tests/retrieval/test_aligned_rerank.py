"""The second look at the top of a list against a plain loop over all pairs."""

import pytest
import torch

from reid_lightning.distances import aligned_distances, pairwise_distances
from reid_lightning.errors import InputError
from reid_lightning.retrieval.aligned import AlignedRerank
from reid_lightning.retrieval.neighbours import nearest
from reid_lightning.retrieval.ranking import rank

QUERIES, GALLERY, STRIPES = 7, 40, 4


@pytest.fixture(params=[0, 1, 2])
def people(request):
    torch.manual_seed(request.param)
    ids, cameras = torch.randint(0, 6, (QUERIES + GALLERY,)), torch.randint(0, 3, (QUERIES + GALLERY,))
    ids[-6:], cameras[-6:] = torch.arange(6), 9  # everyone has a match somewhere
    vectors, stripes = torch.randn(QUERIES + GALLERY, 5), torch.randn(QUERIES + GALLERY, STRIPES, 3)
    sides = slice(None, QUERIES), slice(QUERIES, None)
    return [[column[side] for side in sides] for column in (vectors, stripes, ids, cameras)]


def plain_order(query, gallery, own, stripes, removed, k, weight, metric):
    """The gallery's columns in order: the nearest k by the sum of both distances, then the others by one."""
    apart = pairwise_distances(query[None], gallery, metric)[0]
    columns = [column for column in apart.argsort().tolist() if not removed[column]]

    paths = aligned_distances(own[None], stripes)[0]

    def both(column):
        return apart[column].item() + weight * paths[column].item() / (2 * STRIPES - 1)

    return sorted(columns[:k], key=both) + columns[k:]


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "sqeuclidean"])
@pytest.mark.parametrize(("k", "weight"), [(1, 1.0), (5, 0.0), (5, 3.0), (12, 20.0), (40, 1.0), (400, 20.0)])
@pytest.mark.parametrize("chunk_size", [None, 3])
def test_scores_and_lists_follow_the_plain_order(people, metric, k, weight, chunk_size):
    (query, gallery), (own, stripes), (query_ids, ids), (query_cameras, cameras) = people
    rerank = AlignedRerank(own, stripes, k, weight)
    columns = (query, gallery), (query_ids, ids, query_cameras, cameras)
    ranking = rank(*columns[0], *columns[1], metric=metric, rerank=rerank, chunk_size=chunk_size)
    lists = nearest(*columns[0], GALLERY, *columns[1], metric=metric, rerank=rerank, chunk_size=chunk_size)
    for row in range(QUERIES):
        removed = (ids == query_ids[row]) & (cameras == query_cameras[row])
        order = plain_order(query[row], gallery, own[row], stripes, removed, k, weight, metric)
        assert [column for column in lists.indices[row].tolist() if column >= 0] == order
        ranks = [place for place, column in enumerate(order, 1) if ids[column] == query_ids[row]]
        precisions = [found / place for found, place in enumerate(ranks, 1)]
        assert ranking.average_precision[row].item() == pytest.approx(sum(precisions) / len(ranks))
        assert ranking.first_match_rank[row] == ranks[0]


def test_a_weight_of_zero_changes_nothing(people):
    (query, gallery), (own, stripes), (query_ids, ids), _ = people
    plain = rank(query, gallery, query_ids, ids, camera_policy="allow")
    looked = rank(
        query, gallery, query_ids, ids, camera_policy="allow", rerank=AlignedRerank(own, stripes, 10, 0.0)
    )
    torch.testing.assert_close(looked.average_precision, plain.average_precision)


def test_a_shifted_person_moves_up():
    """The wrong image's vector is a little nearer; the right one's stripes are the query's, one row lower."""
    stripes = torch.tensor([[0.0], [5.0], [10.0], [15.0]])
    right, wrong = torch.tensor([[-5.0], [0.0], [5.0], [10.0]]), stripes + 40
    query, gallery = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.2], [1.0, 0.1]])
    ids = torch.tensor([7]), torch.tensor([7, 3])
    rerank = AlignedRerank(stripes[None], torch.stack([right, wrong]), k=2)
    assert rank(query, gallery, *ids).cmc(1) == 0
    assert rank(query, gallery, *ids, rerank=rerank).cmc(1) == 1


@pytest.mark.parametrize(
    ("stripes", "settings", "words"),
    [
        (torch.zeros(3, 2, 5), {"k": 0}, "at least one image"),
        (torch.zeros(3, 2, 5), {"k": 2, "weight": -1.0}, "weight from 0 on"),
        (torch.zeros(3, 4, 5), {"k": 2}, "equally many stripes"),
        (torch.zeros(3, 10), {"k": 2}, "equally many stripes"),
    ],
)
def test_what_cannot_be_compared_is_refused(stripes, settings, words):
    with pytest.raises(InputError, match=words):
        AlignedRerank(torch.zeros(2, 2, 5), stripes, **settings)
