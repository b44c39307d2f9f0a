"""People files and calibrations as anybody may have written them: refused in a sentence, or used without harm."""

import copy
import json

import numpy as np
import pytest
import torch

from reid_lightning.errors import InputError
from reid_lightning.retrieval.calibration import Calibration
from reid_lightning.retrieval.identification import Enrolment
from reid_lightning.retrieval.matches import Side
from reid_lightning.retrieval.people_file import PeopleFile, write_people

WRONG = (
    None, True, "x", "", -1, 0, 1.5, float("nan"), float("inf"), 10**400, 1e300, [], {}, [[]], [None], ["1"], {"a": 1},
)  # fmt: skip
PEOPLE, IMAGES = 24, 3


@pytest.fixture(scope="module")
def measured():
    """A calibration, and the vectors and names that it rests on."""
    draw = torch.Generator().manual_seed(0)
    people = torch.arange(PEOPLE).repeat_interleave(IMAGES)
    vectors = torch.randn(PEOPLE, 8, generator=draw)[people] + 0.4 * torch.randn(
        len(people), 8, generator=draw
    )
    side = Side(vectors, people, torch.arange(len(people)) % IMAGES)
    found = Calibration.fit(side, side)
    assert found is not None
    return found, vectors, [f"p{person}" for person in people.tolist()]


def places(content, before=()):
    """Yield where values stand in nested containers; of lists the first and the last."""
    if before:
        yield before
    if isinstance(content, dict):
        for name in content:
            yield from places(content[name], (*before, name))
    elif isinstance(content, list) and content:
        for place in sorted({0, len(content) - 1}):
            yield from places(content[place], (*before, place))


def test_every_value_of_a_calibration_may_be_wrong(measured):
    calibration, vectors, names = measured
    content = json.loads(json.dumps(calibration.as_dict()))
    assert Calibration.from_dict(content).as_dict() == content
    used = 0
    for place in places(content):
        for wrong in WRONG:
            changed = copy.deepcopy(content)
            node = changed
            for name in place[:-1]:
                node = node[name]
            node[place[-1]] = wrong
            try:
                found = Calibration.from_dict(changed)
            except InputError:
                continue
            used += 1
            stated = found.probability(np.linspace(0, 2, 9))
            assert np.isfinite(stated).all()
            assert (np.diff(stated) <= 1e-12).all()
            assert list(found.thresholds) == sorted(found.thresholds, reverse=True)
            enrolment = Enrolment(calibration=found)
            enrolment.add(vectors, names)
            for per_person in ("all", "mean"):
                try:
                    answer = enrolment.identify(torch.ones(1, 8), per_person=per_person)
                except InputError:
                    continue
                assert answer.threshold is None or not np.isnan(answer.threshold)
    assert used


def test_an_infinite_distance_needs_no_probability(measured, recwarn):
    calibration, vectors, names = measured
    content = calibration.as_dict()
    flat = Calibration.from_dict(content | {"kind": "logistic", "logistic": {"slope": 0, "intercept": 0}})
    enrolment = Enrolment(calibration=flat)
    enrolment.add(vectors[:1], names[:1])
    assert torch.isfinite(enrolment.identify(vectors[5:6], k=5).pair_probabilities).all()
    assert not recwarn.list


@pytest.mark.parametrize("array", ["names", "images", "distance", "model", "calibration"])
def test_text_of_numbers_that_are_no_letters_is_refused(tmp_path, array):
    file = tmp_path / "people.npz"
    write_people(file, PeopleFile(torch.eye(2), ["a", "b"], ["x", "y"], "cosine", "m", None))
    with np.load(file) as held:
        arrays = dict(held)
    shape = arrays[array].shape
    arrays[array] = np.full(max(1, arrays[array].size), 0x110000, "<u4").view("<U1").reshape(shape)
    np.savez(file, **arrays)
    with pytest.raises(InputError, match=rf"the array {array} holds numbers that are no letters"):
        Enrolment.load(file)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "9" * 10_000, '{"kind": "' + "x" * 10_000 + '"}']
)
def test_a_calibration_that_is_deep_or_long_is_refused_in_a_sentence(tmp_path, text):
    file = tmp_path / "people.npz"
    write_people(file, PeopleFile(torch.eye(2), ["a", "b"], ["x", "y"], "cosine", "m", None))
    with np.load(file) as held:
        np.savez(file, **{**dict(held), "calibration": np.array(text)})
    with pytest.raises(InputError, match="enrol the people again") as raised:
        Enrolment.load(file)
    assert len(str(raised.value)) < 500


def test_nobody_enrolled_has_a_threshold_of_nobody(measured):
    assert Enrolment().known_within() == (None, True)
    with pytest.raises(InputError, match="one person or more"):
        Enrolment(calibration=measured[0]).known_within()
    people = Enrolment()
    people.add(torch.eye(2), ["a", "b"])
    for threshold in (float("nan"), -1.0):
        with pytest.raises(InputError, match="A threshold must be a distance from 0 on"):
            people.identify(torch.eye(2), threshold=threshold)
