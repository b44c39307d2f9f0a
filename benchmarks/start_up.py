"""Seconds until a run answers and until it trains: `python benchmarks/start_up.py [overrides]`.

`--help` is the command line alone; the first step is that of the default run with warm caches, from the command to the end
of the first optimizer step. The further rows tell what that time goes into: until the parts of the run are made (imports,
config, data, network), until the training starts, and of the imports, which packages they are. `-X importtime` counts those
in a run of its own, which takes a little longer: `own` is the time in a package's modules, and these add up; `with others`
is that of its first import, everything that it brings along included.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback
from measure import arguments, write_rows

HERE = Path(__file__).resolve().parent
NOTED = (  # what a run may bring along, and what it should not before it is used
    "torch", "torchvision", "torchmetrics", "lightning", "hydra", "albumentations", "pandas", "scipy", "rich",
    "matplotlib", "timm", "wandb", "plotly", "sklearn",
)  # fmt: skip
SHOWN = 12  # packages


class EndAfterFirstStep(Callback):
    """Ends the process when a step has been made; tells when, and which packages that took."""

    def __init__(self) -> None:
        self.made = self.begun = time.time()

    def on_train_start(self, *_: Any) -> None:
        """Note the time."""
        self.begun = time.time()

    def on_train_batch_end(self, *_: Any) -> None:
        """Print and leave."""
        loaded = [name for name in NOTED if name in sys.modules]
        print("first step", self.made, self.begun, time.time(), *loaded, flush=True)
        os._exit(0)


def until_exit(*command: str) -> float:
    """Seconds that a command takes."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, capture_output=True, cwd=HERE.parent)
    return time.perf_counter() - start


def until_first_step(overrides: Sequence[str], *flags: str) -> tuple[dict[str, float], list[str], str]:
    """Seconds to each mark on the way to the end of the first step, the packages loaded by then, and the error stream."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, *flags, "train.py", *overrides, f"hydra.run.dir={folder}"]
        command += ["+callbacks.first_step._target_=start_up.EndAfterFirstStep"]
        start = time.time()
        environment = os.environ | {"PYTHONPATH": str(HERE)}
        ended = subprocess.run(
            command, check=True, capture_output=True, text=True, cwd=HERE.parent, env=environment
        )
    said = next(line for line in ended.stdout.splitlines() if line.startswith("first step"))
    made, begun, stepped, *loaded = said.removeprefix("first step").split()
    marks = {"parts made": made, "training starts": begun, "first step": stepped}
    return {name: float(at) - start for name, at in marks.items()}, loaded, ended.stderr


def import_times(report: str) -> list[dict[str, Any]]:
    """Rows of what `-X importtime` reports: seconds of each package, the largest first."""
    own: dict[str, float] = {}
    whole: dict[str, float] = {}
    for line in report.splitlines():
        head, _, rest = line.partition("import time:")
        if head or rest.count("|") != 2 or "cumulative" in rest:
            continue
        microseconds, cumulative, name = rest.split("|")
        package = name.strip().partition(".")[0]
        own[package] = own.get(package, 0) + int(microseconds) / 1e6
        whole[package] = max(whole.get(package, 0), int(cumulative) / 1e6)
    rows = [
        {"what": f"import {package}", "seconds": own[package], "with_others": whole[package]}
        for package in sorted(own, key=own.__getitem__, reverse=True)
    ]
    return [{"what": "all imports", "seconds": sum(own.values()), "with_others": sum(own.values())}, *rows]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    options, overrides = parser.parse_known_args()
    until_first_step(overrides)  # draws the people, fills the caches, compiles byte code
    helps = [until_exit("train.py", "--help") for _ in range(options.repeats)]
    marks, loaded, _ = zip(*(until_first_step(overrides) for _ in range(options.repeats)), strict=True)
    rows = [{"what": "--help", "seconds": statistics.median(helps), "slowest": max(helps)}]
    for name in marks[0]:
        seconds = [taken[name] for taken in marks]
        rows.append({"what": name, "seconds": statistics.median(seconds), "slowest": max(seconds)})
    rows[-1]["loaded"] = loaded[0]
    for row in rows:
        print(f"{row['what']:22} {row['seconds']:5.1f} s ({row['slowest']:.1f} at the slowest)")
    print(f"loaded by the first step: {', '.join(loaded[0])}")
    print(f"not loaded: {', '.join(name for name in NOTED if name not in loaded[0])}")
    imports = import_times(until_first_step(overrides, "-X", "importtime")[2])
    print(f"\n{'until the first step':22}     own   with others")
    for row in imports[: SHOWN + 1]:
        print(f"{row['what']:22} {row['seconds']:5.2f} s   {row['with_others']:5.2f} s")
    write_rows(options.json, rows + imports)


if __name__ == "__main__":
    main()
