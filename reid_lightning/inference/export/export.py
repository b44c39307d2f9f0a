"""A trained model becomes a file that other programs run: what `reid export` does."""

import hashlib
import os
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import pandas as pd
import torch

from reid_lightning import __version__
from reid_lightning.errors import InputError
from reid_lightning.experiments.model_folder import without_places
from reid_lightning.experiments.quiet import quiet
from reid_lightning.files import atomic_path, cache_dir, file_lock, require_output
from reid_lightning.inference.export.artifacts import (
    OPSET,
    Artifact,
    OnnxArtifact,
    OpenVinoArtifact,
    ProgramArtifact,
    exported_program,
    require,
    write_onnx,
)
from reid_lightning.inference.export.graph import ExportGraph, normalized_outside
from reid_lightning.inference.export.int8 import LEAST, quantize
from reid_lightning.inference.export.verify import IMAGES, Parity, check_parity, compare_models
from reid_lightning.inference.load import load
from reid_lightning.inference.model import Model
from reid_lightning.reporting.terminal import say
from reid_lightning.runtime.facts import ATTRIBUTES, EMBEDDING, INPUT, PREPROCESS, TRAITS, ExportFacts
from reid_lightning.runtime.model import as_input

Format = Literal["onnx", "openvino", "torch_export"]
ENDINGS: dict[str, tuple[str, ...]] = {"onnx": (".onnx",), "openvino": (".xml",), "torch_export": (".pt2",)}
PACKAGES: dict[str, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxscript"),
    "openvino": ("onnx", "onnxscript", "openvino"),
    "torch_export": (),
}


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: The file; of OpenVINO its `.xml`.
        sidecar: JSON with its metadata.
        facts: These metadata.
        parity: How far it is from the model; None where nothing was compared.
    """

    path: Path
    sidecar: Path
    facts: ExportFacts
    parity: Parity | None


def export(
    checkpoint: Path,
    output: Path,
    format: str | None = None,
    int8: Path | None = None,
    preprocess: str = "inside",
    attributes: bool = False,
    images: Path | None = None,
    verify: bool = True,
    with_labels: bool = True,
    overrides: Sequence[str] = (),
    trust: Sequence[str] = (),
) -> Exported:
    """Write a model as ONNX, for OpenVINO or for torch.export, compare it with the model, and say what was written.

    Args:
        checkpoint: A checkpoint file written by a run, or the folder of a saved model.
        output: The file: `.onnx`, `.xml` (OpenVINO) or `.pt2` (torch.export). Its metadata are written beside it, with
            `.json` after its name.
        format: "onnx", "openvino" or "torch_export"; None follows from its ending.
        int8: Typical images (a folder, or a table with a column `path`) that the ranges of 8-bit activations are taken from;
            None keeps full precision. Where it is known whom they show, every second person's images measure the mAP
            instead.
        preprocess: "inside": the file takes uint8 RGB; "outside": it takes float32 RGB, normalized by ImageNet's mean and
            deviation, as trackers give it.
        attributes: Whether attributes and traits are outputs beside the vectors.
        images: What the comparison looks at, a folder or a table; None: generated people.
        verify: Whether the file is compared with the model, and not written if it is off.
        with_labels: Whether the names of the training's people go into the file.
        overrides: Hydra overrides of the checkpoint's config, such as `evaluation.flip=true`.
        trust: Packages of your own that the checkpoint's config may name; their code is run.

    Raises:
        InputError: An option does not fit, a package is missing, the checkpoint cannot be used or not be expressed, or the
            file is off.
    """
    kind = _format(output, format, int8)
    if preprocess not in PREPROCESS:
        raise InputError(f"--preprocess must be inside or outside, got {preprocess}")
    require_output(output, ENDINGS[kind])
    for file in _further(output, kind):
        require_output(file)
    require(*PACKAGES[kind])
    if int8 is not None or verify:
        require(*{"onnx": ("onnxruntime",), "openvino": ("onnxruntime",) if int8 else ()}.get(kind, ()))
    quiet()
    looked_at = _images(images, int8)
    given = LEAST if looked_at.calibrating is None else len(looked_at.calibrating)
    if given < LEAST:
        raise InputError(
            f"--int8 needs {LEAST} images to calibrate with, preferably some hundred, and {int8} gives {given}"
        )
    model = load(checkpoint, device="cpu", trust=trust, overrides=overrides)
    if attributes and model.schema is None and not model.engine.traits:
        raise InputError(f"--attributes: {checkpoint} predicts neither attributes nor traits; leave it out")
    facts = facts_of(model, kind, int8 is not None, preprocess, attributes, checkpoint, with_labels)
    found = _write(model, facts, Path(output), looked_at, verify)
    shown = (
        f"{found.path} ({found.path.stat().st_size / 1e6:.1f} MB{_beside(found.path)}), {found.sidecar.name}"
    )
    say(f"{shown}: {_input_line(found.facts)} -> {_output_line(found.facts)}")
    say("not compared with the model" if found.parity is None else str(found.parity))
    return found


@dataclass(frozen=True)
class _Looked:
    """Images that an export looks at."""

    compared: pd.DataFrame
    of: str
    calibrating: pd.DataFrame | None


def _format(output: Path, format: str | None, int8: Path | None) -> str:
    """Return the format of a file by its ending, or as stated."""
    if format is not None and format not in get_args(Format):
        raise InputError(f"--format {format} is not known; choose one of {', '.join(get_args(Format))}")
    ending = output.suffix.lower()
    kind = format or next((name for name, endings in ENDINGS.items() if ending in endings), None)
    if kind is None:
        known = ", ".join(f"{endings[0]} ({name})" for name, endings in ENDINGS.items())
        raise InputError(f"{output} must end in {known}, or give --format")
    if output.suffix != ending:
        raise InputError(f"{output} must end in {ending}, in lower case: rename it")
    if int8 is not None and kind == "torch_export":
        raise InputError("--int8 is for onnx and openvino; leave it out, or choose one of these formats")
    return kind


def _images(images: Path | None, int8: Path | None) -> _Looked:
    """Return what is compared, and what calibrates: every second person where it is known whom images show."""
    from reid_lightning.inference.gallery.images import image_rows

    calibrating = None
    if int8 is not None:
        rows = image_rows([int8])
        calibrating = rows
        if images is None:
            if "person_id" in rows.columns and rows["person_id"].nunique() >= 4:
                odd = pd.Series(pd.factorize(rows["person_id"], sort=True)[0] % 2 == 1)
                known = rows["person_id"].notna()
                return _Looked(
                    rows[odd & known].reset_index(drop=True), int8.name, rows[~odd].reset_index(drop=True)
                )
            return _Looked(_some(rows), int8.name, rows)
    if images is not None:
        rows = image_rows([images])
        return _Looked(rows if int8 is not None else _some(rows), images.name, calibrating)
    return _Looked(_some(_generated()), "generated people", calibrating)


def _generated() -> pd.DataFrame:
    from reid_lightning.data.pedestrians.dataset import read_pedestrians

    return read_pedestrians(train_identities=8, test_identities=8, processes=1)


def _some(rows: pd.DataFrame) -> pd.DataFrame:
    """Return at most `IMAGES` rows, evenly spread."""
    return rows.iloc[:: max(1, len(rows) // IMAGES)].head(IMAGES).reset_index(drop=True)


def facts_of(
    model: Model,
    format: str,
    int8: bool,
    preprocess: str,
    attributes: bool,
    checkpoint: Path,
    with_labels: bool = True,
) -> ExportFacts:
    """Return what an exported file is to say of itself.

    Args:
        model: Of torch.
        format: "onnx", "openvino" or "torch_export".
        int8: Whether it will have 8 bits.
        preprocess: "inside" or "outside".
        attributes: Whether attributes and traits are outputs.
        checkpoint: Where the model was read.
        with_labels: Whether the names of the training's people are kept.
    """
    schema, traits = (model.schema, model.engine.traits) if attributes else (None, ())
    outputs = {EMBEDDING: model.vector_size}
    if schema is not None:
        outputs[ATTRIBUTES] = schema.num_outputs
    if traits:
        outputs[TRAITS] = len(traits)
    entry = model.entry(with_labels)
    digest = model.fingerprint
    return ExportFacts(
        format=format,
        precision="int8" if int8 else "float32",
        opset=None if format == "torch_export" else OPSET,
        image_size=model.image_size,
        preprocess=preprocess,
        mean=tuple(model.feed["mean"]),
        std=tuple(model.feed["std"]),
        interpolation=model.feed["interpolation"],
        transform=model.config.get("test_transform"),
        outputs=outputs,
        distance=model.protocol.distance,
        protocol=model.protocol.describe(),
        attributes={} if schema is None else {one.name: list(one.classes) for one in schema},
        traits=list(traits),
        thresholds=dict(model.calibration.summary()["thresholds"]) if model.calibration else {},
        fingerprint=hashlib.sha256(f"{digest} int8".encode()).hexdigest() if int8 else digest,
        source={
            "checkpoint": checkpoint.name,
            "weights_sha256": digest,
            "trained_with": entry["version"],
            "exported_with": __version__,
            "torch": torch.__version__,
            "card": model.facts.as_dict(),
        },
        model={**entry, "config": without_places(entry["config"]), "parameters": model.info["parameters"]},
    )


def _write(model: Model, facts: ExportFacts, output: Path, looked_at: _Looked, verify: bool) -> Exported:
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="reid-export-") as folder:
        artifact = _artifact(model, facts, Path(folder), looked_at.calibrating)
        parity = None
        if verify:
            exported = artifact.opened(Path(folder) / f"tried{output.suffix}", facts, model)
            labelled = looked_at.calibrating is not None and "person_id" in looked_at.compared.columns
            parity = compare_models(model, exported, looked_at.compared, looked_at.of, labelled)
            check_parity(parity, facts.precision == "int8")
            facts = replace(facts, verified=parity.as_dict())
        *_, sidecar = _further(output, facts.format)
        with _alone(output):
            artifact.write(output, facts)
            with atomic_path(sidecar) as temporary:
                temporary.write_text(f"{facts.as_json()}\n", encoding="utf-8")
    return Exported(output, sidecar, facts, parity)


def _further(output: Path, kind: str) -> list[Path]:
    """Return the files that are written beside an output; the last one holds its metadata."""
    weights = [output.with_suffix(".bin")] if kind == "openvino" else []
    return [*weights, output.with_name(f"{output.name}.json")]


def _alone(output: Path) -> AbstractContextManager[None]:
    """Wait until no other export writes this output: of two, one writes all its files after the other."""
    name = hashlib.sha256(os.fsencode(output.resolve())).hexdigest()[:16]
    return file_lock(cache_dir() / "exports" / f"{name}.lock", waiting=f"another export writes {output}")


def _artifact(model: Model, facts: ExportFacts, folder: Path, calibrating: pd.DataFrame | None) -> Artifact:
    """Return the graph of a model in the form of a format, not yet written."""
    graph = ExportGraph(model.engine, len(facts.outputs) > 1).eval()  # type: ignore[arg-type]
    example = torch.zeros(2, 3, *facts.image_size, dtype=torch.uint8)
    outside = facts.preprocess == "outside"
    if outside:
        example = torch.from_numpy(as_input(example.numpy(), facts))
    with normalized_outside(model.module) if outside else nullcontext():
        if facts.format == "torch_export":
            return ProgramArtifact(exported_program(graph, example))
        place = folder / "graph.onnx"
        write_onnx(graph, example, place)
    if calibrating is not None:
        whole = place.rename(folder / "whole.onnx")
        pixels = (model.pixels(path).numpy() for path in calibrating["path"])
        quantize(whole, place, [as_input(one[None], facts)[0] for one in pixels])
    return OpenVinoArtifact(place) if facts.format == "openvino" else OnnxArtifact(place)


def _beside(path: Path) -> str:
    weights = path.with_suffix(".bin")
    return f" and {weights.stat().st_size / 1e6:.1f} MB of weights" if path.suffix == ".xml" else ""


def _input_line(facts: ExportFacts) -> str:
    height, width = facts.image_size
    kind = "uint8 RGB" if facts.preprocess == "inside" else "float32 RGB normalized by ImageNet's numbers"
    return f"{INPUT} (N, 3, {height}, {width}) {kind}"


def _output_line(facts: ExportFacts) -> str:
    return ", ".join(f"{name} (N, {width})" for name, width in facts.outputs.items())
