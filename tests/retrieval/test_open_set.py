import numpy as np
import pytest
import torch
from sides import sides

from reid_lightning.errors import InputError
from reid_lightning.retrieval.open_set import open_set_rates, open_set_scores


def by_loops(distances, correct, enrolled, rate):
    """The best detection rate over all thresholds that let no more strangers pass."""
    best = 0.0
    for threshold in [-1.0, *distances, np.inf]:
        alarms = [
            distance <= threshold for distance, known in zip(distances, enrolled, strict=True) if not known
        ]
        if sum(alarms) <= rate * len(alarms) + 1e-9:
            hits = [
                right and distance <= threshold
                for distance, right, known in zip(distances, correct, enrolled, strict=True)
                if known
            ]
            best = max(best, sum(hits) / len(hits))
    return best


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("steps", [8, 10**6])
def test_rates_equal_those_of_plain_loops(seed, steps):
    random = np.random.default_rng(seed)
    enrolled = random.random(300) < 0.6
    distances = np.round(random.random(300) ** (1 + enrolled) * steps) / steps  # few steps: many ties
    correct = enrolled & (random.random(300) < 0.7)
    asked = (0.0, 0.01, 0.1, 0.29, 0.5, 1.0)
    rates = open_set_rates(*map(torch.tensor, (distances, correct, enrolled)), asked)
    for rate, found in zip(asked, rates, strict=True):
        assert found.detected == pytest.approx(
            by_loops(distances.tolist(), correct.tolist(), enrolled.tolist(), rate)
        )
        assert (distances[~enrolled] <= found.threshold).mean() <= rate
    assert [rate.detected for rate in rates] == sorted(rate.detected for rate in rates)


def people(noise, count=40, images=6, seed=0):
    random = np.random.default_rng(seed)
    ids = np.repeat(np.arange(count), images)
    vectors = random.normal(size=(count, 16))[ids] + noise * random.normal(size=(len(ids), 16))
    is_query = np.arange(len(ids)) % images == 0
    sides = [torch.tensor(part).float() for part in (vectors[is_query], vectors[~is_query])]
    codes = [torch.tensor(part) for part in (ids[is_query], ids[~is_query])]
    cameras = [torch.tensor(np.arange(len(ids))[part] % 3) for part in (is_query, ~is_query)]
    return *sides, *codes, *cameras


def test_people_apart_are_all_identified_and_noise_identifies_few():
    clear = open_set_scores(*sides(*people(0.05)))
    assert [clear[name] for name in ("rate", "detected_at_1", "detected_at_10")] == [1.0, 1.0, 1.0]
    poor = open_set_scores(*sides(*people(2.5)))
    assert poor["rate"] < 0.5
    assert poor["detected_at_1"] <= poor["detected_at_10"] < 0.5
    assert poor["threshold_at_1"] <= poor["threshold_at_10"]
    assert open_set_scores(*sides(*people(2.5))) == poor
    assert open_set_scores(*sides(*people(2.5)), seed=1) != poor


def test_the_rate_is_that_of_a_plain_loop():
    query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras = people(1.2)
    right, counted = 0, 0
    for row in range(len(query)):
        kept = ~((gallery_ids == query_ids[row]) & (gallery_cameras == query_cameras[row]))
        cosine = torch.nn.functional.cosine_similarity(query[row : row + 1], gallery[kept]).double()
        votes: dict[int, float] = {}
        for place in cosine.argsort(descending=True)[:5].tolist():
            person = int(gallery_ids[kept][place])
            votes[person] = votes.get(person, 0.0) + max(0.0, float(cosine[place]))
        right += max(votes, key=votes.__getitem__) == int(query_ids[row])
        counted += 1
    found = open_set_scores(*sides(query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras))
    assert found["rate"] == pytest.approx(right / counted)


def test_a_query_without_another_image_of_its_person_is_not_counted():
    query, gallery, query_ids, gallery_ids, _, _ = people(0.05)
    cameras = (
        torch.zeros(len(query)),
        (gallery_ids >= 20).long(),
    )  # the first twenty people were seen by one camera
    found = open_set_scores(*sides(query, gallery, query_ids, gallery_ids, *(c.long() for c in cameras)))
    assert found["rate"] == 1.0


def test_bad_input_is_named():
    three = torch.tensor([0.1, 0.2, 0.3])
    yes = torch.ones(3, dtype=torch.bool)
    with pytest.raises(InputError, match="of 3 queries 3 are enrolled"):
        open_set_rates(three, yes, yes)
    with pytest.raises(ValueError, match="false_alarms must be between 0 and 1, got 2"):
        open_set_rates(three, yes, torch.tensor([True, False, True]), (2,))
    with pytest.raises(InputError, match="No query has an enrolled image"):
        open_set_scores(*sides(torch.eye(2), torch.eye(2), torch.tensor([0, 1]), torch.tensor([2, 3])))
