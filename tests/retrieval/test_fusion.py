import math

import numpy as np
import pytest
import torch
from sides import sides
from torch.nn.functional import normalize

from reid_lightning.errors import InputError
from reid_lightning.retrieval.fusion import FusedSimilarities, Scale, fuse
from reid_lightning.retrieval.matches import Matches
from reid_lightning.retrieval.ranking import rank, rank_pairs
from reid_lightning.retrieval.similarities import Similarities


def by_loops(body, face, query_faces, gallery_faces, weight, normalisation, rule):
    """Fused similarities, pair after pair, from lists."""

    def scale(values):
        if normalisation == "min_max":
            return min(values), max(values) - min(values)
        mean = sum(values) / len(values)
        return mean, math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))

    queries, images = range(len(body)), range(len(body[0]))
    with_faces = [face[q][g] for q in queries for g in images if query_faces[q] and gallery_faces[g]]
    (shift, spread), (other_shift, other_spread) = scale([v for row in body for v in row]), scale(with_faces)
    fused = []
    for q in queries:
        for g in images:
            b = (body[q][g] - shift) / spread
            if query_faces[q] and gallery_faces[g]:
                f = (face[q][g] - other_shift) / other_spread
                if rule == "product":
                    b = b ** (1 - weight) * f**weight
                else:
                    b = (1 - weight) * b + weight * f
                    if normalisation == "z_score":
                        b /= math.sqrt((1 - weight) ** 2 + weight**2)
            fused.append(b)
    return torch.tensor(fused).view(len(body), -1)


CHOICES = [("z_score", "sum"), ("min_max", "sum"), ("min_max", "product")]


@pytest.mark.parametrize(("normalisation", "rule"), CHOICES)
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_fusion_equals_plain_loops(normalisation, rule, weight):
    torch.manual_seed(0)
    body, face = torch.randn(7, 9, dtype=torch.float64), 5 + 3 * torch.randn(7, 9, dtype=torch.float64)
    faces = torch.rand(7) < 0.6, torch.rand(9) < 0.6
    expected = by_loops(
        body.tolist(), face.tolist(), *(f.tolist() for f in faces), weight, normalisation, rule
    )
    face[~(faces[0][:, None] & faces[1])] = torch.nan  # is not read
    fused = fuse(body, face, *faces, weight=weight, normalisation=normalisation, rule=rule)
    torch.testing.assert_close(fused, expected.double(), atol=1e-6, rtol=0)


def test_a_hand_computed_pair():
    body, face = torch.tensor([[0.0, 1.0, 0.5]]), torch.tensor([[30.0, 10.0, 99.0]])
    faces = torch.tensor([True]), torch.tensor([True, True, False])
    fused = fuse(body, face, *faces, weight=0.75, normalisation="min_max")
    assert fused.tolist() == [[0.75, 0.25, 0.5]]
    # z-scores: faces +1 and -1; bodies have mean 0.5 and deviation sqrt(1/6).
    fused = fuse(body, face, *faces, weight=0.6)
    deviation, root = math.sqrt(1 / 6), math.sqrt(0.4**2 + 0.6**2)
    assert fused[0].tolist() == pytest.approx(
        [(0.4 * -0.5 / deviation + 0.6) / root, (0.4 * 0.5 / deviation - 0.6) / root, 0.0], abs=1e-6
    )


def test_a_scale_of_parts_equals_that_of_the_whole():
    torch.manual_seed(0)
    scores = 1e4 + torch.randn(1000, dtype=torch.float64)
    whole = Scale(scores.mean().item(), scores.std(correction=0).item())
    parts = Scale.of(scores.split([1, 0, 333, 666]), "z_score")
    assert (parts.shift, parts.spread) == pytest.approx((whole.shift, whole.spread), rel=1e-12)
    assert Scale.of([torch.full((5,), 2.0)], "z_score")(torch.full((5,), 2.0)).tolist() == [0.0] * 5


@pytest.mark.parametrize("distance", ["cosine", "euclidean", "sqeuclidean"])
@pytest.mark.parametrize(("normalisation", "rule"), CHOICES)
def test_chunks_equal_the_whole(distance, normalisation, rule):
    torch.manual_seed(0)
    sides = [torch.randn(n, d, dtype=torch.float64) for d in (5, 3) for n in (11, 17)]
    faces = torch.rand(11) < 0.7, torch.rand(17) < 0.7
    body, face = Similarities.of(*sides[:2], distance), Similarities.of(*sides[2:], distance)
    fused = FusedSimilarities.of(body, face, *faces, normalisation=normalisation, rule=rule)
    chunks = torch.cat([chunk.clone() for _, chunk in fused.chunks(4)])

    def whole(query, gallery):
        if distance == "cosine":
            return normalize(query) @ normalize(gallery).T
        return -torch.cdist(query, gallery).square()

    expected = fuse(whole(*sides[:2]), whole(*sides[2:]), *faces, normalisation=normalisation, rule=rule)
    torch.testing.assert_close(chunks, expected, atol=1e-9, rtol=0)


def planted(seed, people=40, images=4, faces=0.6):
    """Body and face vectors of people, each alone too noisy; some images have no face."""
    random = np.random.default_rng(seed)
    ids = np.repeat(np.arange(people), images + 1)
    is_query = np.arange(len(ids)) % (images + 1) == 0
    sides = []
    for noise in (1.1, 0.9):
        centres = random.normal(size=(people, 16))
        sides.append(torch.tensor(centres[ids] + noise * random.normal(size=(len(ids), 16))).float())
    return *sides, torch.tensor(random.random(len(ids)) < faces), torch.tensor(ids), torch.tensor(is_query)


@pytest.mark.parametrize(("normalisation", "rule"), CHOICES)
@pytest.mark.parametrize("faces", [0.6, 1.0])
def test_fused_beats_each_alone(normalisation, rule, faces):
    fused_map, body_map, face_map = [], [], []
    for seed in range(3):
        body, face, has_face, ids, is_query = planted(seed, faces=faces)
        pairs = [Similarities.of(side[is_query], side[~is_query], "cosine") for side in (body, face)]
        faces_of = has_face[is_query], has_face[~is_query]
        matches = Matches.of(*sides(body[is_query], body[~is_query], ids[is_query], ids[~is_query]), "allow")
        fused = FusedSimilarities.of(*pairs, *faces_of, normalisation=normalisation, rule=rule)
        fused_map.append(rank_pairs(fused, matches).mean_ap)
        body_map.append(rank(*sides(body[is_query], body[~is_query], ids[is_query], ids[~is_query])).mean_ap)
        # The face alone knows nothing of an image without a face: it is as good as a vector of zeros.
        face = torch.where(has_face[:, None], face, 0)
        face_map.append(rank(*sides(face[is_query], face[~is_query], ids[is_query], ids[~is_query])).mean_ap)
    assert min(np.subtract(fused_map, body_map)) > 0.05
    assert min(np.subtract(fused_map, face_map)) > 0.05


def test_equal_scores_count_against_the_query():
    body = Similarities.of(torch.ones(1, 2), torch.ones(5, 2), "cosine")
    has = torch.tensor([True]), torch.ones(5, dtype=torch.bool)
    ids = torch.tensor([1]), torch.tensor([1, 2, 2, 2, 2])
    matches = Matches.of(*sides(torch.ones(1, 2), torch.ones(5, 2), *ids))
    assert rank_pairs(FusedSimilarities.of(body, body, *has), matches).first_match_rank.item() == 5


def test_bad_input_is_named():
    scores, has = torch.eye(2), (torch.tensor([True, False]), torch.tensor([True, True]))
    for setting, message in (
        ({"weight": 1.5}, "weight 1.5"),
        ({"rule": "median"}, "rule 'median' is unknown; choose one of sum, product"),
        ({"normalisation": "tanh"}, "normalisation 'tanh' is unknown"),
        ({"rule": "product"}, "choose the normalization min_max"),
    ):
        with pytest.raises(InputError, match=message):
            fuse(scores, scores, *has, **setting)
    with pytest.raises(InputError, match="no pair of a query and a gallery image"):
        fuse(scores, scores, has[0], ~has[1])
