"""What `python train.py` costs, from an empty cache to the report: `python benchmarks/first_command.py [overrides]`.

A row per seed: seconds by the clock, seconds of CPU of all its processes, and the test's numbers. On a machine that
does something else the clock tells little. Half the CPU's seconds is what two free cores need at least; what one core does
alone (imports, pictures) leaves the other idle. `--isa avx2` keeps a newer processor from AVX-512, bfloat16 and AMX.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measure import arguments, write_rows

HERE = Path(__file__).resolve().parent
ISA = {
    "native": {},
    "avx2": {
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    },
}


def first_command(overrides: Sequence[str], isa: str = "native") -> dict[str, Any]:
    """Return the row of one run in a cache of its own."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | ISA[isa] | {"REID_LIGHTNING_CACHE": f"{folder}/cache"}
        command = [sys.executable, "train.py", *overrides, f"hydra.run.dir={folder}/run"]
        before, begun = _children_cpu(), time.perf_counter()
        subprocess.run(command, check=True, cwd=HERE.parent, env=environment)
        seconds, cpu = time.perf_counter() - begun, _children_cpu() - before
        return {"isa": isa, "seconds": seconds, "cpu": cpu, **_numbers(Path(folder) / "run")}


def _children_cpu() -> float:
    """Seconds of CPU of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _numbers(run: Path) -> dict[str, Any]:
    result = json.loads((run / "metrics.json").read_text())
    return {
        "stages": result["cost"]["seconds"],
        "mAP": result["test"]["mAP"],
        "rank1": result["test"]["rank1"],
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("overrides", nargs="*", help="of the run, as of train.py")
    parser.add_argument("--isa", choices=ISA, default="native", help="instructions that the run may use")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="a run each")
    given = parser.parse_args()
    rows = []
    for seed in given.seeds:
        rows.append({"seed": seed, **first_command([*given.overrides, f"seed={seed}"], given.isa)})
        row = rows[-1]
        print(
            f"seed {seed}, {row['isa']}: {row['seconds']:.0f} s by the clock, {row['cpu']:.0f} s of CPU "
            f"({row['cpu'] / 2:.0f} on each of two cores), test mAP {100 * row['mAP']:.1f}, Rank-1 {100 * row['rank1']:.1f}"
        )
    write_rows(given.json, rows)


if __name__ == "__main__":
    main()
