import json

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from reid_lightning.errors import InputError
from reid_lightning.retrieval.calibration import Calibration
from reid_lightning.retrieval.enrolled import person_means
from reid_lightning.retrieval.identification import Enrolment
from reid_lightning.retrieval.matches import Side
from reid_lightning.retrieval.voting import vote

WEIGHTS = {
    "cosine": lambda distances: (1 - distances).clip(min=0),
    "euclidean": lambda distances: 1 / (1 + distances),
    "sqeuclidean": lambda distances: 1 / (1 + distances),
}


def people_around_centres(seed, people=12, images=6, queries=40, noise=1.0):
    """Vectors of enrolled images with their people, and queries of the same people."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(people, 8)) + 0.5
    names = np.arange(people * images) % people
    asked = random.integers(people, size=queries)
    enrolled = centres[names] + noise * random.normal(size=(len(names), 8))
    return (
        enrolled.astype(np.float32),
        [f"p{name:02d}" for name in names],
        (centres[asked] + noise * random.normal(size=(queries, 8))).astype(np.float32),
    )


def by_loops(enrolled, names, query, k, metric, weighting):
    """Candidates of one query as (name, share, distance), best first, by sorting every distance."""
    if metric == "cosine":
        far = [
            1 - float(row @ query / np.linalg.norm(row) / np.linalg.norm(query))
            for row in enrolled.astype(float)
        ]
    else:
        far = [float(np.linalg.norm(row.astype(float) - query)) for row in enrolled]
        far = [d * d for d in far] if metric == "sqeuclidean" else far
    order = sorted(range(len(far)), key=lambda row: (far[row], row))[:k]
    weights = [
        float(WEIGHTS[metric](np.array(far[row]))) if weighting == "similarity" else 1.0 for row in order
    ]
    if not any(weights):
        weights = [1.0] * len(weights)
    votes, first = {}, {}
    for place, (row, weight) in enumerate(zip(order, weights, strict=True)):
        votes[names[row]] = votes.get(names[row], 0.0) + weight
        first.setdefault(names[row], place)
    ranked = sorted(votes, key=lambda name: (-round(votes[name], 9), first[name]))
    return [(name, votes[name] / sum(weights), far[order[first[name]]]) for name in ranked]


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "sqeuclidean"])
@pytest.mark.parametrize("weighting", ["similarity", "uniform"])
@pytest.mark.parametrize("k", [1, 4, 15, 500])
def test_candidates_equal_those_of_plain_loops(metric, weighting, k):
    enrolled, names, queries = people_around_centres(k)
    enrolment = Enrolment(metric)
    enrolment.add(torch.from_numpy(enrolled), names)
    found = enrolment.identify(torch.from_numpy(queries), k=k, weighting=weighting)
    for row, query in enumerate(queries):
        expected = by_loops(enrolled, names, query, k, metric, weighting)
        taken = found.candidates.people[row] >= 0
        assert [found.people[i] for i in found.candidates.people[row][taken]] == [e[0] for e in expected]
        assert found.candidates.shares[row][taken].tolist() == pytest.approx(
            [e[1] for e in expected], abs=1e-5
        )
        assert found.candidates.distances[row][taken].tolist() == pytest.approx(
            [e[2] for e in expected], abs=1e-4
        )
        assert found.candidates.shares[row][~taken].sum() == 0
        assert found.candidates.distances[row][~taken].isinf().all()


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [1, 5, 20])
def test_shares_equal_those_of_scikit_learn(metric, k):
    enrolled, names, queries = people_around_centres(3, queries=200, noise=1.5)
    enrolment = Enrolment(metric)
    enrolment.add(torch.from_numpy(enrolled), names)
    found = enrolment.identify(torch.from_numpy(queries), k=k)
    oracle = KNeighborsClassifier(k, metric=metric, weights=WEIGHTS[metric]).fit(enrolled, names)
    shares = np.zeros((len(queries), len(oracle.classes_)))
    column = {name: place for place, name in enumerate(oracle.classes_)}
    for row in range(len(queries)):
        for person, score in zip(found.candidates.people[row], found.candidates.shares[row], strict=True):
            if person >= 0:
                shares[row, column[found.people[person]]] = score
    np.testing.assert_allclose(shares, oracle.predict_proba(queries), atol=1e-5)
    assert found.names == oracle.predict(queries).tolist()
    assert found.candidates.shares.sum(dim=1).tolist() == pytest.approx([1.0] * len(queries))


def test_of_equal_votes_the_nearer_image_wins_then_the_earlier():
    people, distances = (
        torch.tensor([[4, 2, 2, 4], [7, 7, 1, 1]]),
        torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.5] * 4]),
    )
    found = vote(people, distances, weighting="uniform")
    assert found.people.tolist() == [[4, 2], [7, 1]]
    assert found.places.tolist() == [[0, 1], [0, 2]]
    assert found.shares.tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_neighbours_that_resemble_nobody_still_vote():
    found = vote(torch.tensor([[1, 2, 2, -1]]), torch.tensor([[1.2, 1.4, 1.6, torch.inf]]))
    assert found.people.tolist() == [[2, 1]]
    assert found.shares.tolist() == [[pytest.approx(2 / 3), pytest.approx(1 / 3)]]


def test_a_query_beyond_the_threshold_is_unknown_and_one_on_it_is_known():
    enrolment = Enrolment("euclidean")
    enrolment.add(torch.tensor([[0.0, 0.0], [10.0, 0.0]]), ["a", "b"])
    queries = torch.tensor([[3.0, 0.0], [4.0, 0.0], [9.0, 0.0]])
    assert enrolment.identify(queries, k=1).names == ["a", "a", "b"]
    assert enrolment.identify(queries, k=1, threshold=3.0).names == ["a", None, "b"]


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "sqeuclidean"])
def test_an_enrolled_image_is_named_after_itself_whoever_else_is_near(metric):
    enrolment = Enrolment(metric)
    near = torch.tensor([[1.0, 0.1], [1.0, 0.11], [1.0, 0.12], [1.0, 0.13]])
    enrolment.add(torch.cat([torch.tensor([[1.0, 0.0]]), near]), ["Ada"] + ["Bo"] * 4)
    rounded = torch.tensor([[1.0, 1e-6], [1.0, 0.02]])
    found = enrolment.identify(rounded, k=5)
    assert found.names == ["Ada", "Bo"]
    assert found.same_image.tolist() == [True, False]
    assert found.candidates.shares[0].tolist() == [1.0, 0.0]
    assert found.nearest_images[0].tolist() == [0, 1]
    mean = enrolment.identify(rounded, k=1, per_person="mean")
    assert (mean.names, mean.same_image.tolist()) == (["Ada", "Ada"], [True, False])


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_the_mean_of_a_person_is_compared_and_its_nearest_image_shown(metric):
    enrolled, names, queries = people_around_centres(3)
    enrolment = Enrolment(metric)
    enrolment.add(torch.from_numpy(enrolled), names)
    found = enrolment.identify(torch.from_numpy(queries), k=3, per_person="mean")

    def unit(rows):
        return rows / np.linalg.norm(rows, axis=-1, keepdims=True) if metric == "cosine" else rows

    def far(a, b):
        return 1 - unit(a) @ unit(b) if metric == "cosine" else np.linalg.norm(a - b)

    means = {
        name: np.mean([unit(row) for row, who in zip(enrolled, names, strict=True) if who == name], axis=0)
        for name in names
    }
    for row, query in enumerate(queries):
        distances = {name: far(query, mean) for name, mean in means.items()}
        wanted = sorted(distances, key=distances.get)[:3]
        assert [found.people[person] for person in found.candidates.people[row]] == wanted
        assert found.candidates.distances[row].tolist() == pytest.approx(
            [distances[name] for name in wanted], abs=1e-5
        )
        for place, name in enumerate(wanted):
            images = [image for image, who in enumerate(names) if who == name]
            nearest = min(images, key=lambda image: far(query, enrolled[image]))
            assert found.nearest_images[row, place] == nearest
    assert found.known.all()
    assert not enrolment.identify(torch.from_numpy(queries), threshold=1e-6, per_person="mean").known.any()
    enrolment.add(torch.from_numpy(queries[:1]), ["new"])
    assert enrolment.identify(torch.from_numpy(queries[:1]), per_person="mean").names == ["new"]


def test_images_of_a_person_that_cancel_out_are_the_first_of_them():
    means = person_means(
        torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, -3.0]]), torch.tensor([0, 1, 1]), "cosine"
    )
    assert means.tolist() == [[1.0, 0.0], [0.0, 1.0]]


def calibrated(people=60):
    """The calibration of people around centers."""
    vectors, names, queries = people_around_centres(5, people=people, images=4, queries=people * 2, noise=0.3)
    draw = np.random.default_rng(5)  # draws the same centers and queries' people again
    draw.normal(size=(people, 8))
    asked = draw.integers(people, size=people * 2)
    who = torch.tensor([int(name[1:]) for name in names])
    calibration = Calibration.fit(
        Side(torch.from_numpy(queries), torch.from_numpy(asked)), Side(torch.from_numpy(vectors), who)
    )
    assert calibration is not None
    return calibration


def test_a_file_alone_knows_its_threshold_and_probabilities(tmp_path):
    calibration = calibrated()
    vectors, names, queries = people_around_centres(6, people=20, noise=0.3)
    enrolment = Enrolment(calibration=calibration)
    enrolment.add(torch.from_numpy(vectors), names)
    enrolment.save(tmp_path / "people.npz")
    again = Enrolment.load(tmp_path / "people.npz")
    assert again.calibration.as_dict() == calibration.as_dict()
    for rate in (None, 0.05, 0.3):
        found = again.identify(torch.from_numpy(queries), false_accepts=rate)
        wanted, measured = calibration.strangers.threshold(rate or 0.01, 20, len(names) / 20)
        assert (found.threshold, found.measured) == (wanted, measured)
        best = found.candidates.distances[:, 0]
        assert torch.equal(found.known, best <= wanted)
        there = found.candidates.people >= 0
        np.testing.assert_allclose(
            found.pair_probabilities[there],
            calibration.probability(found.candidates.distances[there].numpy()),
        )
        assert not found.pair_probabilities[~there].any()
    means = again.identify(torch.from_numpy(queries), false_accepts=0.1, per_person="mean")
    assert means.threshold == calibration.strangers_to_means.threshold(0.1, 20, len(names) / 20)[0]
    assert torch.equal(means.known, means.candidates.distances[:, 0] <= means.threshold)
    again.calibration = Calibration.from_dict({**calibration.as_dict(), "strangers_to_means": None})
    with pytest.raises(InputError, match="of an earlier version and has no thresholds for means"):
        again.identify(torch.from_numpy(queries), per_person="mean")
    assert again.identify(torch.from_numpy(queries), per_person="mean", false_accepts=1).known.all()
    again.calibration = calibration
    everybody = again.identify(torch.from_numpy(queries), false_accepts=1)
    assert everybody.known.all()
    assert everybody.threshold is None
    assert again.identify(torch.from_numpy(queries), threshold=0.25).threshold == 0.25
    itself = again.identify(torch.from_numpy(vectors))
    assert itself.names == names
    assert itself.pair_probabilities[:, 0].min() > 0.9
    means = again.identify(torch.from_numpy(vectors), per_person="mean")
    assert means.pair_probabilities[means.same_image, 0].min() > 0.9
    with Enrolment.changing(tmp_path / "people.npz") as people:
        people.remove("p00")
    assert Enrolment.load(tmp_path / "people.npz").calibration.as_dict() == calibration.as_dict()


def test_files_without_and_with_a_damaged_calibration(tmp_path):
    arrays = {
        "vectors": np.eye(2, dtype=np.float32),
        "names": np.array(["a", "b"]),
        "images": np.array(["", ""]),
        "distance": np.array("cosine"),
        "model": np.array("m"),
    }
    np.savez(tmp_path / "earlier.npz", **arrays)
    earlier = Enrolment.load(tmp_path / "earlier.npz")
    assert earlier.calibration is None
    found = earlier.identify(torch.eye(2))
    assert (found.names, found.threshold, found.pair_probabilities) == (["a", "b"], None, None)
    with pytest.raises(InputError, match="these people were enrolled with a model that has none"):
        earlier.identify(torch.eye(2), false_accepts=0.1)
    good = calibrated().as_dict()
    for text in ("{", "[1]", "null", "[" * 100_000, json.dumps({**good, "kind": "spline"}), '{"a": NaN}'):
        np.savez(tmp_path / "bad.npz", **arrays, calibration=np.array(text))
        with pytest.raises(InputError, match=r"The calibration in .*bad\.npz cannot be read \(") as refused:
            Enrolment.load(tmp_path / "bad.npz")
        assert "\n" not in str(refused.value)
    np.savez(
        tmp_path / "bad.npz", **{**arrays, "distance": np.array("euclidean")}, calibration=json.dumps(good)
    )
    with pytest.raises(
        InputError, match=r"bad\.npz: The calibration is of the distance cosine and not of euclid"
    ):
        Enrolment.load(tmp_path / "bad.npz")
    np.savez(tmp_path / "bad.npz", **arrays, calibration=np.array([1.0, 2.0]))
    with pytest.raises(InputError, match="is not a file of enrolled people"):
        Enrolment.load(tmp_path / "bad.npz")


def test_people_come_and_go_without_training():
    torch.manual_seed(0)
    centres = 10 * torch.eye(6)
    enrolment = Enrolment()
    for person in range(3):
        enrolment.add(centres[[person, person]] + torch.rand(2, 6), [f"p{person}"] * 2)
    queries = centres + torch.rand(6, 6)
    assert enrolment.identify(queries, k=2, threshold=0.3).names == ["p0", "p1", "p2", None, None, None]
    enrolment.add(centres[3:] + torch.rand(3, 6), ["p3", "p4", "p5"])
    assert enrolment.identify(queries, k=1, threshold=0.3).names == ["p0", "p1", "p2", "p3", "p4", "p5"]
    assert enrolment.remove("p1") == 2
    assert enrolment.people == ("p0", "p2", "p3", "p4", "p5")
    assert enrolment.identify(queries, k=1, threshold=0.3).names[1] is None


def test_an_accent_is_one_letter_however_it_is_encoded():
    enrolment = Enrolment()
    enrolment.add([[1.0, 0.0], [0.0, 1.0]], ["Jos\u00e9", "Jose\u0301"])
    assert enrolment.people == ("Jos\u00e9",)
    assert enrolment.remove("Jose\u0301") == 2


def test_a_file_gives_everything_again(tmp_path):
    enrolled, names, queries = people_around_centres(0)
    names = [name.replace("p", "Zoë ") for name in names]
    enrolment = Enrolment("euclidean", model="0123abcd")
    enrolment.add(torch.from_numpy(enrolled), names, [f"{i}.jpg" for i in range(len(names))])
    path = tmp_path / "people.npz"
    enrolment.save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["people.npz"]
    again = Enrolment.load(path)
    assert (again.distance, again.model, again.names, again.images) == (
        "euclidean", "0123abcd", enrolment.names, enrolment.images,
    )  # fmt: skip
    one, other = (each.identify(torch.from_numpy(queries), k=3) for each in (enrolment, again))
    assert one.names == other.names
    assert torch.equal(one.nearest_images, other.nearest_images)


def test_a_file_of_an_earlier_version_calls_the_distance_metric(tmp_path):
    arrays = {
        "vectors": np.eye(2, dtype=np.float32),
        "names": np.array(["a", "b"]),
        "images": np.array(["", ""]),
    }
    np.savez(tmp_path / "people.npz", metric=np.array("euclidean"), model=np.array("m"), **arrays)
    again = Enrolment.load(tmp_path / "people.npz")
    assert (again.distance, again.people) == ("euclidean", ("a", "b"))


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    enrolment, path = Enrolment(), tmp_path / "people.npz"
    enrolment.add(torch.eye(2), ["a", "b"])
    enrolment.save(path)
    enrolment.remove("a")

    def full_disk(handle, **_):
        handle.write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez", full_disk)
    with pytest.raises(OSError, match="no space"):
        enrolment.save(path)
    assert Enrolment.load(path).people == ("a", "b")
    assert len(list(tmp_path.iterdir())) == 1


def test_bad_input_is_named_and_changes_nothing(tmp_path):
    enrolment = Enrolment()
    with pytest.raises(InputError, match="Nobody is enrolled"):
        enrolment.identify(torch.eye(2))
    enrolment.add(torch.eye(2), ["Ada", "Bo"], ["a.jpg", "b.jpg"])
    for vectors, names, images, message in (
        ([[1.0, 2.0, 3.0]], ["Cy"], None, "of 3 numbers do not fit those enrolled, of 2"),
        ([[1.0, 2.0]], ["Cy", "Di"], None, "1 vectors come with 2 names"),
        ([[1.0, 2.0]], [" "], None, "Row 0 of the people to enrol has no name"),
        ([[1.0, float("nan")]], ["Cy"], None, "Vector 0 is not finite"),
        ([[1.0, 2.0]], ["Cy"], ["a.jpg"], "a.jpg of Cy is enrolled already, as a.jpg of Ada"),
        ([[1.0, 2.0], [0.0, 1.0]], ["Cy", "Cy"], ["c", "d"], "d of Cy is enrolled already, as b.jpg of Bo"),
        ([[1.0, 2.0], [1.0, 2.0]], ["Cy", "Cy"], ["c", "d"], "d of Cy is enrolled already, as c of Cy"),
        ([1.0, 2.0], ["Cy"], None, "a row per image"),
    ):
        with pytest.raises(InputError, match=message):
            enrolment.add(vectors, names, images)
    assert (len(enrolment), enrolment.people) == (2, ("Ada", "Bo"))
    with pytest.raises(InputError, match="Eve is not enrolled; enrolled are Ada, Bo"):
        enrolment.remove("Eve")
    with pytest.raises(InputError, match="of 3 numbers do not fit"):
        enrolment.identify(torch.ones(1, 3))
    with pytest.raises(ValueError, match="k must be a whole number, 1 or more, got 0"):
        enrolment.identify(torch.eye(2), k=0)
    with pytest.raises(InputError, match="weighting votes is unknown"):
        enrolment.identify(torch.eye(2), weighting="votes")
    with pytest.raises(InputError, match="per_person median is unknown; choose one of all, mean"):
        enrolment.identify(torch.eye(2), per_person="median")
    with pytest.raises(InputError, match="A false accept rate must be above 0 and up to 1, got 0"):
        enrolment.identify(torch.eye(2), false_accepts=0)
    with pytest.raises(InputError, match="Give a false accept rate or a threshold, not both"):
        enrolment.identify(torch.eye(2), threshold=0.1, false_accepts=0.1)
    with pytest.raises(InputError, match="distance manhattan is unknown"):
        Enrolment("manhattan")
    with pytest.raises(InputError, match="There is no file"):
        Enrolment.load(tmp_path / "nobody.npz")
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 not a file of ours")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    for name in ("broken.npz", "other.npz"):
        with pytest.raises(InputError, match=f"{name} is not a file of enrolled people"):
            Enrolment.load(tmp_path / name)


def test_nobody_enrolled_is_a_file_too(tmp_path):
    enrolment = Enrolment()
    enrolment.add(torch.eye(2), ["a", "a"])
    enrolment.remove("a")
    enrolment.save(tmp_path / "empty.npz")
    again = Enrolment.load(tmp_path / "empty.npz")
    again.add(torch.ones(1, 5), ["b"])  # of another length than those who went
    assert again.people == ("b",)
