"""What grows past one machine: `python benchmarks/growth_machines.py [--curve CURVE ...] [--picture FILE]`.

`gallery`: CPU milliseconds of one exact query over the number of vectors (512 numbers, float32, one thread), beside reading
them once. `nodes`: images a second of a training that agents of torchrun share, each a node of one process with one thread,
on this host and over gloo. `ray`: jobs a minute of a sweep on workers of Ray, each of one core (`--python` names a Python
with Ray, from the extra `ray`). `optuna`: jobs a minute of commands that share a study in a PostgreSQL server, which is
started on this host. Nodes, workers and commands on one host share its cores: they show that it is right, and not how fast
it is. Each row states the machine's load. The jobs of a sweep must have the same scores on any number of workers,
and those of a study must all be different; the script ends with an error if they do not.

The picture draws what was measured as lines and what is computed from it as dashes: a gallery of ten million in proportion
to the largest that was measured, and nodes, workers and commands that cost nothing.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from gallery import TOP, People, filled, in_turns, read_once
from growth import HERE
from growth import _ticks as name_sizes
from matplotlib.ticker import MaxNLocator
from measure import arguments, write_rows

from reid_lightning.experiments.quiet import quiet
from reid_lightning.reporting.figures import COLORS, FAINT, INK, new_figure, plain, save

SIZES = {"gallery": (10_000, 100_000, 1_000_000), "nodes": (1, 2), "ray": (1, 2), "optuna": (1, 2)}
JOBS = 4  # of a sweep or a study, whatever the number of workers
BEYOND = 10_000_000  # vectors that are drawn and not measured: 20 GB
PATIENCE = {
    "RAY_raylet_start_wait_time_s": "120"
}  # a busy machine takes longer than Ray allows its own agents
RUN = (
    "trainer.max_epochs=1", "+trainer.enable_progress_bar=false", "data.num_workers=0", "trainer.accelerator=cpu",
    "report=none",
)  # fmt: skip


def gallery(vectors: int, repeats: int, folder: Path, _: argparse.Namespace) -> dict[str, Any]:
    """A row of one size: an exact query, and reading the vectors once."""
    people = People(vectors)
    opened = filled(folder / f"gallery{vectors}", vectors, "float32", people)
    asked = torch.from_numpy(people.draw(1)[1])
    calls = [lambda: opened.search(asked, TOP, search="exact"), lambda: read_once(opened)]
    in_turns(calls, 1)
    query, reading = (1e3 * statistics.median(times) for times in in_turns(calls, repeats))
    return {"query_milliseconds": query, "reading_milliseconds": reading, "ratio": query / reading}


def nodes(count: int, repeats: int, folder: Path, _: argparse.Namespace) -> dict[str, Any]:
    """A row of one number of nodes: the rate of the training as its results tell it, and their test mAP."""
    runs = [train_on(count, folder / f"nodes{count}-{number}") for number in range(repeats)]
    rates = [run["cost"]["images_per_second"] for run in runs]
    return {
        "images_per_second": statistics.median(rates), "lowest": min(rates), "highest": max(rates),
        "test_map": runs[0]["test"]["mAP"],
    }  # fmt: skip


def train_on(count: int, folder: Path) -> dict[str, Any]:
    """Train an epoch of the default run on some nodes, and return its results."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    agents = []
    for node in range(count):
        command = [
            sys.executable, "-m", "torch.distributed.run", f"--nnodes={count}", "--nproc-per-node=1",
            "--rdzv-backend=c10d", "--rdzv-id=growth", f"--rdzv-endpoint=127.0.0.1:{port}",
            f"--rdzv-conf=is_host={int(node == 0)}", "train.py", *RUN, f"trainer.num_nodes={count}", "trainer.devices=1",
            f"hydra.run.dir={folder}",
        ]  # fmt: skip
        agents.append(start(command))
    finish(agents)
    return json.loads((folder / "metrics.json").read_text())


def ray(workers: int, repeats: int, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """A row of one number of Ray's workers: the rate of a sweep, and the scores of its jobs by seed."""
    places = [folder / f"ray{workers}-{number}" for number in range(repeats)]
    for place in places:
        launcher = "hydra/launcher=ray", f"+hydra.launcher.ray.init.num_cpus={workers}"
        seeds = ",".join(map(str, range(1, JOBS + 1)))
        finish(
            [
                start(
                    [
                        options.python,
                        "train.py",
                        "-m",
                        *RUN,
                        *launcher,
                        f"seed={seeds}",
                        f"hydra.sweep.dir={place}",
                    ]
                )
            ]
        )
    scores = [jobs_in(place, "seed") for place in places]
    return rates(places) | {"scores": scores[0], "same": all(each == scores[0] for each in scores)}


def optuna(commands: int, repeats: int, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """A row of one number of commands that search in one study, each for its part of the trials."""
    sys.path.append(str(HERE.parent / "tests"))
    from local_postgres import local_postgres

    places = [folder / f"optuna{commands}-{number}" for number in range(repeats)]
    for place in places:
        with local_postgres() as storage:
            search = (
                "hydra/sweeper=optuna",
                f"hydra.sweeper.storage={storage}",
                f"hydra.sweeper.n_trials={JOBS // commands}",
            )
            space = "optimizer.lr=tag(log,interval(1e-4,1e-2))"
            command = [sys.executable, "train.py", "-m", *RUN, *search, space]
            finish(
                [start([*command, f"hydra.sweep.dir={place / str(number)}"]) for number in range(commands)]
            )
    drawn = [jobs_in(place, "optimizer.lr") for place in places]
    return rates(places) | {"same": all(len(each) == JOBS for each in drawn)}


def jobs_in(place: Path, key: str) -> dict[float, float]:
    """Validation mAP of each job below a folder, by one of its settings."""
    found = {}
    for file in place.rglob("metrics.json"):
        value = yaml.safe_load((file.parent / "config.yaml").read_text())
        for name in key.split("."):
            value = value[name]
        found[value] = json.loads(file.read_text())["score"]
    return dict(sorted(found.items()))


def rates(places: Sequence[Path]) -> dict[str, Any]:
    """Jobs a minute from the first job's beginning to the last one's end, and the machine's load at the end."""
    found = []
    for place in places:
        files = [file.parent for file in place.rglob("metrics.json")]
        if len(files) != JOBS:
            raise RuntimeError(f"{place}: {len(files)} of {JOBS} jobs have ended")
        begun = min((job / "config.yaml").stat().st_mtime for job in files)
        found.append(60 * JOBS / (max((job / "run.json").stat().st_mtime for job in files) - begun))
    return {
        "jobs_per_minute": statistics.median(found), "lowest": min(found), "highest": max(found),
        "load": os.getloadavg()[0], "cores": os.cpu_count(),
    }  # fmt: skip


def check(rows: Sequence[dict[str, Any]]) -> None:
    """End if workers have changed what a sweep gives."""
    for row in rows:
        if not row.get("same", True):
            raise SystemExit(f"{row['curve']} with {row['size']}: repeats differ, or trials were drawn twice")
    scores = [row["scores"] for row in rows if "scores" in row]
    if any(each != scores[0] for each in scores):
        raise SystemExit("jobs of a sweep have other scores on another number of workers")


def start(command: Sequence[str]) -> subprocess.Popen[str]:
    """Start a command on one thread."""
    return subprocess.Popen(
        command,
        cwd=HERE.parent,
        env=os.environ | {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"} | PATIENCE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(started: Sequence[subprocess.Popen[str]]) -> None:
    """Wait for commands, which must end well."""
    for process in started:
        said = process.communicate()[1]
        if process.returncode:
            raise RuntimeError(said[-2000:])


MEASURES = {"gallery": gallery, "nodes": nodes, "ray": ray, "optuna": optuna}
BUSY = "two busy cores"
PANELS = {  # title, x, unit, lines: label, column
    "gallery": ("One exact query", "vectors in the gallery", "CPU milliseconds",
                (("query", "query_milliseconds"), ("reading the vectors once", "reading_milliseconds"))),
    "nodes": ("Training over nodes on one host", "nodes", "images a second", ((BUSY, "images_per_second"),)),
    "ray": ("A sweep over Ray's workers on one host", "workers", "jobs a minute", ((BUSY, "jobs_per_minute"),)),
    "optuna": ("A study over commands on one host", "commands", "jobs a minute", ((BUSY, "jobs_per_minute"),)),
}  # fmt: skip


def picture(rows: list[dict[str, Any]], file: Path) -> None:
    """Draw what was measured as lines and what follows from it in proportion as dashes."""
    curves = [curve for curve in PANELS if any(row["curve"] == curve for row in rows)]
    lines = -(-len(curves) // 2)
    figure = new_figure(4.2 * min(2, len(curves)), 3.3 * lines)
    for number, curve in enumerate(curves, start=1):
        title, x, unit, columns = PANELS[curve]
        axes = figure.add_subplot(lines, min(2, len(curves)), number)
        sizes = [row["size"] for row in rows if row["curve"] == curve]
        for color, (label, column) in zip(COLORS, columns, strict=False):
            values = [row[column] for row in rows if row["curve"] == curve]
            axes.plot(sizes, values, "o-", color=color, label=label, linewidth=1.6, markersize=3.5)
            ends = dashes(curve, sizes, values)
            axes.plot(
                *ends, "--", color=color, linewidth=1.2, label="in proportion" if color == COLORS[0] else None
            )
        plain(axes, title, x)
        axes.set_ylabel(unit, fontsize=8, color=FAINT)
        if curve == "gallery":
            axes.set_xscale("log")
            axes.set_yscale("log")
            name_sizes(axes, [*sizes, BEYOND])
        else:
            axes.set_ylim(bottom=0)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(fontsize=8, frameon=False, labelcolor=INK, handlelength=2)
    figure.tight_layout(w_pad=2)
    save(figure, file)


def dashes(curve: str, sizes: Sequence[int], values: Sequence[float]) -> tuple[list[float], list[float]]:
    """Two points of what is not measured: a larger gallery, or nodes, workers and commands that cost nothing."""
    if curve == "gallery":
        return [sizes[-1], BEYOND], [values[-1], values[-1] * BEYOND / sizes[-1]]
    return [sizes[0], sizes[-1]], [values[0], values[0] * sizes[-1] / sizes[0]]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--curve", nargs="+", choices=SIZES, default=list(SIZES), help="all by default")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--python", default=sys.executable, help="a Python with Ray, for the curve `ray`")
    parser.add_argument("--picture", type=Path, help="file to draw the curves into")
    options = parser.parse_args()
    quiet()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for curve in options.curve:
            for size in SIZES[curve]:
                row = {
                    "curve": curve,
                    "size": size,
                    **MEASURES[curve](size, options.repeats, Path(name), options),
                }
                rows.append(row)
                print("  ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
                                for key, value in row.items()), flush=True)  # fmt: skip
                write_rows(options.json, rows)
    check(rows)
    if options.picture:
        picture(rows, options.picture)


if __name__ == "__main__":
    main()
