"""The graph of a model in the form of each format, written by the format's own library."""

import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reid_lightning.errors import InputError
from reid_lightning.files import atomic_path, beside, remove_leftovers, writing
from reid_lightning.inference.backends import ExportedBackend
from reid_lightning.inference.export.graph import ExportGraph
from reid_lightning.inference.load import load_exported
from reid_lightning.inference.model import Model
from reid_lightning.runtime.facts import INPUT, KEY, ExportFacts
from reid_lightning.runtime.sessions import WEIGHTS_KEY, Outputs, digest_of

OPSET = 18  # read by onnxruntime from 1.14 on, and by what trackers pin
_BATCH = "batch"


def write_onnx(graph: ExportGraph, example: Tensor, path: Path) -> None:
    """Write a graph with a free batch size as ONNX of the opset `OPSET`, without metadata.

    Args:
        graph: In evaluation mode.
        example: (2, 3, H, W) of the type that the file takes.
        path: Of the file.

    Raises:
        InputError: The packages are not installed, or the network cannot be expressed.
    """
    require("onnx", "onnxscript")
    with writing(path), _silently(), _explained("ONNX"), _out_of_place(graph):
        program = torch.onnx.export(
            graph,
            (example,),
            dynamo=True,
            input_names=[INPUT],
            output_names=graph.names,
            dynamic_shapes=({0: torch.export.Dim(_BATCH)},),
            opset_version=OPSET,
            verbose=False,
        )
        assert program is not None
        program.save(os.fspath(path))


@contextmanager
def _out_of_place(graph: nn.Module) -> Iterator[None]:
    """Let activations return new tensors: decomposing one that writes in place takes torch up to half a second."""
    changed: list[Any] = [layer for layer in graph.modules() if getattr(layer, "inplace", False) is True]
    for layer in changed:
        layer.inplace = False
    try:
        yield
    finally:
        for layer in changed:
            layer.inplace = True


class Artifact(Protocol):
    """The graph of a model in the form of a format."""

    def write(self, target: Path, facts: ExportFacts) -> None:
        """Write the file with its metadata atomically."""

    def opened(self, tried: Path, facts: ExportFacts, model: Model) -> Model:
        """Return what the file will compute.

        Args:
            tried: Where it may be written for that.
            facts: Its metadata.
            model: That it is of.
        """


class OnnxArtifact:
    """A file of ONNX without metadata, which are added.

    Args:
        graph: The file.
    """

    def __init__(self, graph: Path) -> None:
        self.graph = graph

    def write(self, target: Path, facts: ExportFacts) -> None:
        """Write the file."""
        import onnx

        model = onnx.load(os.fspath(self.graph))
        model.producer_name, model.doc_string = "reid-lightning", ""
        graph = model.graph
        for part in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output):
            del part.metadata_props[:]  # where in the code each was traced
        for node in graph.node:
            node.doc_string = ""
        onnx.helper.set_model_props(model, {KEY: facts.as_json()})
        with atomic_path(target) as temporary:
            onnx.save(model, os.fspath(temporary))

    def opened(self, tried: Path, facts: ExportFacts, model: Model) -> Model:
        """Return the model of the written file."""
        self.write(tried, facts)
        return load_exported(tried)


class OpenVinoArtifact(OnnxArtifact):
    """A file of ONNX that becomes OpenVINO's `.xml` and `.bin` in full precision."""

    def write(self, target: Path, facts: ExportFacts) -> None:
        """Write both files, the weights first; the `.xml` names their digest, so that it is not run with others."""
        import openvino

        model = openvino.Core().read_model(os.fspath(self.graph))
        model.set_rt_info(facts.as_json(), [KEY])
        remove_leftovers(target)
        (folder := beside(target)).mkdir()  # a later export removes it where this one is killed
        try:
            for _ in range(2):  # the digest of the weights is known when they are written
                openvino.save_model(model, folder / target.name, compress_to_fp16=False)
                model.set_rt_info(digest_of((folder / target.name).with_suffix(".bin")), [WEIGHTS_KEY])
            for file in (target.with_suffix(".bin"), target):
                with atomic_path(file) as temporary:
                    (folder / file.name).replace(temporary)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


class ProgramArtifact:
    """A program of torch.export; its metadata are the extra file `reid_lightning.json`.

    Args:
        program: As `exported_program` returns it.
    """

    def __init__(self, program: Any) -> None:
        self.program = program

    def write(self, target: Path, facts: ExportFacts) -> None:
        """Write the file."""
        content = BytesIO()  # torch's own writer does not survive a full disk
        with _silently():
            torch.export.save(self.program, content, extra_files={f"{KEY}.json": facts.as_json()})
        with atomic_path(target) as temporary:
            temporary.write_bytes(content.getbuffer())

    def opened(self, tried: Path, facts: ExportFacts, model: Model) -> Model:
        """Return the model of the program; reading one from a file runs code, so that nothing is written."""
        session = _ProgramSession(self.program.module(), facts)
        engine = ExportedBackend(session, model.protocol, model.schema, model.engine.form)
        return Model(engine, model.config, {"identity_labels": {}}, model.facts, model.device)


class _ProgramSession:
    """A loaded program of torch.export."""

    name = "torch_export"

    def __init__(self, module: nn.Module, facts: ExportFacts) -> None:
        self._module, self.facts = module, facts

    def run(self, images: NDArray[Any]) -> Outputs:
        """Return the outputs of (N, 3, H, W) images."""
        with torch.no_grad():
            found = self._module(torch.from_numpy(images))
        return {name: part.numpy() for name, part in zip(self.facts.outputs, found, strict=True)}


def exported_program(graph: ExportGraph, example: Tensor) -> Any:
    """Return a graph with a free batch size as torch.export has it.

    Raises:
        InputError: The network cannot be expressed.
    """
    with _silently(), _explained("torch.export"):
        program = torch.export.export(graph, (example,), dynamic_shapes=({0: torch.export.Dim(_BATCH)},))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # where in the code each was traced
    return program


def require(*packages: str) -> None:
    """Refuse to go on without packages.

    Raises:
        InputError: One is not installed.
    """
    from importlib.util import find_spec

    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise InputError(
            f"{' and '.join(missing)} must be installed to export: pip install {' '.join(missing)}"
        )


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except (InputError, OSError):  # the disk is full
        raise
    except Exception as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InputError(
            f"the network cannot be expressed in {what} ({reason[:200]}): use another format, or report it with the config"
        ) from error


@contextmanager
def _silently() -> Iterator[None]:
    """Keep what the exporter says of its steps from the terminal."""
    with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        warnings.simplefilter("ignore")
        yield
