import pytest
import torch
from sides import sides

from reid_lightning.engine.retrieval_metric import RetrievalEvaluation
from reid_lightning.errors import InputError
from reid_lightning.retrieval.aligned import AlignedRerank
from reid_lightning.retrieval.matches import Matches, Side
from reid_lightning.retrieval.protocol import EvaluationProtocol
from reid_lightning.retrieval.ranking import rank, rank_pairs
from reid_lightning.retrieval.similarities import Similarities
from reid_lightning.retrieval.single_shot import rank_single_shot


def table(rows=41):
    """Embeddings, person ids, camera ids, index and is_query of a small test set, in its order."""
    generator = torch.Generator().manual_seed(0)
    people = torch.arange(rows) % 7
    embeddings = torch.randn(7, 5, generator=generator)[people] + torch.randn(rows, 5, generator=generator)
    cameras = torch.randint(-1, 3, (rows,), generator=generator)
    return embeddings, people, cameras, torch.arange(100, 100 + rows), torch.arange(rows) % 3 == 0


def expected(columns, **options):
    embeddings, people, cameras, _, is_query = columns
    columns = [column[side] for column in (embeddings, people, cameras) for side in (is_query, ~is_query)]
    return rank(*sides(*columns), **options)


def stripes_of(columns):
    """Stripes of the images of a table."""
    return torch.randn(len(columns[0]), 4, 3, generator=torch.Generator().manual_seed(1))


def evaluated(columns, parts, protocol):
    evaluation, stripes = RetrievalEvaluation(protocol), stripes_of(columns)
    for part in parts:
        extra = None if protocol.rerank is None else stripes[part]
        evaluation.update(*(column[part] for column in columns), extra=extra)
    return evaluation, evaluation.compute()


def assert_equal(ranking, other):
    for name, column in vars(ranking).items():
        torch.testing.assert_close(column, getattr(other, name), rtol=0, atol=1e-12, equal_nan=True)


def test_batches_in_any_order_with_duplicates_equal_one_ranking():
    columns = table()
    shuffled = torch.randperm(41)
    parts = [shuffled[:10], shuffled[10:], torch.tensor([3, 4, 0])]
    evaluation, ranking = evaluated(columns, parts, EvaluationProtocol(normalize=False, distance="euclidean"))
    assert_equal(ranking, expected(columns, distance="euclidean"))
    rows = evaluation.rows
    found = rows.vectors, rows.person_ids, rows.camera_ids, rows.index, rows.is_query
    for column, original in zip(found, columns, strict=True):
        assert torch.equal(column, original)
    assert rows.extra is None
    assert torch.equal(evaluation.rows.query.index, columns[3][columns[4]])
    assert torch.equal(evaluation.rows.gallery.person_ids, columns[1][~columns[4]])


def test_what_a_reranking_reads_stays_with_its_images():
    columns, protocol = table(), EvaluationProtocol(rerank=AlignedRerank(9, 2.0))
    shuffled = torch.randperm(41)
    ranking = evaluated(columns, [shuffled[:10], shuffled[10:], torch.tensor([3, 4, 0])], protocol)[1]
    embeddings, people, cameras, _, is_query = columns
    query, gallery = (Side(embeddings[side], people[side], cameras[side]) for side in (is_query, ~is_query))
    plain, stripes = Similarities.of(query.vectors, gallery.vectors, "cosine"), stripes_of(columns)
    reranked = AlignedRerank(9, 2.0).apply(plain, stripes[is_query], stripes[~is_query])
    assert_equal(ranking, rank_pairs(reranked, Matches.of(query, gallery)))
    assert ranking.mean_ap != expected(columns).mean_ap


def test_protocol_is_followed():
    columns = table()
    whole = [torch.arange(41)]
    _, ranking = evaluated(columns, whole, EvaluationProtocol(distance="euclidean", camera_policy="allow"))
    assert_equal(ranking, expected(columns, distance="euclidean", camera_policy="allow"))
    _, ranking = evaluated(columns, whole, EvaluationProtocol(normalize=False, distance="sqeuclidean"))
    assert_equal(ranking, expected(columns, distance="sqeuclidean"))


def test_draws_of_a_single_shot_gallery():
    columns = table()
    protocol = EvaluationProtocol(normalize=False, distance="euclidean", single_shot=6, single_shot_seed=3)
    _, ranking = evaluated(columns, [torch.randperm(41)], protocol)
    embeddings, people, cameras, _, is_query = columns
    of_sides = [column[side] for column in (embeddings, people, cameras) for side in (is_query, ~is_query)]
    assert_equal(ranking, rank_single_shot(*sides(*of_sides), draws=6, seed=3, distance="euclidean"))


def test_tracklets_are_pooled_whatever_the_batches():
    embeddings, people, cameras, index, _ = table()
    tracklets = people * 3 + cameras + 1  # a person in a camera; the tracklets of camera -1 stand alone
    tracklets[cameras < 0] = -1
    is_query = (cameras == 0) | (tracklets < 0) & (index % 2 == 0)
    is_query[(tracklets == tracklets[0]).nonzero()[0]] ^= True  # one tracklet on both sides
    columns = (embeddings, people, cameras, index, is_query, tracklets)
    protocol = EvaluationProtocol(camera_policy="allow", tracklets="pool")
    shuffled = torch.randperm(41)
    evaluation, ranking = evaluated(columns, [shuffled[:10], shuffled[10:], shuffled[:3]], protocol)

    units = embeddings / embeddings.norm(dim=1, keepdim=True)
    groups = {}
    for row in range(41):
        key = (int(tracklets[row]), bool(is_query[row])) if tracklets[row] >= 0 else f"alone {row}"
        groups.setdefault(key, []).append(row)
    means = torch.stack([units[rows].mean(dim=0) for rows in groups.values()])
    first = torch.tensor([rows[0] for rows in groups.values()])
    assert len(first) < 30
    assert_equal(
        ranking,
        expected(
            (means, people[first], cameras[first], index[first], is_query[first]), camera_policy="allow"
        ),
    )
    assert evaluation.rows.index.tolist() == index[first].tolist()
    assert torch.equal(evaluation.rows.is_query, is_query[first])


def test_pooling_without_tracklets_is_refused():
    with pytest.raises(
        InputError, match=r"needs data with tracklets, and this has none: set evaluation.tracklets=null"
    ):
        evaluated(table(), [torch.arange(41)], EvaluationProtocol(tracklets="pool"))


def test_single_query_half_types_and_a_later_move():
    columns = table(9)
    columns = (columns[0].bfloat16(), *columns[1:4], torch.arange(9) == 0)
    evaluation, ranking = evaluated(columns, [torch.arange(9)], EvaluationProtocol(camera_policy="allow"))
    assert ranking.average_precision.shape == (1,)
    assert evaluation.rows.vectors.dtype == torch.float32
    assert_equal(evaluation.to("cpu").compute(), ranking)  # Lightning moves its metrics when a stage ends
    evaluation.update(*(column[:1] for column in columns))
    assert_equal(evaluation.compute(), ranking)
    evaluation.reset()
    assert evaluation.rows is None
    with pytest.raises(InputError, match="no images to evaluate"):
        evaluation.compute()


SHARDS = {
    "uneven": ([range(0, 41, 2)], [range(1, 7, 2), range(7, 41, 2)]),
    "one without rows": ([range(20), range(20, 41)], []),
    "first without rows": ([], [range(41)]),
    "overlapping": ([range(21)], [range(15, 41)]),
}


def evaluate_shards(process):
    found = {}
    for name, shards in SHARDS.items():
        evaluation, ranking = evaluated(
            table(),
            [torch.tensor(list(part)) for part in shards[process]],
            EvaluationProtocol(rerank=AlignedRerank(9)),
        )
        tensors = {column: value for column, value in vars(ranking).items() if column != "ap_at"}
        found[name] = (tensors, tuple(vars(evaluation.rows).values()))
        assert sum(map(len, evaluation.index)) == sum(map(len, shards[process]))  # its own rows again
    return found


@pytest.mark.slow
def test_two_processes_give_the_ranking_of_one(processes):
    found = processes(evaluate_shards)
    columns = table()
    whole, ranking = evaluated(columns, [torch.arange(41)], EvaluationProtocol(rerank=AlignedRerank(9)))
    for name in SHARDS:
        for process in (0, 1):
            scores, rows = found[process][name]
            for column, value in scores.items():
                assert torch.equal(value.nan_to_num(-1), getattr(ranking, column).nan_to_num(-1)), name
            for column, original in zip(rows, vars(whole.rows).values(), strict=True):
                assert torch.equal(column, original), name
