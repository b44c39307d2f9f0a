"""An exported file, opened: batches of images go in, and its outputs come out."""

import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from reid_lightning.errors import InputError
from reid_lightning.runtime.facts import INPUT, KEY, ExportFacts

ENDINGS = {".onnx": "onnx", ".xml": "openvino"}
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
        if any(known.get(name) != [width] for name, width in self.facts.outputs.items()) or [
            one.name for one in self._session.get_inputs()
        ] != [INPUT]:
            raise _damaged(path, "its graph is not the one that its metadata describe")

    def run(self, images: NDArray[Any]) -> Outputs:
        """Return the outputs of (N, 3, H, W) images."""
        return dict(zip(self._outputs, self._session.run(self._outputs, {INPUT: images}), strict=True))


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
        core = openvino.Core()
        try:
            model = core.read_model(os.fspath(path))
            text = model.get_rt_info([KEY]).astype(str) if model.has_rt_info([KEY]) else None
        except Exception as error:
            raise _damaged(path, error) from None
        self.facts = ExportFacts.from_json(text, path)
        self._outputs = list(self.facts.outputs)
        try:
            self._compiled = core.compile_model(model, "CPU", settings)
            widths = {
                name: self._compiled.output(name).partial_shape[1].get_length() for name in self._outputs
            }
        except Exception as error:
            raise _damaged(path, error) from None
        if widths != self.facts.outputs:
            raise _damaged(path, "its graph is not the one that its metadata describe")

    def run(self, images: NDArray[Any]) -> Outputs:
        """Return the outputs of (N, 3, H, W) images."""
        found = self._compiled({INPUT: images})
        return {name: np.array(found[self._compiled.output(name)]) for name in self._outputs}


def _damaged(path: Path, reason: object) -> InputError:
    text = " ".join(str(reason).split())[:200]
    return InputError(f"{path} cannot be opened as an exported model ({text}): export the model again")
