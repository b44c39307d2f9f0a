"""How long a model takes for the vectors that its protocol compares, without reading and decoding images."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch

from reid_lightning.engine.module import ReIDModule

BATCH = 32  # of the throughput
_SECONDS, _FEWEST, _MOST, _WARM_UP = 1.0, 5, 200, 2


@dataclass(frozen=True)
class Latency:
    """The time of a model.

    Attributes:
        milliseconds: For one image alone, the median.
        images_per_second: In batches of 32, from the median batch.
        device: Where it was measured, with the number of threads on a CPU.
    """

    milliseconds: float
    images_per_second: float
    device: str


def measure_latency(
    module: ReIDModule, image_size: tuple[int, int], accelerator: str = "auto", seconds: float = _SECONDS
) -> Latency:
    """Time a model on random images; mirror images and further sizes of the protocol count in.

    Args:
        module: The model.
        image_size: Height and width in pixels.
        accelerator: As of `trainer.accelerator`: a GPU if "gpu", "cuda" or "auto" and there is one, else the CPU.
        seconds: Least time that each of the two batches is repeated for.
    """
    on_gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    module = module.to(device).eval()
    one, many = (_median_seconds(module, count, image_size, device, seconds) for count in (1, BATCH))
    name = torch.cuda.get_device_name(device) if on_gpu else f"CPU, {torch.get_num_threads()} threads"
    return Latency(1000 * one, BATCH / many, name.replace(" 1 threads", " 1 thread"))


@torch.no_grad()
def _median_seconds(
    module: ReIDModule, count: int, size: tuple[int, int], device: torch.device, seconds: float
) -> float:
    images = torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    wait: Callable[[], None] = torch.cuda.synchronize if device.type == "cuda" else _nothing
    times: list[float] = []
    for _ in range(_WARM_UP):
        module.embed(images)
    began = time.perf_counter()
    while len(times) < _FEWEST or (time.perf_counter() - began < seconds and len(times) < _MOST):
        wait()
        start = time.perf_counter()
        module.embed(images)
        wait()
        times.append(time.perf_counter() - start)
    return median(times)


def _nothing() -> None:
    """Wait for nothing: a CPU has finished when it returns."""
