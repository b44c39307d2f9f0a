"""What the benchmarks share: times taken in turns, memory at its highest, and a file of rows."""

import argparse
import ctypes
import gc
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch


def arguments(description: str | None, **options: Any) -> argparse.ArgumentParser:
    """Return a parser with what every benchmark takes."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, **options
    )
    parser.add_argument("--json", type=Path, help="file to write the rows to")
    return parser


def seconds_in_turns(
    calls: Sequence[Callable[[], Any]], seconds: float = 0.0, repeats: int = 5
) -> list[list[float]]:
    """Seconds of each call, a list each; the calls take turns, so that a busy machine slows all of them alike."""
    taken: list[list[float]] = [[] for _ in calls]
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop or len(taken[0]) < repeats:
        for times, call in zip(taken, calls, strict=True):
            start = time.perf_counter()
            call()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
    return taken


def median_times(calls: Sequence[Callable[[], Any]], seconds: float = 0.0, repeats: int = 5) -> list[float]:
    """Median seconds of each call."""
    return [statistics.median(times) for times in seconds_in_turns(calls, seconds, repeats)]


def peak_mebibytes(call: Callable[[], Any], device: str = "cpu") -> float:
    """Highest memory during a call above that before it; on a CPU the resident memory of the process (Linux)."""
    gc.collect()
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = _resident("VmRSS")
    call()
    return (_resident("VmHWM") - before) / 1024


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


def write_rows(file: Path | None, rows: list[dict[str, Any]]) -> None:
    """Write the rows and the machine that they are of, if a file is given."""
    if file is not None:
        machine = {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
        }
        if torch.cuda.is_available():
            machine["gpu"] = torch.cuda.get_device_name()
        file.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")
