"""Weights and activations of an ONNX file in 8 bits, with the ranges that images of one's own lead to."""

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid_lightning.inference.export.artifacts import require
from reid_lightning.runtime.facts import INPUT

LEAST = 16  # images to calibrate with
MOST = 512
_BATCH = 16
_KINDS = ["Conv", "Gemm", "MatMul", "Add", "Mul", "Relu", "MaxPool", "GlobalAveragePool", "Concat"]


class _Batches:
    """What onnxruntime asks for batches, one after the other."""

    def __init__(self, batches: Iterator[NDArray[Any]]) -> None:
        self._batches = batches

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """Return the next input, None at the end."""
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}

    def __iter__(self) -> "_Batches":
        return self

    def __next__(self) -> dict[str, NDArray[Any]]:
        if (found := self.get_next()) is None:
            raise StopIteration
        return found


def quantize(source: Path, target: Path, images: Sequence[NDArray[Any]]) -> None:
    """Write an ONNX file with 8-bit weights and activations (QDQ, ranges per channel of weights).

    Weights have 7 bits, so that the sums of processors without VNNI do not overflow. Depthwise convolutions,
    and the first one of networks that have such, stay in full precision: they cost little, and a channel's few weights
    leave large errors.

    Args:
        source: Of full precision.
        target: To write.
        images: `LEAST` or more, (3, H, W) each, as the file takes them: typical ones, whose activations give the ranges.

    Raises:
        InputError: onnxruntime is not installed.
    """
    require("onnxruntime")
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(_Batches, CalibrationDataReader):  # onnxruntime asks for its own kind
        pass

    chosen = [images[place] for place in np.linspace(0, len(images) - 1, min(MOST, len(images))).astype(int)]
    batches = (np.stack(chosen[start : start + _BATCH]) for start in range(0, len(chosen), _BATCH))
    prepared = target.with_name(f"{target.stem}.prepared.onnx")
    before = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        quant_pre_process(os.fspath(source), os.fspath(prepared), skip_symbolic_shape=True)
        quantize_static(
            os.fspath(prepared),
            os.fspath(target),
            Reader(batches),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_KINDS,
            nodes_to_exclude=_sensitive(prepared),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    finally:
        logging.root.setLevel(before)
        prepared.unlink(missing_ok=True)


def _sensitive(file: Path) -> list[str]:
    """Return the names of depthwise convolutions, and of the first one where there are any."""
    import onnx

    convolutions = [node for node in onnx.load(file).graph.node if node.op_type == "Conv"]
    grouped = [
        node for node in convolutions if any(one.name == "group" and one.i > 1 for one in node.attribute)
    ]
    return list(dict.fromkeys(node.name for node in [*convolutions[:1], *grouped])) if grouped else []
