"""Galleries as anybody may have written them: every value of the manifest and every column may be wrong."""

import copy
import json
import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reid_lightning import Gallery
from reid_lightning.data.attributes import Attribute, AttributeSchema
from reid_lightning.errors import InputError
from reid_lightning.inference.gallery.columns import PROBABILITIES

WRONG = (
    None, True, "x", "", -1, 0, 1.5, 2**61, [], {}, [[]], [None], ["1"], {"a": 1}, {"a": []}, ["\x1b[2J", "=1"], ["no"] * 2,
)  # fmt: skip
SCHEMA = AttributeSchema(
    "s", (Attribute("hat", "hat", ("no", "yes")), Attribute("coat", "coat", ("red", "blue")))
)
ROWS, OUTPUTS = 4, 4


@pytest.fixture
def folder(tmp_path):
    gallery = Gallery.create(tmp_path / "g", 3, attributes=SCHEMA)
    draw = np.random.default_rng(0)
    known = {"path": list("abcd"), "note": ["x"] * ROWS, PROBABILITIES: list(draw.random((ROWS, OUTPUTS)))}
    gallery.add(draw.normal(size=(ROWS, 3)), pd.DataFrame(known))
    return gallery.folder


def use(folder):
    """Read and search a gallery in every way; a refusal is an `InputError`."""
    gallery = Gallery(folder)
    for vectors, options in ((np.eye(3), {}), (np.eye(3), {"like": "hat"}), (None, {"like": "hat"})):
        found = gallery.search(vectors, 2, **options)
        assert not np.isnan(found.distances).any()
    gallery.search(np.eye(3), 2, where="note = 'x'")
    assert gallery.info
    assert len(gallery.rows(np.array([0])))


def places(content, before=()):
    yield from [before] if before else []
    if isinstance(content, dict):
        for name in content:
            yield from places(content[name], (*before, name))
    elif isinstance(content, list) and content:
        yield from places(content[0], (*before, 0))


def test_every_value_of_the_manifest_may_be_wrong(folder):
    content = json.loads((folder / "gallery.json").read_text())
    for place in places(content):
        for wrong in WRONG:
            changed = copy.deepcopy(content)
            node = changed
            for name in place[:-1]:
                node = node[name]
            node[place[-1]] = wrong
            (folder / "gallery.json").write_text(json.dumps(changed))
            try:
                use(folder)
            except InputError:
                continue


@pytest.mark.parametrize(
    ("name", "values"),
    [
        (PROBABILITIES, pa.array(["a"] * ROWS)),
        (PROBABILITIES, pa.array([[0.5] * OUTPUTS] * ROWS)),  # float64
        (PROBABILITIES, pa.array([[0.5] * 2] * ROWS, pa.list_(pa.float32()))),
        (PROBABILITIES, pa.array([[-1.0] * OUTPUTS] * ROWS, pa.list_(pa.float32()))),
        (PROBABILITIES, pa.array([[1e30] * OUTPUTS] * ROWS, pa.list_(pa.float32()))),
        (PROBABILITIES, pa.array([[np.nan] * OUTPUTS] * ROWS, pa.list_(pa.float32()))),
        (PROBABILITIES, pa.array([[None] * OUTPUTS] * ROWS, pa.list_(pa.float32()))),
        ("note", pa.array([{"a": 1}] * ROWS)),
        ("path", pa.array(range(ROWS))),
        ("time", pa.array(["x"] * ROWS)),
    ],
)
def test_a_column_of_another_kind_is_named(folder, name, values):
    file = folder / "segments" / "000000.parquet"
    table = pq.read_table(file).drop_columns([name])
    pq.write_table(table.append_column(name, values), file)
    with pytest.raises(InputError, match="damaged"):
        use(folder)


@pytest.mark.parametrize("kind", ["pipe", "device", "loop", "folder"])
def test_what_stands_in_place_of_the_manifest_is_not_waited_for(folder, kind):
    manifest = folder / "gallery.json"
    manifest.unlink()
    if kind == "pipe":
        os.mkfifo(manifest)
    elif kind == "folder":
        manifest.mkdir()
    else:
        manifest.symlink_to("/dev/zero" if kind == "device" else "gallery.json")
    with pytest.raises(InputError, match=r"gallery.json cannot be read: \w"):
        Gallery(folder)


@pytest.mark.parametrize(
    "cell",
    [
        [0.5],
        "a",
        [np.nan] * OUTPUTS,
        [-0.1] * OUTPUTS,
        [50.0] * OUTPUTS,
        1.0,
        [None] * OUTPUTS,
        [[0.5] * OUTPUTS] * 2,
    ],
)
def test_wrong_probabilities_are_not_added(folder, cell):
    gallery = Gallery(folder)
    table = pd.DataFrame({"path": ["e", "f"], PROBABILITIES: pd.Series([None, cell], dtype=object)})
    with pytest.raises(InputError, match=f"Row 1 of the table of images has {PROBABILITIES}"):
        gallery.add(np.eye(3)[:2], table)
    assert len(Gallery(folder)) == ROWS
    gallery.add(np.eye(3)[:2], table[:1].reindex([0, 0]).reset_index(drop=True))
    use(folder)
