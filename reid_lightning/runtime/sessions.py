"""An exported file, opened: batches of images go in, and its outputs come out."""

import hashlib
import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from reid_lightning.errors import InputError
from reid_lightning.runtime.facts import INPUT, KEY, ExportFacts

ENDINGS = {".onnx": "onnx", ".xml": "openvino"}
WEIGHTS_KEY = f"{KEY}_weights"  # SHA-256 of the `.bin` that an `.xml` was written with
Outputs = dict[str, NDArray[np.float32]]


class Session(Protocol):
    """What runs an exported network."""

    facts: ExportFacts
    name: str

    def run(self, images: NDArray[Any]) -> Outputs:
        """Return the (N, columns) float32 outputs, by name, of (N, 3, H, W) images."""


def is_exported(path: str | os.PathLike[str]) -> bool:
    """Tell whether a name is that of an exported file that can be opened."""
    return Path(path).suffix.lower() in ENDINGS


def open_session(path: str | os.PathLike[str], threads: int | None = None) -> Session:
    """Open an exported file.

    Args:
        path: A `.onnx` file, or the `.xml` of OpenVINO, beside which its `.bin` lies.
        threads: Of the processor; None: as many as there are cores, or `OMP_NUM_THREADS`.

    Raises:
        InputError: It is not there, damaged, foreign, or its engine is not installed.
    """
    place = Path(path).expanduser()
    kind = ENDINGS.get(place.suffix.lower())
    if kind is None:
        raise InputError(f"{place} is not an exported model that can be opened: it must end in .onnx or .xml")
    if not place.is_file():
        raise InputError(f"there is no exported model {place}; `reid export` writes one")
    if threads is None and (given := os.environ.get("OMP_NUM_THREADS", "")).isdigit():
        threads = max(1, int(given))
    return OnnxSession(place, threads) if kind == "onnx" else OpenVinoSession(place, threads)


class OnnxSession:
    """A file that onnxruntime runs.

    Args:
        path: The file.
        threads: Of the processor; None: as many as there are cores.

    Raises:
        InputError: It is damaged or foreign, or onnxruntime is not installed.
    """

    name = "onnx"

    def __init__(self, path: Path, threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise InputError(
                f"{path} needs onnxruntime, which is not installed: pip install onnxruntime"
            ) from None
        self._path = path
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads or 0
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other work wants the cores
        wanted = ["CUDAExecutionProvider", "CPUExecutionProvider"]
        providers = [one for one in wanted if one in onnxruntime.get_available_providers()]
        try:
            self._session = onnxruntime.InferenceSession(os.fspath(path), options, providers=providers)
        except Exception as error:
            raise _damaged(path, error) from None
        self.facts = ExportFacts.from_json(self._session.get_modelmeta().custom_metadata_map.get(KEY), path)
        self._outputs = list(self.facts.outputs)
        known = {one.name: one.shape[1:] for one in self._session.get_outputs()}
        taken = [(one.name, one.type, one.shape[1:]) for one in self._session.get_inputs()]
        kind = "tensor(uint8)" if self.facts.preprocess == "inside" else "tensor(float)"
        if any(known.get(name) != [width] for name, width in self.facts.outputs.items()) or taken != [
            (INPUT, kind, [3, *self.facts.image_size])
        ]:
            raise _damaged(path, "its graph is not the one that its metadata describe")

    def run(self, images: NDArray[Any]) -> Outputs:
        """Return the outputs of (N, 3, H, W) images."""
        try:
            found = self._session.run(self._outputs, {INPUT: images})
        except Exception as error:
            raise _failed(self._path, error) from None
        return _of_each(self._path, dict(zip(self._outputs, found, strict=True)), len(images))


class OpenVinoSession:
    """A file that OpenVINO runs, on the CPU.

    Args:
        path: The `.xml` file.
        threads: Of the processor; None: as many as there are cores.

    Raises:
        InputError: It is damaged or foreign, or OpenVINO is not installed.
    """

    name = "openvino"

    def __init__(self, path: Path, threads: int | None = None) -> None:
        try:
            import openvino
        except ImportError:
            raise InputError(f"{path} needs OpenVINO, which is not installed: pip install openvino") from None
        settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        self._path, core = path, openvino.Core()
        try:
            model = core.read_model(os.fspath(path))
            text, weights = (
                model.get_rt_info([key]).astype(str) if model.has_rt_info([key]) else None
                for key in (KEY, WEIGHTS_KEY)
            )
        except Exception as error:
            raise _damaged(path, error) from None
        if weights is not None and weights != digest_of(path.with_suffix(".bin")):
            raise _damaged(path, f"{path.with_suffix('.bin').name} holds the weights of another export")
        self.facts = ExportFacts.from_json(text, path)
        self._outputs = list(self.facts.outputs)
        try:
            self._compiled = core.compile_model(model, "CPU", settings)
            widths = {
                name: self._compiled.output(name).partial_shape[1].get_length() for name in self._outputs
            }
            given = self._compiled.input(INPUT)
            size = tuple(side.get_length() for side in list(given.partial_shape)[1:])
            kind = given.element_type.get_type_name()
        except Exception as error:
            raise _damaged(path, error) from None
        wanted = "u8" if self.facts.preprocess == "inside" else "f32"
        if widths != self.facts.outputs or size != (3, *self.facts.image_size) or kind != wanted:
            raise _damaged(path, "its graph is not the one that its metadata describe")

    def run(self, images: NDArray[Any]) -> Outputs:
        """Return the outputs of (N, 3, H, W) images."""
        try:
            found = self._compiled({INPUT: images})
            rows = {name: np.array(found[self._compiled.output(name)]) for name in self._outputs}
        except Exception as error:
            raise _failed(self._path, error) from None
        return _of_each(self._path, rows, len(images))


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _of_each(path: Path, outputs: Outputs, count: int) -> Outputs:
    """Return outputs, which must have a row for each image."""
    if any(len(rows) != count for rows in outputs.values()):
        raise _damaged(path, f"it does not answer each of {count} images")
    return outputs


def _failed(path: Path, reason: object) -> InputError:
    text = " ".join(str(reason).split())[:200]
    return InputError(
        f"{path} cannot be run on these images ({text}): give fewer at once, or export the model again"
    )


def _damaged(path: Path, reason: object) -> InputError:
    text = " ".join(str(reason).split())[:200]
    return InputError(f"{path} cannot be opened as an exported model ({text}): export the model again")
