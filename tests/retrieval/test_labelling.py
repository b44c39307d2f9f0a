"""Answers about pairs: their consequences, the groups that respect them, and the pairs that are asked about."""

import itertools

import numpy as np
import pytest

from reid_lightning.errors import InputError
from reid_lightning.retrieval.answered import answered_threshold
from reid_lightning.retrieval.clustering import by_size, cluster_scores
from reid_lightning.retrieval.constrained import constrained_groups, group_distances
from reid_lightning.retrieval.links import Link, Links
from reid_lightning.retrieval.questions import choose_questions


def distances(count=60, people=6, spread=0.35, seed=0):
    """Distances of points around the places of people, and whom each shows."""
    rng = np.random.default_rng(seed)
    truth = np.arange(count) % people
    points = rng.normal(size=(people, 4))[truth] + spread * rng.normal(size=(count, 4))
    return np.linalg.norm(points[:, None] - points[None], axis=2).astype(np.float32), truth


def true_link(truth, first, second):
    return Link(int(first), int(second), "same" if truth[first] == truth[second] else "different")


def naive_groups(far, threshold, forbidden):
    """Average linkage under cannot-links, straight from its definition."""
    groups = [[row] for row in range(len(far))]
    while True:
        best = None
        for a, b in itertools.combinations(range(len(groups)), 2):
            if any((min(x, y), max(x, y)) in forbidden for x in groups[a] for y in groups[b]):
                continue
            mean = far[np.ix_(groups[a], groups[b])].astype(float).mean()
            if mean <= threshold and (best is None or mean < best[0]):
                best = mean, a, b
        if best is None:
            break
        groups[best[1]] += groups.pop(best[2])
    labels = np.empty(len(far), np.int64)
    for number, members in enumerate(groups):
        labels[members] = number
    return by_size(labels)


def test_cannot_links_are_those_of_average_linkage_by_its_definition():
    far, truth = distances(24, 4, 0.6)
    pairs = [(a, b) for a, b in itertools.combinations(range(24), 2) if truth[a] != truth[b]][::7]
    links = Links.of([Link(a, b, "different") for a, b in pairs], 24)
    for threshold in (0.5, 1.0, 1.5, 2.5):
        wanted = naive_groups(far, threshold, set(pairs))
        assert constrained_groups(far, threshold, links).tolist() == wanted.tolist()


@pytest.mark.parametrize("seed", range(6))
def test_every_answer_holds_whatever_the_threshold(seed):
    far, truth = distances(40, 5, 1.2, seed)
    rng = np.random.default_rng(seed)
    told = [true_link(truth, *rng.choice(40, 2, replace=False)) for _ in range(60)]
    for threshold in (0.0, 0.8, 1.6, 3.0, 9.0):
        groups = constrained_groups(far, threshold, Links.of(told, 40))
        for one in told:
            assert (groups[one.first] == groups[one.second]) == (one.answer == "same")


def test_same_joins_whole_groups():
    places = np.array([0.0, 0.1, 0.2, 5.0, 5.1, 9.0], np.float32)
    far = np.abs(places[:, None] - places[None])
    groups = constrained_groups(far, 0.5, Links.of([Link(0, 3, "same")], 6))
    assert groups.tolist() == [0, 0, 0, 0, 0, 1]


def test_where_joining_whole_groups_is_forbidden_the_two_images_leave_them():
    places = np.array([0.0, 0.1, 0.2, 5.0, 5.1], np.float32)
    far = np.abs(places[:, None] - places[None])
    groups = constrained_groups(far, 0.5, Links.of([Link(0, 3, "same"), Link(1, 4, "different")], 5))
    assert groups[0] == groups[3]
    assert groups[1] != groups[4]


def test_components_and_what_is_apart_against_a_closure():
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 4, 20)
    told = [true_link(truth, *rng.choice(20, 2, replace=False)) for _ in range(25)]
    links = Links.of(told, 20)
    reach = np.eye(20, dtype=bool)
    for one in told:
        if one.answer == "same":
            reach[one.first, one.second] = reach[one.second, one.first] = True
    for middle in range(20):
        reach |= reach[:, middle][:, None] & reach[middle][None]
    assert ((links.components[:, None] == links.components[None]) == reach).all()
    wanted = {
        (min(a, b), max(a, b))
        for one in told
        if one.answer == "different"
        for a in np.flatnonzero(reach[one.first])
        for b in np.flatnonzero(reach[one.second])
    }
    assert {(min(a, b), max(a, b)) for a, b in zip(*links.forbidden(), strict=True)} == wanted


def test_a_contradiction_names_the_shortest_chain():
    told = [
        Link(0, 1, "same", "row 1"),
        Link(1, 2, "same", "row 2"),
        Link(2, 3, "same", "row 3"),
        Link(0, 2, "same", "row 4"),
        Link(0, 3, "different", "row 5"),
    ]
    with pytest.raises(InputError) as error:
        Links.of(told, 4, ["a", "b", "c", "d"])
    assert str(error.value) == (
        "The answers contradict each other: row 4 calls a and c the same person and row 3 calls c and d the same person "
        "and row 5 calls a and d two people; correct one of them, or make it unknown."
    )
    with pytest.raises(ValueError, match="a link must join two of 4 images"):
        Links.of([Link(1, 1, "same")], 4)


def test_mean_distances_of_groups():
    far, truth = distances()
    between = group_distances(far, truth.astype(np.int64))
    assert between[1, 4] == pytest.approx(far[np.ix_(truth == 1, truth == 4)].mean(), rel=1e-5)
    assert between[2, 2] == pytest.approx(far[np.ix_(truth == 2, truth == 2)].mean(), rel=1e-5)


def test_questions_are_diverse_near_the_border_and_reproducible():
    far, _ = distances(120, 12, 0.7)
    nothing = Links.of([], 120)
    groups = constrained_groups(far, 1.2, nothing)
    found = choose_questions(far, groups, 1.2, nothing, 15, slope=5.0, seed=4)
    assert len(found) == 15
    images = [image for one in found for image in (one.first, one.second)]
    assert len(set(images)) == 30
    assert found == sorted(found, key=lambda one: -one.gain)
    for one in found:
        joined = groups[one.first] == groups[one.second]
        assert joined == (one.kind != "nearly joined")
        assert (one.distance <= 1.2) == joined
        assert set(one.beside_first) <= set(np.flatnonzero(groups == groups[one.first]))
    again = choose_questions(far, groups, 1.2, nothing, 15, slope=5.0, seed=4)
    assert [vars(one) for one in again] == [vars(one) for one in found]


def test_what_was_asked_or_follows_is_not_asked_again():
    far, truth = distances(50, 5, 0.8)
    told = []
    for _ in range(40):
        links = Links.of(told, 50)
        groups = constrained_groups(far, 1.0, links)
        found = choose_questions(far, groups, 1.0, links, 5)
        if not found:
            break
        for one in found:
            assert (min(one.first, one.second), max(one.first, one.second)) not in links.asked
            assert links.components[one.first] != links.components[one.second]
        told += [true_link(truth, one.first, one.second) for one in found]
    else:
        pytest.fail("questions never end")
    assert cluster_scores(groups, truth)["f"] == 1.0


def test_answers_raise_the_scores():
    far, truth = distances(200, 25, 0.3, seed=2)
    start = constrained_groups(far, 0.8, Links.of([], 200))
    told = []
    for _ in range(3):
        links = Links.of(told, 200)
        groups = constrained_groups(far, 0.8, links)
        told += [
            true_link(truth, one.first, one.second) for one in choose_questions(far, groups, 0.8, links, 20)
        ]
    end = constrained_groups(far, 0.8, Links.of(told, 200))
    assert cluster_scores(end, truth)["f"] > cluster_scores(start, truth)["f"] + 0.1


def test_the_threshold_moves_to_where_answers_are_even():
    rng = np.random.default_rng(0)
    far = rng.uniform(0.2, 0.8, 4000)
    same = rng.random(4000) < 1 / (1 + np.exp(12 * (far - 0.55)))
    assert answered_threshold(0.3, 12.0, far, same) == pytest.approx(0.55, abs=0.02)
    assert 0.3 < answered_threshold(0.3, 12.0, [0.35], [True]) < 0.45
    assert answered_threshold(0.01, 1.0, [0.0] * 50, [False] * 50) == 0.0
    with pytest.raises(ValueError, match="slope must be > 0"):
        answered_threshold(0.3, 0.0, [], [])
