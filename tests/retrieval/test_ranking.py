import math

import pytest
import torch
from helpers import run_python
from sides import sides
from sklearn.metrics import average_precision_score

from reid_lightning.errors import InputError
from reid_lightning.retrieval import ranking as module
from reid_lightning.retrieval.ranking import rank


def scores_of(ranks):
    """AP, trapezoid AP and INP from the ranks of a query's true matches, by the definitions."""
    n, average_precision, trapezoid, previous = len(ranks), 0.0, 0.0, 0
    for found, r in enumerate(sorted(ranks), start=1):
        average_precision += found / r / n
        before = 1.0 if r == 1 else (found - 1) / (r - 1)
        trapezoid += (before + found / r) / 2 / n
        previous = r
    return average_precision, trapezoid, n / previous


def oracle(query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras, kind, policy):
    """One query, one gallery image and one number at a time; a tie puts the wrong image first."""
    rows = []
    for i, q in enumerate(query.tolist()):
        entries = []
        for j, g in enumerate(gallery.tolist()):
            same = query_ids[i] == gallery_ids[j]
            camera = query_cameras[i]
            if policy == "exclude_same_camera" and same and camera == gallery_cameras[j] and camera != -1:
                continue
            if kind == "cosine":
                lengths = math.sqrt(sum(a * a for a in q)) * math.sqrt(sum(b * b for b in g))
                distance = 1 - sum(a * b for a, b in zip(q, g, strict=True)) / lengths if lengths else 1.0
            else:
                distance = sum((a - b) ** 2 for a, b in zip(q, g, strict=True))
            entries.append((round(distance, 9), bool(same)))  # rounded: equal distances are equal
        entries.sort()  # False, a wrong image, sorts before True
        ranks = [r for r, (_, same) in enumerate(entries, start=1) if same]
        at_3 = sum(sum(other <= r for other in ranks) / r for r in ranks if r <= 3) / max(
            1, min(3, len(ranks))
        )
        rows.append(
            (*scores_of(ranks), ranks[0], len(ranks), at_3) if ranks else (*[math.nan] * 4, 0, math.nan)
        )
    return torch.tensor(rows, dtype=torch.float64)


def random_problem(seed):
    """Ties, missing matches, one camera, unknown cameras, distractors and small galleries, by the seed."""
    generator = torch.Generator().manual_seed(seed)

    def integers(low, high, *shape):
        return torch.randint(low, high, shape, generator=generator)

    num_queries, num_gallery = int(integers(1, 12, 1)), int(integers(1, 9 if seed % 4 == 0 else 60, 1))
    width = int(integers(1, 9, 1))
    ids, cameras = int(integers(1, 9, 1)), 1 if seed % 5 == 0 else 4
    query = torch.randn(num_queries, width, generator=generator, dtype=torch.float64)
    gallery = torch.randn(num_gallery, width, generator=generator, dtype=torch.float64)
    if seed % 2:
        query, gallery = (query * 1.5).round(), (gallery * 1.5).round()
    gallery_ids = integers(0, ids + 1, num_gallery)  # 0: distractors
    gallery_cameras, query_cameras = integers(-1, cameras, num_gallery), integers(-1, cameras, num_queries)
    query_ids = integers(1, ids + 3, num_queries)  # some are missing from the gallery
    return query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras


@pytest.mark.parametrize("distance", ["cosine", "euclidean", "sqeuclidean"])
def test_random_problems_equal_the_plain_loop(distance):
    compared = without_match = 0
    for seed in range(200):
        problem = random_problem(seed)
        policy = "allow" if seed % 3 == 0 else "exclude_same_camera"
        expected = oracle(*problem, distance, policy)
        if expected[:, 4].eq(0).all():
            with pytest.raises(InputError, match=r"None of the \d+ queries"):
                rank(*sides(*problem), distance=distance, camera_policy=policy)
            continue
        ranking = rank(
            *sides(*problem), distance=distance, camera_policy=policy, chunk_size=1 + seed % 7, map_at=[3]
        )
        columns = vars(ranking) | {"ap_at": ranking.ap_at[3]}
        got = torch.stack([column.double() for column in columns.values()], dim=1)
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-12, equal_nan=True)
        valid = expected[expected[:, 4] > 0]
        assert ranking.mean_ap == pytest.approx(valid[:, 0].mean().item(), abs=1e-12)
        assert ranking.mean_trapezoid_ap == pytest.approx(valid[:, 1].mean().item(), abs=1e-12)
        assert ranking.mean_inp == pytest.approx(valid[:, 2].mean().item(), abs=1e-12)
        assert ranking.cmc(3) == pytest.approx(valid[:, 3].le(3).double().mean().item(), abs=1e-12)
        compared += 1
        without_match += ranking.queries_without_match
    assert compared > 150
    assert without_match > 50


@pytest.mark.parametrize(
    ("ranks", "average_precision", "trapezoid", "inp"),
    [
        ([1, 2, 4, 7], 0.830357, 0.811012, 0.571429),
        ([2], 0.5, 0.25, 0.5),
        ([1, 3], 0.833333, 0.791667, 0.666667),
        ([2, 5, 9], 0.411111, 0.288889, 0.333333),
    ],
)
def test_ap_at_k_by_hand(ranks, average_precision, trapezoid, inp):
    gallery = torch.arange(1.0, 11.0)[:, None]
    gallery_ids = torch.tensor([int(r in ranks) for r in range(1, 11)])
    one = sides(torch.zeros(1, 1), gallery, torch.tensor([1]), gallery_ids)
    found = rank(*one, distance="euclidean", map_at=[1, 2, 10]).summary()
    assert round(found["mAP@10"], 6) == average_precision  # the whole gallery: the plain AP
    assert found["mAP@1"] == float(1 in ranks)
    assert found["mAP@2"] == pytest.approx(
        {(1, 2, 4, 7): 1.0, (2,): 0.5, (1, 3): 0.5, (2, 5, 9): 0.25}[tuple(ranks)]
    )


@pytest.mark.parametrize("seed", range(5))
def test_ap_at_the_gallerys_length_is_that_of_scikit_learn(seed):
    generator = torch.Generator().manual_seed(seed)
    query, gallery = torch.rand(6, 5, generator=generator), torch.rand(40, 5, generator=generator)
    people = torch.arange(40) % 6
    ranking = rank(*sides(query, gallery, torch.arange(6), people), distance="euclidean", map_at=[40])
    for row in range(6):
        scores = -torch.cdist(query[row : row + 1], gallery)[0]
        expected = average_precision_score((people == row).numpy(), scores.numpy())
        assert ranking.ap_at[40][row].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("ranks", "average_precision", "trapezoid", "inp"),
    [
        ([1, 2, 4, 7], 0.830357, 0.811012, 0.571429),
        ([2], 0.5, 0.25, 0.5),
        ([1, 3], 0.833333, 0.791667, 0.666667),
        ([2, 5, 9], 0.411111, 0.288889, 0.333333),
    ],
)
def test_published_values(ranks, average_precision, trapezoid, inp):
    gallery = torch.arange(1.0, 11.0)[:, None]
    gallery_ids = torch.tensor([int(r in ranks) for r in range(1, 11)])
    ranking = rank(*sides(torch.zeros(1, 1), gallery, torch.tensor([1]), gallery_ids), distance="euclidean")
    assert round(ranking.mean_ap, 6) == average_precision
    assert round(ranking.mean_trapezoid_ap, 6) == trapezoid
    assert round(ranking.mean_inp, 6) == inp
    assert ranking.first_match_rank.item() == ranks[0]
    assert ranking.cmc_curve(10) == [float(k >= ranks[0]) for k in range(1, 11)]


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize(("num_gallery", "width"), [(7, 512), (63, 64), (1017, 128)])
def test_constant_embedding_ranks_every_match_last(distance, num_gallery, width):
    # Matrix products round equal columns differently at the table's edge; that must not break a tie.
    vector = torch.randn(width) * 3
    ids = torch.zeros(num_gallery, dtype=torch.long)
    ids[-2:] = 1
    for num_queries in (1, 5, 64):
        ranking = rank(
            *sides(
                vector.expand(num_queries, -1),
                vector.expand(num_gallery, -1),
                torch.ones(num_queries, dtype=torch.long),
                ids,
            ),
            distance=distance,
        )
        assert ranking.first_match_rank.eq(num_gallery - 1).all()


def test_half_precision_and_autocast_give_the_float32_ranking():
    torch.manual_seed(0)
    query, gallery = torch.randn(20, 256).bfloat16(), torch.randn(90, 256).bfloat16()
    ids = torch.arange(20), torch.arange(90) % 20
    expected = rank(*sides(query.double(), gallery.double(), *ids))
    with torch.autocast("cpu", torch.bfloat16):
        ranking = rank(*sides(query, gallery, *ids))
    assert torch.equal(ranking.average_precision, expected.average_precision)


def test_order_chunks_and_sorting_path_do_not_change_the_scores(monkeypatch):
    torch.manual_seed(0)
    query, gallery = torch.randn(50, 8).round(), torch.randn(200, 8).round()
    ids, gallery_ids = torch.arange(50) % 20, torch.arange(200) % 25
    expected = rank(*sides(query, gallery, ids, gallery_ids)).average_precision
    shuffled = torch.randperm(200)
    got = rank(*sides(query, gallery[shuffled], ids, gallery_ids[shuffled]), chunk_size=7).average_precision
    assert torch.equal(got, expected)
    # As on a GPU: torch sorts and searches.
    monkeypatch.setattr(
        module,
        "count_below",
        lambda values, thresholds, counts: torch.searchsorted(
            values.sort(dim=1).values, torch.from_numpy(thresholds)
        ).numpy(),
    )
    assert torch.equal(rank(*sides(query, gallery, ids, gallery_ids)).average_precision, expected)


def test_unknown_camera_is_never_the_same_camera():
    query, gallery = torch.zeros(1, 1), torch.tensor([[1.0], [2.0], [3.0]])
    ids = torch.tensor([1]), torch.tensor([1, 2, 1])
    unknown, first = torch.tensor([-1]), torch.tensor([0])
    assert (
        rank(
            *sides(query, gallery, *ids, unknown, torch.tensor([-1, 0, 0])), distance="euclidean"
        ).num_matches
        == 2
    )
    assert (
        rank(*sides(query, gallery, *ids, first, torch.tensor([0, 0, -1])), distance="euclidean").num_matches
        == 1
    )
    assert rank(*sides(query, gallery, *ids, first, None), distance="euclidean").num_matches == 2


def test_queries_without_match_are_counted_and_left_out():
    gallery = torch.tensor([[0.0], [1.0]])
    ranking = rank(
        *sides(torch.zeros(3, 1), gallery, torch.tensor([1, 9, 2]), torch.tensor([1, 2])),
        distance="euclidean",
    )
    assert ranking.average_precision[1].isnan()
    assert ranking.summary(ranks=(1, 2)) == {
        "mAP": 0.75,
        "rank1": 0.5,
        "rank2": 1.0,
        "mINP": 0.75,
        "mAP_trapezoid": 0.625,
        "queries": 3.0,
        "queries_without_match": 1.0,
    }


def test_bad_input_is_named():
    x, ids = torch.randn(4, 3), torch.arange(4)
    with pytest.raises(InputError, match="no gallery images"):
        rank(*sides(x, x[:0], ids, ids[:0]))
    with pytest.raises(InputError, match="no query images"):
        rank(*sides(x[:0], x, ids[:0], ids))
    broken = x.clone()
    broken[[1, 3], 0] = torch.tensor([torch.nan, torch.inf])
    with pytest.raises(InputError, match=r"2 of 4 gallery features are not finite \(the first is row 1\)"):
        rank(*sides(x, broken, ids, ids))
    with pytest.raises(
        ValueError, match=r"person_ids of the gallery must have .* shape \(3,\) for 4 vectors"
    ):
        rank(*sides(x, x, ids, ids[:3]))
    with pytest.raises(ValueError, match=r"camera_ids of the query must have .* shape \(2,\)"):
        rank(*sides(x, x, ids, ids, ids[:2], ids))
    with pytest.raises(ValueError, match="equally many columns"):
        rank(*sides(x, x[:, :2], ids, ids))
    with pytest.raises(ValueError, match=r"distance must be one of euclidean, .*, got l1"):
        rank(*sides(x, x, ids, ids), distance="l1")
    with pytest.raises(ValueError, match=r"camera_policy must be one of .*, got drop"):
        rank(*sides(x, x, ids, ids), camera_policy="drop")
    with pytest.raises(InputError, match="None of the 4 queries has its person in the gallery"):
        rank(*sides(x, x, ids, ids + 10))
    with pytest.raises(InputError, match=r"4 have their person .* own camera; .*camera_policy=allow"):
        rank(*sides(x, x, ids, ids, torch.zeros(4), torch.zeros(4)))


MEASURE = """
import resource, torch
from reid_lightning.retrieval.matches import Side
from reid_lightning.retrieval.ranking import rank
torch.manual_seed(0)
query, gallery = torch.randn(3368, 512), torch.randn(15913, 512)
ids = torch.randint(0, 750, (3368,)), torch.randint(-1, 750, (15913,))
cameras = torch.randint(0, 6, (3368,)), torch.randint(0, 6, (15913,))
rank(Side(query[:600], ids[0][:600]), Side(gallery[:700], ids[1][:700]))  # loads the libraries
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rank(Side(query, ids[0], cameras[0]), Side(gallery, ids[1], cameras[1]), distance="{distance}")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_memory_of_market1501_stays_small(distance):
    assert float(run_python("-c", MEASURE.format(distance=distance)).stdout) < 150  # MiB
