"""What grows with what, and how fast: `python benchmarks/growth.py [--curve CURVE ...] [--largest N] [--picture FILE]`.

`evaluation`: seconds and memory of `rank` over the size of the gallery (3,368 queries, 512 dimensions), beside the bare
matrix product of the same run. `training`: a step of the default run's network and objective over the batch, without a
loader. `table`: from names on the disk to the first batch over the rows of a data set, for a CSV file and for a folder named
like Market-1501. No image is decoded: an empty file stands where an earlier run has left the decoded images. `sweep`:
seconds of a job of `train.py -m`, an epoch of the default run, over the number of jobs of the basic launcher, beside what
training and testing alone take in the same process.

The parts of `table`: `reading` lists and parses names or the CSV file and checks the table; `cache` joins the tables, asks
the size and time of every file, by which the decoded images are found, and opens them; `set up` holds people out and numbers
them; `first batch` draws an epoch and starts two loader processes; `most` is the part that takes the most.

A slope of 1 is a cost that grows in proportion. A size is measured `--repeats` times, the middle one is shown.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import hydra
import numpy as np
import pandas as pd
import ranking
import torch
from matplotlib.ticker import FuncFormatter, LogLocator
from measure import arguments, peak_mebibytes, seconds_in_turns, write_rows

from reid_lightning.config.resolve import CONF, instantiate
from reid_lightning.config.resolve import plain as plain_config
from reid_lightning.data.datamodule import ReIDDataModule
from reid_lightning.data.image_cache import cache_key
from reid_lightning.data.readers.market1501 import read_market1501
from reid_lightning.data.readers.table_file import read_table_file
from reid_lightning.data.samplers import PKSampler
from reid_lightning.experiments.factory import build_module
from reid_lightning.experiments.malloc import keep_freed_memory
from reid_lightning.experiments.quiet import quiet
from reid_lightning.reporting.figures import COLORS, FAINT, INK, new_figure, plain, save

HERE = Path(__file__).resolve().parent
SIZES = {
    "evaluation": (1_000, 3_000, 10_000, 30_000, 100_000, 500_000),
    "training": (16, 32, 64, 128, 256),
    "table": (1_000, 10_000, 100_000, 1_000_000),
    "sweep": (1, 5, 20),
}
OF = {"evaluation": "gallery images", "training": "images in a batch", "table": "rows", "sweep": "jobs"}
IMAGE_SIZE = (8, 4)  # of the decoded images that are taken to be there; any size costs the same to open
LINKS = 60_000  # names that a file system lets one file have, ext4: 65,000
JOB = (
    "trainer.max_epochs=1",
    "+trainer.enable_progress_bar=false",
)  # of a sweep: an epoch of the default run


def evaluation(images: int, repeats: int, device: str) -> list[dict[str, Any]]:
    """Rows of one gallery size: `rank`, and the products that any exact evaluation needs."""
    queries, market, people = 3368, 13_115, 750  # Market-1501's; what a gallery holds beyond are distractors
    distractors, people = max(0, images - market), min(people, people * images // market)
    ranking.SIZES["growth"] = (queries, images, distractors, people)
    inputs: Any = tuple(column.to(device) for column in ranking.problem(ranking.NOISE["realistic"], "growth"))
    buffer = torch.empty(min(512, queries), images, device=device)
    calls = (
        partial(ranking.ours, *inputs, distance="cosine"),
        partial(ranking.bare_product, inputs[0], inputs[1], buffer),
    )
    ours, bare = (statistics.median(times) for times in seconds_in_turns(calls, repeats=repeats))
    return [
        {
            "size": images, "seconds": ours, "product_seconds": bare, "ratio": ours / bare,
            "mebibytes": peak_mebibytes(calls[0], device),
        }
    ]  # fmt: skip


def training(batch: int, repeats: int, device: str) -> list[dict[str, Any]]:
    """Rows of one batch size: forward, losses, backward and optimizer, on a batch that is there already."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = plain_config(hydra.compose("config", [f"output_dir={tempfile.gettempdir()}/none"]))
    torch.manual_seed(0)
    module = build_module(config, num_identities=751).to(device).train()
    optimizer = instantiate(config["optimizer"])(module.network, module.objective)
    images = torch.randint(0, 256, (batch, 3, *config["data"]["image_size"]), dtype=torch.uint8)
    images = images.contiguous(memory_format=torch.channels_last).to(device)
    labels = (torch.arange(batch) // config["sampler"]["images_per_identity"]).to(device)

    def step() -> None:
        loss = module.objective(module.network, module.network(images), {"labels": labels}).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    step()  # allocates the optimizer's state
    (times,) = seconds_in_turns([step], repeats=repeats)
    seconds = statistics.median(times)
    return [
        {
            "size": batch, "seconds": seconds, "images_per_second": batch / seconds,
            "mebibytes": peak_mebibytes(step, device),
        }
    ]  # fmt: skip


def table(rows: int, repeats: int, device: str, cold: bool = False) -> list[dict[str, Any]]:
    """Rows of one data set size, for both forms: seconds of each part of the way to the first batch."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = write_names(folder / "market", rows)
        if cold:
            os.sync()
            Path("/proc/sys/vm/drop_caches").write_text("2")
        scans = [timed(names_in, root) for _ in range(repeats + 1)]
        file = write_csv(folder / "table.csv", read_market1501(root))
        before = os.environ.get("REID_LIGHTNING_CACHE")
        os.environ["REID_LIGHTNING_CACHE"] = str(folder / "cache")
        try:
            for source, read in (("CSV", read_table_file), ("folder", read_market1501)):
                reader = partial(read, file if source == "CSV" else root)
                stand_in_for_images(reader()["path"].tolist(), folder / "cache" / "images")
                parts = [start(reader) for _ in range(repeats)]
                middle = {part: statistics.median(seconds[part] for seconds in parts) for part in parts[0]}
                whole = statistics.median(sum(seconds.values()) for seconds in parts)
                row = {"size": rows, "source": source, "seconds": whole, **middle}
                if source == "folder":
                    row |= {"first_scan": scans[0], "scan": statistics.median(scans[1:])}
                found.append(row | {"most": max(middle, key=middle.__getitem__)})
        finally:
            os.environ.pop("REID_LIGHTNING_CACHE")
            os.environ |= {"REID_LIGHTNING_CACHE": before} if before else {}
    return found


def start(reader: Callable[[], pd.DataFrame]) -> dict[str, float]:
    """Seconds of each part, from the names on the disk to the first training batch by two loader processes."""
    seconds: dict[str, float] = {}
    with clock(seconds, "reading"):
        rows = reader()
    datamodule = ReIDDataModule(
        {"growth": lambda: rows}, IMAGE_SIZE, partial(PKSampler, 16, 4), num_workers=2
    )
    with clock(seconds, "cache"):
        datamodule.prepare_data()
    with clock(seconds, "set_up"):
        datamodule.setup("fit")
    with clock(seconds, "first_batch"):
        next(iter(datamodule.train_dataloader()))
    return seconds


def write_names(root: Path, rows: int) -> Path:
    """Write a data set named like Market-1501, with 18 images of a person: few files under many names."""
    image = cv2.imencode(".jpg", np.full((16, 8, 3), 128, np.uint8))[1].tobytes()
    people, links, original = max(18, rows // 18), 0, root / "0.jpg"
    for folder, share, per_person in (
        ("bounding_box_train", 0.5, 18), ("query", 0.05, 2), ("bounding_box_test", 0.45, 18),
    ):  # fmt: skip
        first = 1 if folder == "bounding_box_train" else people
        (root / folder).mkdir(parents=True)
        for number in range(round(rows * share)):
            if links % LINKS == 0:
                original = root / f"{links}.jpg"
                original.write_bytes(image)
            name = (
                f"{first + number // per_person:04d}_c{number % 6 + 1}s{number % 3 + 1}_{number:06d}_00.jpg"
            )
            os.link(original, root / folder / name)
            links += 1
    return root


def write_csv(file: Path, rows: pd.DataFrame) -> Path:
    """Write a table with the columns that a person would, paths relative to the file."""
    rows = rows.assign(path=rows["path"].str.slice(len(str(file.parent)) + 1))
    rows[["path", "person_id", "split", "camera_id"]].to_csv(file, index=False)
    return file


def stand_in_for_images(paths: Sequence[str], folder: Path) -> None:
    """Leave what an earlier run leaves: a file of decoded images, here of nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{cache_key(paths, IMAGE_SIZE)}.npy"
    np.lib.format.open_memmap(file, "w+", np.uint8, (len(paths), *IMAGE_SIZE, 3))


def names_in(root: Path) -> list[list[str]]:
    """Read all names, and nothing but names."""
    return [os.listdir(entry) for entry in os.scandir(root) if entry.is_dir()]


def sweep(jobs: int, repeats: int, device: str) -> list[dict[str, Any]]:
    """Rows of one number of jobs of one epoch each."""
    runs = [run_jobs(jobs) for _ in range(repeats)]
    row = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    return [{"size": jobs, **row}]


def run_jobs(jobs: int) -> dict[str, Any]:
    """Seconds of a multirun as a whole and a job, and of a job's stages as its results tell them.

    The ratio is that of the whole, from the command to its end, to what training and testing alone take in it.
    """
    with tempfile.TemporaryDirectory() as folder:
        seeds = ",".join(str(seed) for seed in range(1, jobs + 1))
        command = [sys.executable, "train.py", "-m", f"seed={seeds}", *JOB, f"hydra.sweep.dir={folder}"]
        whole = timed(subprocess.run, command, check=True, capture_output=True, cwd=HERE.parent)
        costs = [
            json.loads(path.read_text())["cost"]["seconds"] for path in Path(folder).glob("*/metrics.json")
        ]
    if len(costs) != jobs:
        raise RuntimeError(f"{len(costs)} of {jobs} jobs left results")
    stages = {stage: statistics.median(cost[stage] for cost in costs) for stage in costs[0]}
    bare = sum(cost["fit"] + cost["test"] for cost in costs)
    rest = (whole - bare) / jobs
    return {"seconds": whole, "per_job": whole / jobs, "beyond": rest, "ratio": whole / bare, **stages}


def timed(call: Callable[..., Any], *given: Any, **named: Any) -> float:
    """Seconds of a call."""
    begun = time.perf_counter()
    call(*given, **named)
    return time.perf_counter() - begun


@contextmanager
def clock(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Note the seconds of a block."""
    begun = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - begun


def show(curve: str, rows: list[dict[str, Any]]) -> None:
    """Print a table."""
    print(f"\n{curve} over {OF[curve]}")
    columns = ["size", *(name for name in max(rows, key=len) if name not in ("curve", "size"))]
    cells = [[name.replace("_", " ") for name in columns]]
    cells += [[_written(row.get(name, "")) for name in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
    if curve == "sweep" and len(rows) > 1:
        few, many = rows[0], rows[-1]
        job = (many["seconds"] - few["seconds"]) / (many["size"] - few["size"])
        print(
            f"one more job: {job:.2f} s, of which {many['fit'] + many['test']:.2f} s are its training and test"
        )


def _written(cell: Any) -> str:
    """Three digits of a number, all of a count."""
    if isinstance(cell, float):
        return f"{cell:.3g}" if cell < 1000 else f"{cell:.0f}"
    return f"{cell:,}" if isinstance(cell, int) else cell


def picture(rows: list[dict[str, Any]], file: Path) -> None:
    """Draw every curve that was measured, both axes logarithmic."""
    panels = [panel for panel in PANELS if any(row["curve"] == panel[0] for row in rows)]
    columns = 2 if len(panels) == 4 else min(3, len(panels))
    height = -(-len(panels) // columns)
    figure = new_figure(4.2 * columns, 3.3 * height)
    for number, (curve, title, unit, lines) in enumerate(panels, start=1):
        axes = figure.add_subplot(height, columns, number)
        for color, (label, column, source) in zip(COLORS, lines, strict=False):
            points = [(row["size"], row[column]) for row in rows
                      if row["curve"] == curve and row.get("source") == source and column in row]  # fmt: skip
            if points:
                axes.loglog(
                    *zip(*points, strict=True), "o-", color=color, label=label, linewidth=1.6, markersize=3.5
                )
        plain(axes, title, OF[curve])
        axes.set_ylabel(unit, fontsize=8, color=FAINT)
        _ticks(axes, [row["size"] for row in rows if row["curve"] == curve])
        axes.legend(fontsize=8, frameon=False, labelcolor=INK, handlelength=1.4)
    figure.tight_layout(w_pad=2, h_pad=2)
    save(figure, file)


PANELS = (  # curve, title, unit, lines: label, column, source
    ("evaluation", "Evaluation", "seconds",
     (("ranking", "seconds", None), ("matrix product alone", "product_seconds", None))),
    ("evaluation", "Memory of an evaluation", "MiB", (("ranking", "mebibytes", None),)),
    ("training", "Training step", "seconds", (("default run", "seconds", None),)),
    ("table", "From the disk to the first batch", "seconds",
     (("folder", "seconds", "folder"), ("CSV", "seconds", "CSV"), ("names alone", "scan", "folder"))),
    ("table", "Parts of it, folder", "seconds",
     (("reading", "reading", "folder"), ("cache", "cache", "folder"), ("set-up", "set_up", "folder"),
      ("first batch", "first_batch", "folder"))),
    ("sweep", "A job of a sweep", "seconds",
     (("whole", "per_job", None), ("training", "fit", None), ("beyond training and test", "beyond", None))),
)  # fmt: skip


def _ticks(axes: Any, sizes: Sequence[int]) -> None:
    """Name the measured sizes, or those of them that have room, and seconds as plain numbers."""
    sizes = sorted(set(sizes))
    if len(sizes) > 5:
        sizes = [size for size in sizes if str(size).strip("0") in ("1", "5")]
    named = [
        f"{size // 10**6}M" if size >= 10**6 else f"{size // 1000}k" if size >= 1000 else str(size)
        for size in sizes
    ]
    axes.set_xticks(sizes, named)
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 50 * low else (1,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.minorticks_off()


MEASURES: dict[str, Callable[..., list[dict[str, Any]]]] = {
    "evaluation": evaluation,
    "training": training,
    "table": table,
    "sweep": sweep,
}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--curve", nargs="+", choices=SIZES, default=list(SIZES), help="all by default")
    parser.add_argument("--largest", type=int, help="leave out larger sizes")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu", help="cpu or cuda, of evaluation and training")
    parser.add_argument(
        "--cold", action="store_true",
        help="first scan of a folder with the kernel's memory of names dropped: root alone may, and all programs feel it",
    )  # fmt: skip
    parser.add_argument("--picture", type=Path, help="file to draw the curves into")
    options = parser.parse_args()
    quiet()
    keep_freed_memory()
    rows = []
    for curve in options.curve:
        sizes = [size for size in SIZES[curve] if options.largest is None or size <= options.largest]
        measure = partial(MEASURES[curve], **({"cold": options.cold} if curve == "table" else {}))
        found = [
            {"curve": curve} | row for size in sizes for row in measure(size, options.repeats, options.device)
        ]
        if found:
            show(curve, found)
        rows += found
    write_rows(options.json, rows)
    if options.picture:
        picture(rows, options.picture)


if __name__ == "__main__":
    main()
