"""What a protocol says of features and of rows, against plain words."""

import pytest
import torch
from torch.nn.functional import normalize

from reid_lightning.errors import InputError
from reid_lightning.models.features import Features
from reid_lightning.retrieval.aligned import AlignedRerank
from reid_lightning.retrieval.evaluation import (
    EvaluationRows,
    embed,
    nearest_rows,
    open_set_rows,
    rank_rows,
    ranked_rows,
    vectors,
)
from reid_lightning.retrieval.k_reciprocal import KReciprocalRerank
from reid_lightning.retrieval.protocol import EvaluationProtocol


def network(images):
    """Features that tell an image from its mirror image."""
    flat = images.flatten(1)
    return Features(flat * 2, flat + 1, flat, {"stripes": images[:, 0]})


def rows(count=60, seed=0):
    generator = torch.Generator().manual_seed(seed)
    people = torch.arange(count) % 13
    centers = torch.randn(13, 6, generator=generator)
    return EvaluationRows(
        centers[people] + 0.8 * torch.randn(count, 6, generator=generator),
        people,
        torch.randint(-1, 3, (count,), generator=generator),
        index=torch.arange(count),
        is_query=torch.arange(count) % 4 == 0,
        extra=torch.randn(count, 4, 3, generator=generator),
    )


@pytest.mark.parametrize("scaled", [True, False])
def test_the_chosen_field_is_scaled_once_and_averaged_with_the_mirror_image(scaled):
    images = torch.randn(5, 3, 4, 2)
    features, plain = network(images), EvaluationProtocol("before_neck", scaled)
    expected = images.flatten(1) * 2
    expected = normalize(expected) if scaled else expected
    torch.testing.assert_close(vectors(features, plain), expected)
    found, extra = embed(network, images, features, plain)
    torch.testing.assert_close(found, expected)
    assert extra is None
    other = images.flip(-1).flatten(1) * 2
    mean = (expected + (normalize(other) if scaled else other)) / 2
    found, _ = embed(network, images, features, EvaluationProtocol("before_neck", scaled, flip=True))
    torch.testing.assert_close(found, normalize(mean) if scaled else mean)


@pytest.mark.parametrize("flip", [False, True])
def test_sizes_are_averaged_like_mirror_images(flip):
    def means(images):
        """Features of any size of image: means of its quarters."""
        flat = torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)
        return Features(flat, flat, flat)

    images = torch.rand(4, 3, 8, 4)
    seen = [images, torch.nn.functional.interpolate(images, (12, 6), mode="bilinear", antialias=True)]
    seen += [view.flip(-1) for view in seen] if flip else []
    expected = normalize(torch.stack([normalize(means(view).embedding) for view in seen]).mean(0))
    protocol = EvaluationProtocol(flip=flip, scales=[1.0, 1.5])
    torch.testing.assert_close(embed(means, images, means(images), protocol)[0], expected)
    alone = embed(means, images, means(images), EvaluationProtocol(scales=[1.5]))[0]
    torch.testing.assert_close(alone, normalize(means(seen[1]).embedding))
    assert EvaluationProtocol(scales=[1]).vector_choices == EvaluationProtocol().vector_choices
    assert protocol.vector_choices != EvaluationProtocol(flip=flip).vector_choices


def test_what_the_reranking_reads_comes_too_and_is_averaged_alike():
    images = torch.randn(5, 3, 4, 2).bfloat16()
    features = network(images)
    extra = embed(network, images, features, EvaluationProtocol(rerank=AlignedRerank()))[1]
    assert torch.equal(extra, images[:, 0].float())
    extra = embed(network, images, features, EvaluationProtocol(rerank=AlignedRerank(), flip=True))[1]
    torch.testing.assert_close(extra, (images[:, 0].float() + images[:, 0].flip(-1).float()) / 2)
    assert embed(network, images, features, EvaluationProtocol(rerank=KReciprocalRerank()))[1] is None
    poor = features._replace(extra={})
    with pytest.raises(InputError, match="reads stripes, which this network does not give"):
        embed(network, images, poor, EvaluationProtocol(rerank=AlignedRerank()))


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize(
    "rerank",
    [None, KReciprocalRerank(6, 3, 0.3), AlignedRerank(8, 3.0)],
    ids=["none", "k_reciprocal", "aligned"],
)
def test_ranked_lists_are_in_the_order_that_is_scored(rerank, distance):
    whole, protocol = rows(), EvaluationProtocol(rerank=rerank, distance=distance)
    ranking, lists = rank_rows(whole, protocol), nearest_rows(whole, 60, protocol)
    shown = torch.where(lists.indices >= 0, whole.gallery.person_ids[lists.indices], -1)
    for row, person in enumerate(whole.query.person_ids):
        hits = (shown[row] == person).nonzero().flatten() + 1
        assert hits[0] == ranking.first_match_rank[row]
        precision = (torch.arange(1, len(hits) + 1) / hits.double()).mean()
        assert precision.item() == pytest.approx(ranking.average_precision[row].item())
    some = torch.tensor([7, 0, 3])
    part = nearest_rows(whole, 60, protocol, some)
    assert torch.equal(part.indices, lists.indices[some])
    torch.testing.assert_close(part.distances, lists.distances[some])


def test_a_reranking_changes_the_scores():
    plain = rank_rows(rows(), EvaluationProtocol()).mean_ap
    for rerank in (KReciprocalRerank(6, 3, 0.3), AlignedRerank(8, 3.0)):
        assert rank_rows(rows(), EvaluationProtocol(rerank=rerank)).mean_ap != plain


def test_doubled_rows_count_once_and_come_in_order():
    whole = rows()
    collected = whole.select(torch.cat([torch.randperm(60), torch.tensor([5, 9, 5])]))
    found = ranked_rows(collected, EvaluationProtocol())
    for name, column in vars(whole).items():
        assert column is None or torch.equal(getattr(found, name), column), name


def test_nobody_is_enrolled_by_an_open_set_and_its_reranking_is_left_out():
    whole = rows(240)
    protocol = EvaluationProtocol(rerank=KReciprocalRerank())
    scores = open_set_rows(whole, 5, protocol)
    assert scores == open_set_rows(whole, 5, EvaluationProtocol())
    nobody = (whole.person_ids >= 6) & ~whole.is_query
    fewer = open_set_rows(whole, 5, protocol, nobody)
    assert fewer != scores
    assert fewer == open_set_rows(whole.select(~nobody), 5, protocol)
