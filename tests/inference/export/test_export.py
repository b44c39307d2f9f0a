"""Exported files, against the model that they come from."""

import json
import sys

import cv2
import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import torch
from helpers import command
from untrained import write_small_checkpoint

import reid_lightning
from reid_lightning.errors import InputError
from reid_lightning.inference.backends import ExportedBackend
from reid_lightning.inference.export import export as room
from reid_lightning.inference.export.artifacts import OnnxArtifact
from reid_lightning.inference.export.export import export, facts_of
from reid_lightning.inference.export.verify import Parity, check_parity


@pytest.fixture
def paths(export_images):
    return pd.read_csv(export_images)["path"].tolist()


def test_the_file_runs_by_itself_on_any_number_of_images(exported, export_checkpoint, paths):
    session = onnxruntime.InferenceSession(str(exported.path))
    (given,) = session.get_inputs()
    assert (given.name, given.type, given.shape[1:]) == ("images", "tensor(uint8)", [3, 32, 16])
    assert [one.name for one in session.get_outputs()] == ["embedding", "attributes", "traits"]
    model = reid_lightning.load(export_checkpoint)
    for count in (1, 5):
        pixels = torch.stack([model.pixels(path) for path in paths[:count]])
        found = session.run(None, {"images": pixels.contiguous().numpy()})
        answers = model.engine.answer(pixels)
        for ours, theirs in zip(answers, found, strict=True):
            assert np.allclose(ours.numpy(), theirs, rtol=1e-4, atol=1e-4)


def test_metadata_lie_in_the_file_and_beside_it(exported, export_checkpoint):
    inside = {one.key: one.value for one in onnx.load(exported.path).metadata_props}
    assert exported.sidecar.name == "model.onnx.json"
    assert json.loads(inside["reid_lightning"]) == json.loads(exported.sidecar.read_text())
    said = json.loads(inside["reid_lightning"])
    assert said["input"]["type"], said["image_size"] == ("uint8", [32, 16])
    assert said["opset"] == onnx.load(exported.path).opset_import[0].version == 18
    assert len(said["attributes"]) == 12
    assert sum(map(len, said["attributes"].values())) == said["outputs"]["attributes"]
    assert said["verified"]["images"] == 18
    assert said["source"]["weights_sha256"] == reid_lightning.load(export_checkpoint).fingerprint


def test_nothing_in_the_file_tells_where_it_was_made(exported, export_checkpoint):
    for path in (exported.path, exported.sidecar):
        content = path.read_bytes()
        assert str(export_checkpoint.parent).encode() not in content
        assert b"site-packages" not in content
        assert b'.py"' not in content


def test_load_gives_the_same_model(export_checkpoint, exported, paths):
    assert_same_model(export_checkpoint, exported.path, "onnx", paths)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "preprocess"), [("model.onnx", "outside"), ("model.xml", "inside"), ("model.xml", "outside")]
)
def test_load_gives_the_same_model_of_any_kind(
    export_checkpoint, export_images, paths, tmp_path, name, preprocess
):
    path = tmp_path / name
    export(export_checkpoint, path, preprocess=preprocess, attributes=True, images=export_images)
    assert_same_model(export_checkpoint, path, {"onnx": "onnx", "xml": "openvino"}[path.suffix[1:]], paths)


def assert_same_model(checkpoint, path, backend, paths):
    ours, theirs = reid_lightning.load(checkpoint), reid_lightning.load(path)
    assert theirs.backend == backend
    assert theirs.preprocessing == ours.preprocessing
    assert theirs.fingerprint == ours.fingerprint
    assert theirs.protocol == ours.protocol
    assert theirs.vector_size == ours.vector_size
    assert theirs.identity_labels == ours.identity_labels
    assert theirs.info["parameters"] == ours.info["parameters"]
    assert torch.allclose(theirs.embed(paths), ours.embed(paths), atol=1e-5)
    said, wanted = theirs.describe(paths), ours.describe(paths)
    assert torch.equal(said.classes, wanted.classes)
    assert torch.allclose(said.values, wanted.values, atol=1e-3)
    pd.testing.assert_frame_equal(said.annotations(), wanted.annotations(), atol=1e-3)
    frame = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    boxes = [[3, 4, 30, 50], [90, 0, 99, 9]]
    both = theirs.embed(frame, boxes), ours.embed(frame, boxes)
    assert torch.allclose(*both, atol=1e-5, equal_nan=True)
    assert both[0].isnan().all(1).tolist() == [False, True]


@pytest.mark.slow
def test_outside_takes_what_trackers_give(export_checkpoint, export_images, paths, tmp_path):
    """A model whose own numbers are others than ImageNet's, fed as trackers feed it."""
    path = write_small_checkpoint(tmp_path / "half.ckpt", "feed.mean=[.5,.5,.5]", "feed.std=[.5,.5,.5]")
    written = export(path, tmp_path / "tracker.onnx", preprocess="outside", images=export_images)
    pixels = [
        cv2.resize(cv2.imread(name), (16, 32), interpolation=cv2.INTER_AREA)[..., ::-1] for name in paths
    ]
    normalized = (np.stack(pixels) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    session = onnxruntime.InferenceSession(str(written.path))
    found = session.run(None, {"images": normalized.transpose(0, 3, 1, 2).astype(np.float32)})[0]
    assert np.allclose(found, reid_lightning.load(path).embed(paths), atol=1e-4)


@pytest.mark.slow
def test_a_program_of_torch_export_says_the_same(export_checkpoint, export_images, paths, tmp_path):
    written = export(export_checkpoint, tmp_path / "model.pt2", attributes=True, images=export_images)
    assert written.parity is not None
    assert written.parity.largest < 1e-6
    told = {"reid_lightning.json": ""}
    program = torch.export.load(written.path, extra_files=told).module()
    assert json.loads(told["reid_lightning.json"])["outputs"] == written.facts.outputs
    model = reid_lightning.load(export_checkpoint)
    pixels = torch.stack([model.pixels(path) for path in paths[:3]])
    assert torch.allclose(program(pixels)[0], model.embed(paths[:3]), atol=1e-6)


@pytest.mark.slow
def test_the_command_says_what_it_wrote(export_checkpoint, export_images, tmp_path):
    said = command(
        "export",
        export_checkpoint,
        tmp_path / "model.onnx",
        "evaluation.flip=false",
        "--images",
        export_images,
    ).stderr
    assert "images (N, 3, 32, 16) uint8 RGB -> embedding (N, 233)" in said
    assert "on 18 images of images.csv" in said
    model = reid_lightning.load(tmp_path / "model.onnx")
    assert not model.protocol.flip
    assert model.schema is None
    with pytest.raises(InputError, match="export it with --attributes"):
        model.describe(pd.read_csv(export_images)["path"].tolist())


def test_names_of_people_stay_out_where_they_are_told_to(export_checkpoint):
    model = reid_lightning.load(export_checkpoint)
    facts = facts_of(model, "onnx", False, "inside", False, export_checkpoint, with_labels=False)
    assert facts.model["identity_labels"] == {"0": 0, "1": 1, "2": 2}


def size(written):
    """Return the bytes of a file without its metadata."""
    return written.path.stat().st_size - len(written.facts.as_json())


@pytest.mark.slow
def test_eight_bits_are_measured_on_people_that_did_not_calibrate(export_checkpoint, tmp_path):
    rows = []
    for number in range(60):
        random = np.random.default_rng(number)
        base = np.random.default_rng(number // 5).integers(0, 256, (6, 3, 3))
        coarse = np.clip(base + random.integers(-20, 21, base.shape), 0, 255).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.png"), cv2.resize(coarse, (20, 40)))
        rows.append({"path": f"{number}.png", "person_id": f"p{number // 5}"})
    pd.DataFrame(rows).to_csv(tmp_path / "many.csv", index=False)
    whole = export(export_checkpoint, tmp_path / "whole.onnx", verify=False)
    small = export(export_checkpoint, tmp_path / "small.onnx", int8=tmp_path / "many.csv")
    assert size(small) < 0.35 * size(whole)
    assert small.parity.images == 30
    assert small.parity.mAP > 0.5
    assert abs(small.parity.mAP - small.parity.exported_mAP) < 0.05
    model = reid_lightning.load(small.path)
    assert model.info["precision"] == "int8"
    assert model.fingerprint != reid_lightning.load(export_checkpoint).fingerprint  # distances are others
    initializers = {one.data_type for one in onnx.load(small.path).graph.initializer}
    assert onnx.TensorProto.INT8 in initializers
    openvino = export(export_checkpoint, tmp_path / "small.xml", int8=tmp_path / "many.csv")
    assert abs(openvino.parity.mAP - openvino.parity.exported_mAP) < 0.05


def test_a_file_that_is_off_is_refused_and_not_written(
    export_checkpoint, exported, export_images, tmp_path, monkeypatch
):
    monkeypatch.setattr(room, "_artifact", lambda *given: OnnxArtifact(exported.path))
    embed = ExportedBackend.answer

    def off(self, pixels):
        found = embed(self, pixels)
        return found._replace(vectors=found.vectors + 0.1 * torch.arange(found.vectors.shape[1]))

    monkeypatch.setattr(ExportedBackend, "answer", off)
    path = tmp_path / "model.onnx"
    with pytest.raises(InputError, match="the exported vectors are not those of the model"):
        export(export_checkpoint, path, attributes=True, images=export_images)
    assert list(tmp_path.iterdir()) == []
    assert export(export_checkpoint, path, attributes=True, verify=False).parity is None
    assert path.is_file()


@pytest.mark.parametrize(
    ("parity", "int8", "said"),
    [
        (Parity(8, "a", 2e-4, 1e-5), False, "not those of the model"),
        (Parity(8, "a", float("nan"), float("nan")), False, "not those of the model"),
        (Parity(8, "a", 1e-6, 1e-6, 0.01), False, "outputs differ by 1.0e-02"),
        (Parity(8, "a", 0.3, 0.2), True, "int8 changes vectors too much"),
        (Parity(8, "a", 0.1, 0.01, None, 0.8, 0.7), True, r"int8 costs 10\.0 points of mAP"),
    ],
)
def test_what_is_off(parity, int8, said):
    with pytest.raises(InputError, match=said):
        check_parity(parity, int8)


def test_what_is_not_off():
    check_parity(Parity(8, "a", 9e-5, 1e-5, 9e-4), False)
    check_parity(Parity(8, "a", 0.1, 0.05), True)
    check_parity(Parity(8, "a", 0.5, 0.3, None, 0.8, 0.76), True)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        (
            "model.bin",
            {},
            r"model\.bin must end in \.onnx \(onnx\), \.xml \(openvino\), \.pt2 \(torch_export\)",
        ),
        (
            "model.onnx",
            {"format": "tflite"},
            "--format tflite is not known; choose one of onnx, openvino, torch_export",
        ),
        ("model.onnx", {"preprocess": "half"}, "--preprocess must be inside or outside, got half"),
        ("model.onnx", {"format": "openvino"}, r"\.xml"),
        ("model.onnx", {"overrides": ["evaluation.flip=1.5"]}, "flip"),
    ],
)
def test_wrong_options(export_checkpoint, tmp_path, name, options, said):
    with pytest.raises(InputError, match=said):
        export(export_checkpoint, tmp_path / name, **options)
    assert not list(tmp_path.glob("*"))


def test_attributes_must_be_answered(export_images, tmp_path):
    plain = write_small_checkpoint(tmp_path / "plain.ckpt")
    with pytest.raises(InputError, match="predicts neither attributes nor traits; leave it out"):
        export(plain, tmp_path / "m.onnx", attributes=True, images=export_images)


def test_eight_bits_are_not_for_every_format_and_need_images(export_checkpoint, export_images, tmp_path):
    with pytest.raises(InputError, match="--int8 is for onnx and openvino"):
        export(export_checkpoint, tmp_path / "m.pt2", int8=export_images)
    few = tmp_path / "few.csv"
    pd.read_csv(export_images).head(3).drop(columns="person_id").to_csv(few, index=False)
    with pytest.raises(InputError, match=r"--int8 needs 16 images to calibrate with.*few\.csv gives 3"):
        export(export_checkpoint, tmp_path / "m.onnx", int8=few)
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize(("name", "package"), [("m.onnx", "onnxscript"), ("m.xml", "openvino")])
def test_missing_packages_are_named(export_checkpoint, tmp_path, monkeypatch, name, package):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda one: None if one == package else find(one))
    with pytest.raises(InputError, match=f"{package} must be installed to export: pip install {package}"):
        export(export_checkpoint, tmp_path / name)


@pytest.mark.parametrize(("ending", "package"), [("onnx", "onnxruntime"), ("xml", "openvino")])
def test_a_missing_engine_is_named(exported, tmp_path, monkeypatch, ending, package):
    (tmp_path / f"m.{ending}").write_bytes(exported.path.read_bytes())
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        InputError, match=rf"m\.{ending} needs \w+, which is not installed: pip install {package}"
    ):
        reid_lightning.load(tmp_path / f"m.{ending}")


def test_an_exported_model_is_not_changed_saved_or_trained_from(exported, export_images, tmp_path):
    path = exported.path
    with pytest.raises(
        InputError, match=r"evaluation\.flip=true cannot be changed: override it in `reid export`"
    ):
        reid_lightning.load(path, overrides=["evaluation.flip=true"])
    model = reid_lightning.load(path)
    for refused in (
        lambda: model.save_pretrained(tmp_path / "saved"),
        lambda: model.network,
        lambda: export(path, tmp_path / "again.onnx", images=export_images),
    ):
        with pytest.raises(InputError, match="use the checkpoint that it comes from"):
            refused()
    with pytest.raises(InputError, match="is an exported model, which this cannot use"):
        reid_lightning.load_module(path)
    assert not list(tmp_path.iterdir())
