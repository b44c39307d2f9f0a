"""Exported files that strangers wrote or that are damaged."""

import json
import re
import resource
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

import reid_lightning
from reid_lightning.errors import InputError
from reid_lightning.files import beside
from reid_lightning.inference.export.export import export
from reid_lightning.runtime.facts import KEY, ExportFacts


def with_metadata(source, target, text):
    model = onnx.load(source)
    del model.metadata_props[:]
    if text is not None:
        onnx.helper.set_model_props(model, {KEY: text})
    onnx.save(model, target)
    return target


def changed(exported, tmp_path, **values):
    content = json.loads(exported.sidecar.read_text()) | values
    return with_metadata(exported.path, tmp_path / "changed.onnx", json.dumps(content))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "was not written by `reid export`"),
        ("", "was not written by `reid export`"),
        ("{", "cannot be used"),
        ("[]", "it is not of reid-lightning"),
        ("[" * 100_000, "cannot be used"),
        ('{"library": "reid-lightning", "export": 99}', "its format is 99, and this version reads 1"),
        ('{"library": "reid-lightning", "export": 1}', "it does not say format"),
    ],
)
def test_metadata_that_cannot_be_read(exported, tmp_path, text, said):
    path = with_metadata(exported.path, tmp_path / "m.onnx", text)
    with pytest.raises(InputError, match=said) as error:
        reid_lightning.load(path)
    assert "m.onnx" in str(error.value)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("image_size", [32], "its image_size is not a height and a width"),
        ("image_size", [32, 10**9], "its image_size is not a height and a width"),
        ("image_size", "32", "its image_size is not a height and a width"),
        ("mean", [0.1, 0.2], "its mean is not three numbers"),
        ("mean", [1e400, 0, 0], "its mean is not three numbers"),
        ("std", [0, 1, 1], "its std is not three numbers"),
        ("preprocess", "none", "its preprocess is not one of inside, outside"),
        ("distance", "hamming", "its distance is not one of"),
        ("interpolation", 3, "its interpolation is not one of area"),
        ("interpolation", "evil", "its interpolation is not one of area"),
        ("outputs", {"embedding": -1}, "width of an output"),
        ("outputs", {"attributes": 3}, "its outputs are not known"),
        ("outputs", {"embedding": 512, "attributes": 3, "traits": 1}, "has 3 columns, and"),
        ("attributes", {"hat": "yes"}, "classes of an attribute"),
        ("attributes", {"hat": []}, "classes of an attribute"),
        ("thresholds", {"0.1": "far"}, "a threshold is not a number"),
        ("model", [], "its model is not an object"),
        ("transform", "x", "its transform is not an object"),
        ("model", {}, "config"),
        ("model", {"config": {}}, "cannot be used"),
    ],
)
def test_metadata_with_a_wrong_value(exported, tmp_path, name, value, said):
    with pytest.raises(InputError, match=said) as error:
        reid_lightning.load(changed(exported, tmp_path, **{name: value}))
    assert "changed.onnx" in str(error.value)


def test_a_graph_that_is_not_the_one_described(exported, tmp_path):
    content = json.loads(exported.sidecar.read_text())
    outputs = content["outputs"] | {"embedding": content["outputs"]["embedding"] + 1}
    for values in ({"outputs": outputs}, {"image_size": [64, 32]}, {"preprocess": "outside"}):
        with pytest.raises(InputError, match="its graph is not the one that its metadata describe"):
            reid_lightning.load(changed(exported, tmp_path, **values))


def test_a_graph_that_fails_or_answers_too_little_is_one_sentence(exported, tmp_path, monkeypatch):
    model = reid_lightning.load(exported.path)
    session, images = model.engine.session, np.zeros((2, 3, 32, 16), np.uint8)
    with pytest.raises(InputError, match=r"model\.onnx cannot be run on these images"):
        session.run(images.astype(np.float32))
    engine = SimpleNamespace(run=lambda names, given: [np.zeros((1, 4))] * len(names))
    monkeypatch.setattr(session, "_session", engine)
    with pytest.raises(InputError, match="does not answer each of 2 images"):
        session.run(images)


@pytest.mark.slow
def test_weights_of_another_export_are_not_run(export_checkpoint, tmp_path):
    path = tmp_path / "m.xml"
    killed = tmp_path / re.sub(r"-\d+\.", "-99999999.", beside(path).name)  # what a killed export left
    killed.mkdir()
    export(export_checkpoint, path, verify=False)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["m.bin", "m.xml", "m.xml.json"]
    reid_lightning.load(path)
    weights = bytearray(path.with_suffix(".bin").read_bytes())
    weights[-1] ^= 1
    path.with_suffix(".bin").write_bytes(weights)
    with pytest.raises(InputError, match=r"m\.bin holds the weights of another export"):
        reid_lightning.load(path)


@pytest.mark.parametrize(("name", "blocked"), [("m.onnx", "m.onnx.json"), ("m.xml", "m.bin")])
def test_no_file_is_written_where_one_of_them_cannot_be(export_checkpoint, tmp_path, name, blocked):
    (tmp_path / blocked).mkdir()
    with pytest.raises(InputError, match=f"{blocked} is a folder"):
        export(export_checkpoint, tmp_path / name, verify=False)
    assert [one.name for one in tmp_path.iterdir()] == [blocked]


def test_an_ending_in_capitals_is_refused(export_checkpoint, tmp_path):
    with pytest.raises(InputError, match=r"m\.XML must end in \.xml, in lower case"):
        export(export_checkpoint, tmp_path / "m.XML", verify=False)


def test_code_that_a_config_names_is_not_run(exported, tmp_path):
    ran = tmp_path / "ran"
    for place in ("evaluation", "test_transform"):
        content = json.loads(exported.sidecar.read_text())
        content["model"]["config"][place] = {"_target_": "os.system", "command": f"touch {ran}"}
        with pytest.raises(InputError, match="not a part of any model"):
            reid_lightning.load(changed(exported, tmp_path, model=content["model"]))
    assert not ran.exists()


@pytest.mark.parametrize("content", [b"", b"nothing", b"\x08\x07" * 1000])
@pytest.mark.parametrize("ending", ["onnx", "xml"])
def test_files_of_another_kind(tmp_path, content, ending):
    path = tmp_path / f"m.{ending}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot be opened as an exported model|was not written by"):
        reid_lightning.load(path)


def test_a_part_of_a_file(exported, tmp_path):
    path = tmp_path / "half.onnx"
    path.write_bytes(exported.path.read_bytes()[: exported.path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"half\.onnx cannot be opened as an exported model"):
        reid_lightning.load(path)


@pytest.mark.parametrize("ending", ["onnx", "xml"])
def test_no_file(tmp_path, ending):
    with pytest.raises(InputError, match=r"there is no exported model .*`reid export` writes one"):
        reid_lightning.load(tmp_path / f"none.{ending}")


def test_facts_survive_their_text(exported):
    assert ExportFacts.from_json(exported.facts.as_json(), "a") == exported.facts


@pytest.mark.slow
@pytest.mark.parametrize("name", ["m.onnx", "m.pt2"])
def test_a_full_disk_is_one_sentence(export_checkpoint, tmp_path, name):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limit[1]))
    try:
        with pytest.raises(InputError, match="is full: free some space"):
            export(export_checkpoint, tmp_path / name, verify=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert list(tmp_path.iterdir()) == []
