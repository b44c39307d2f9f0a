"""Seconds until a run answers and until it trains: `python benchmarks/start_up.py`.

`--help` is the command line alone; the first step is that of the default run with warm caches, from the command to the end
of the first optimizer step. The table tells what the time went into.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lightning.pytorch import Callback
from measure import arguments, write_rows

HERE = Path(__file__).resolve().parent
IMPORTS = (
    "torch",
    "lightning",
    "hydra",
    "albumentations",
    "pandas",
    "wandb",
    "matplotlib",
    "plotly",
    "sklearn",
)


class EndAfterFirstStep(Callback):
    """Ends the process when a step has been made, and tells which packages that took."""

    def on_train_batch_end(self, *_):
        """Print and leave."""
        loaded = [name for name in IMPORTS if name in sys.modules]
        print("first step", time.time(), *loaded, flush=True)
        os._exit(0)


def until_exit(*command):
    """Seconds that a command takes."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, capture_output=True, cwd=HERE.parent)
    return time.perf_counter() - start


def until_first_step(overrides):
    """Seconds from the command to the end of the first step, and the packages that are loaded by then."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "train.py", *overrides, f"hydra.run.dir={folder}"]
        command += ["+callbacks.first_step._target_=start_up.EndAfterFirstStep"]
        start = time.time()
        environment = os.environ | {"PYTHONPATH": str(HERE)}
        ended = subprocess.run(
            command, check=True, capture_output=True, text=True, cwd=HERE.parent, env=environment
        )
    _, _, at, *loaded = next(
        line for line in ended.stdout.splitlines() if line.startswith("first step")
    ).split()
    return float(at) - start, loaded


def main():
    parser = arguments(__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    options, overrides = parser.parse_known_args()
    until_first_step(overrides)  # draws the people, fills the caches, compiles byte code
    helps = [until_exit("train.py", "--help") for _ in range(options.repeats)]
    steps, loaded = zip(*(until_first_step(overrides) for _ in range(options.repeats)), strict=True)
    rows = [
        {"what": "--help", "seconds": statistics.median(helps), "slowest": max(helps)},
        {
            "what": "first step",
            "seconds": statistics.median(steps),
            "slowest": max(steps),
            "loaded": loaded[0],
        },
    ]
    for package in ("torch", "lightning", "albumentations", "pandas"):
        seconds = [until_exit("-c", f"import {package}") for _ in range(options.repeats)]
        rows.append(
            {"what": f"import {package}", "seconds": statistics.median(seconds), "slowest": max(seconds)}
        )
    for row in rows:
        print(f"{row['what']:22} {row['seconds']:5.1f} s ({row['slowest']:.1f} at the slowest)")
    print(f"loaded by the first step: {', '.join(loaded[0])}")
    write_rows(options.json, rows)


if __name__ == "__main__":
    main()
