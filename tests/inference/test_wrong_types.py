"""Every public method of a model, a gallery and enrolled people answers a value of a wrong type in its own words."""

import itertools
import traceback
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from untrained import write_small_checkpoint

import reid_lightning
from reid_lightning import Enrolment, Gallery
from reid_lightning.retrieval.calibration import Calibration
from reid_lightning.retrieval.matches import Side

WRONG = (
    1.5, float("nan"), True, "a", "", b"x", [], {}, object(), [None], [1], np.array("a"), torch.zeros(0), len,
    np.zeros((2, 2)), pd.DataFrame({"a": [1]}), 10**400, "\udcff", 1j, [[1, 2], [3]], np.array([object()]),
)  # fmt: skip
FRAME = np.zeros((40, 20, 3), np.uint8)


@pytest.fixture(scope="module")
def have(tmp_path_factory):
    """A model, its gallery, people and calibration, and folders that are not there yet."""
    folder = tmp_path_factory.mktemp("types")
    model = reid_lightning.load(write_small_checkpoint(folder / "model.ckpt", "attributes=market12"))
    generator = torch.Generator().manual_seed(0)
    people = torch.arange(30).repeat_interleave(3)
    vectors = torch.eye(30)[people] + torch.randn(90, 30, generator=generator) / 4
    side = Side(vectors, people, torch.arange(90))
    calibration = Calibration.fit(side, side)
    gallery = Gallery.for_model(folder / "gallery", model)
    numbers, looks = model.embed_with_attributes([FRAME, 255 - FRAME])
    gallery.add(numbers, pd.DataFrame({"path": ["a", "b"], "attribute_probabilities": list(looks.numpy())}))
    enrolled = Enrolment(calibration=calibration)
    enrolled.add(vectors, [f"{person}" for person in people.tolist()])
    file = folder / "people.npz"
    enrolled.save(file)
    places = (folder / f"new{number}" for number in itertools.count())
    return SimpleNamespace(
        checkpoint=folder / "model.ckpt", model=model, gallery=gallery, queries=numbers, enrolled=enrolled, file=file,
        vectors=vectors, calibration=calibration, new=lambda: next(places),
    )  # fmt: skip


def small(have):
    gallery = Gallery.create(have.new(), 2)
    gallery.add([[1, 2], [3, 4]], pd.DataFrame({"path": ["a", "b"]}))
    return gallery


def table(column, value):
    return pd.DataFrame({column: pd.Series([value], dtype=object)})


def changed(file):
    with Enrolment.changing(file, Enrolment()):
        pass


CALLS = {
    "load": lambda have, value: reid_lightning.load(value),
    "load, device": lambda have, value: reid_lightning.load(have.checkpoint, device=value),
    "load, overrides": lambda have, value: reid_lightning.load(have.checkpoint, overrides=value),
    "load, trust": lambda have, value: reid_lightning.load(have.checkpoint, trust=value),
    "embed": lambda have, value: have.model.embed(value),
    "embed, boxes": lambda have, value: have.model.embed(FRAME, value),
    "embed, channels": lambda have, value: have.model.embed(FRAME, channels=value),
    "embed_with_attributes": lambda have, value: have.model.embed_with_attributes(value),
    "stream, batch_size": lambda have, value: list(have.model.stream(FRAME, value)),
    "stream, damaged": lambda have, value: list(have.model.stream(["/nothing"], damaged=value)),
    "describe": lambda have, value: have.model.describe(value),
    "compare": lambda have, value: have.model.compare(FRAME, value),
    "compare, false_accepts": lambda have, value: have.model.compare(FRAME, FRAME, value),
    "compare, prior": lambda have, value: have.model.compare(FRAME, FRAME, prior=value),
    "save_pretrained, license": lambda have, value: have.model.save_pretrained(have.new(), value),
    "save_pretrained, labels": lambda have, value: have.model.save_pretrained(have.new(), with_labels=value),
    "Gallery": lambda have, value: Gallery(value),
    "create, dimension": lambda have, value: Gallery.create(have.new(), value),
    "create, distance": lambda have, value: Gallery.create(have.new(), 2, distance=value),
    "create, dtype": lambda have, value: Gallery.create(have.new(), 2, dtype=value),
    "create, fingerprint": lambda have, value: Gallery.create(have.new(), 2, fingerprint=value),
    "create, preprocessing": lambda have, value: Gallery.create(have.new(), 2, preprocessing=value),
    "create, attributes": lambda have, value: Gallery.create(have.new(), 2, attributes=value),
    "for_model": lambda have, value: Gallery.for_model(have.new(), value),
    "add": lambda have, value: small(have).add(value),
    "add, table": lambda have, value: small(have).add([[1, 2]], value),
    "add, cell": lambda have, value: small(have).add([[1, 2]], table("mine", value)),
    "add, path": lambda have, value: small(have).add([[1, 2]], table("path", value)),
    "add, person_id": lambda have, value: small(have).add([[1, 2]], table("person_id", value)),
    "add, frame_id": lambda have, value: small(have).add([[1, 2]], table("frame_id", value)),
    "add, time": lambda have, value: small(have).add([[1, 2]], table("time", value)),
    "remove, person": lambda have, value: small(have).remove(person=value),
    "remove, ids": lambda have, value: small(have).remove(ids=value),
    "remove, paths": lambda have, value: small(have).remove(paths=value),
    "remove, age": lambda have, value: small(have).remove(older_than_days=value),
    "remove, where": lambda have, value: small(have).remove(where=value),
    "remove, compact": lambda have, value: small(have).remove(ids=[0], compact=value),
    "index": lambda have, value: have.gallery.index(value),
    "search": lambda have, value: have.gallery.search(value),
    "search, top": lambda have, value: have.gallery.search(have.queries, value),
    "search, where": lambda have, value: have.gallery.search(have.queries, where=value),
    "search, search": lambda have, value: have.gallery.search(have.queries, search=value),
    "search, rerank": lambda have, value: have.gallery.search(have.queries, rerank=value),
    "search, like": lambda have, value: have.gallery.search(have.queries, like=value),
    "wish": lambda have, value: have.gallery.wish(value),
    "wish, weight": lambda have, value: have.gallery.wish("hat", value),
    "wish, least": lambda have, value: have.gallery.wish("hat", least=value),
    "rows": lambda have, value: have.gallery.rows(value),
    "looks": lambda have, value: have.gallery.looks(value),
    "vectors": lambda have, value: have.gallery.vectors(value),
    "table": lambda have, value: have.gallery.table(value),
    "require_model": lambda have, value: have.gallery.require_model(value, value),
    "Enrolment, distance": lambda have, value: Enrolment(value),
    "Enrolment, model": lambda have, value: Enrolment(model=value),
    "Enrolment, search": lambda have, value: Enrolment(search=value),
    "Enrolment, calibration": lambda have, value: Enrolment(calibration=value),
    "enrolled, add": lambda have, value: Enrolment().add(value, ["a"]),
    "enrolled, names": lambda have, value: Enrolment().add([[1.0, 2.0]], value),
    "enrolled, name": lambda have, value: Enrolment().add([[1.0, 2.0]], [value]),
    "enrolled, images": lambda have, value: Enrolment().add([[1.0, 2.0]], ["a"], value),
    "enrolled, remove": lambda have, value: have.enrolled.remove(value),
    "identify": lambda have, value: have.enrolled.identify(value),
    "identify, k": lambda have, value: have.enrolled.identify(have.vectors, value),
    "identify, threshold": lambda have, value: have.enrolled.identify(have.vectors, threshold=value),
    "identify, weighting": lambda have, value: have.enrolled.identify(have.vectors, weighting=value),
    "identify, rate": lambda have, value: have.enrolled.identify(have.vectors, false_accepts=value),
    "identify, per_person": lambda have, value: have.enrolled.identify(have.vectors, per_person=value),
    "known_within, per_person": lambda have, value: have.enrolled.known_within(0.1, value),
    "enrolled, load": lambda have, value: Enrolment.load(value),
    "enrolled, load, search": lambda have, value: Enrolment.load(have.file, value),
    "probability": lambda have, value: have.calibration.probability(value),
    "probability, prior": lambda have, value: have.calibration.probability(np.zeros(1), value),
    "threshold": lambda have, value: have.calibration.threshold(value),
}  # fmt: skip
FILES = {  # which a text names, and which would be written
    "save_pretrained": lambda have, value: have.model.save_pretrained(value),
    "create": lambda have, value: Gallery.create(value, 2),
    "enrolled, save": lambda have, value: have.enrolled.save(value),
    "enrolled, changing": lambda have, value: changed(value),
}


@pytest.mark.parametrize("name", [*CALLS, *FILES])
def test_a_wrong_type_is_a_sentence(have, name):
    refused, foreign = 0, []
    call = CALLS.get(name) or FILES[name]
    for value in WRONG:
        if name in FILES and isinstance(value, str) and value:
            continue
        try:
            call(have, value)
        except ValueError as error:
            refused += 1
            if "reid_lightning" not in traceback.extract_tb(error.__traceback__)[-1].filename:
                foreign.append(error)
    assert not foreign
    assert refused >= len(WRONG) // 3


def test_the_weight_of_a_wish_is_a_number(have):
    with pytest.raises(ValueError, match=r"^The weight of attributes must be a number, got 'a'\.$"):
        have.gallery.wish("hat", weight="a")
