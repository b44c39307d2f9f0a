"""Training beside a bare loop and peers: `python benchmarks/train.py [--backbones A,B] [--peers] [--variants] [overrides]`.

The table that counts: `--backbones resnet18,resnet50,osnet_x1_0 --peers data.image_size=[256,128]`; further Hydra overrides
hold for all rows. The baseline is the bare loop: the same loader, network, losses, optimizer and precision and nothing else,
no Lightning, logging, counting or collapse watching. Runs, loops and peers take turns, so that a busy machine slows all of
them alike; the first epoch of a run and the first step of everything else are left out.

Three rates tell what bounds a run: the loader alone, the step alone on one batch that is there already, and both together.

`--peers` adds a plain script and torchreid's engine (training_peers.py says what they are). `--variants` adds the step alone
with channels_last, bf16 and torch.compile against the step without any of them; the defaults follow what wins.
"""

import io
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, redirect_stdout
from itertools import islice, product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hydra
import lightning
import pandas as pd
import torch
from measure import arguments, write_rows
from training_peers import PlainScript, Torchreid, torchreid_version

from reid_lightning.config.resolve import CONF, plain
from reid_lightning.experiments.factory import build_datamodule, build_module
from reid_lightning.experiments.run import run_job


def composed(overrides: Sequence[str], folder: Path, steps: int, epochs: int) -> dict[str, Any]:
    """The config of a short run that neither validates nor has many to test."""
    settings = [
        f"output_dir={folder}",
        "data.validation=none",
        "trainer.devices=1",
        f"trainer.max_epochs={epochs}",
        f"+trainer.limit_train_batches={steps}",
        "+trainer.enable_progress_bar=false",
    ]
    if not any(override.startswith("data=") for override in overrides):
        settings.append("data.sources.pedestrians.test_identities=8")
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return plain(hydra.compose("config", [*settings, *overrides]))


class Bare:
    """The parts of a run without what drives them."""

    def __init__(self, config: dict[str, Any]) -> None:
        lightning.seed_everything(config["seed"], verbose=False)
        self.config = config
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.datamodule = build_datamodule(config)
        # What the data module asks its trainer, so that workers and pinned memory are those of the run.
        progress = SimpleNamespace(epoch_progress=SimpleNamespace(current=SimpleNamespace(processed=0)))
        strategy = SimpleNamespace(root_device=self.device)
        parts: Any = SimpleNamespace(
            strategy=strategy, num_devices=1, fit_loop=progress, state=SimpleNamespace(fn=None)
        )
        self.datamodule.trainer = parts
        self.datamodule.prepare_data()
        self.datamodule.setup("fit")
        self.loader = self.datamodule.train_dataloader()
        self.module = build_module(config, self.datamodule.num_identities).to(self.device).train()
        self.optimizer = self.module._optimizer(self.module.network, self.module.objective)
        bf16 = "bf16" in str(config["trainer"]["precision"])
        self.precision = (lambda: torch.autocast(self.device.type, torch.bfloat16)) if bf16 else nullcontext
        self.batch_size = len(next(iter(self.datamodule.train_batches)))

    def batches(self, steps: int) -> Iterator[Any]:
        """Take batches from the loader, in epochs of the run's length."""
        for epoch in range(steps):
            self.datamodule.train_batches.set_epoch(epoch)
            for batch in islice(self.loader, self.config["trainer"]["limit_train_batches"]):
                yield {name: column.to(self.device, non_blocking=True) for name, column in batch.items()}

    def step(self, batch: Any) -> None:
        """Train on a batch."""
        with self.precision():
            features = self.module.network(batch["images"])
            loss = self.module.objective(self.module.network, features, batch).total
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def rate(self, steps: int, load: bool = True, train: bool = True) -> float:
        """Images a second of the loader, of the step on one batch, or of both."""
        batches = self.batches(steps + 1)
        batch = next(batches)
        if train:
            self.step(batch)
        self._wait()
        start = time.perf_counter()
        for _ in range(steps):
            batch = next(batches) if load else batch
            if train:
                self.step(batch)
        self._wait()
        return steps * self.batch_size / (time.perf_counter() - start)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def run_rate(config: dict[str, Any], batch_size: int) -> float:
    """Images a second of a run as a user starts it, from its second epoch on."""
    folder = Path(config["output_dir"])
    shutil.rmtree(folder, ignore_errors=True)
    with redirect_stdout(io.StringIO()):
        run_job(config)
    rates = pd.read_csv(folder / "metrics.csv")["train/images_per_second"].dropna()
    images = config["trainer"]["limit_train_batches"] * batch_size
    seconds = [(epoch + 1) * images / rate for epoch, rate in enumerate(rates)]  # until the end of each epoch
    return (len(seconds) - 1) * images / (seconds[-1] - seconds[0])


def measure(config: dict[str, Any], repeats: int, peers: bool = False, workers: int = 4) -> dict[str, Any]:
    """Return the row of one config: median, slowest and fastest images a second of everything that takes turns."""
    bare, trainer = Bare(config), config["trainer"]
    steps = trainer["limit_train_batches"]
    calls: dict[str, Callable[[], float]] = {
        "run": lambda: run_rate(config, bare.batch_size),
        "bare": lambda: bare.rate(steps * (trainer["max_epochs"] - 1)),
        "loader": lambda: bare.rate(steps, train=False),
        "step": lambda: bare.rate(steps, load=False),
    }
    if peers:
        script = PlainScript(bare, workers)
        calls["plain script"] = lambda: script.rate(steps)
        if torchreid_version():
            engine = Torchreid(bare, workers)
            calls["torchreid"] = lambda: engine.rate(steps)
    rates: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            rates[name].append(call())
    row = {"batch": bare.batch_size, "workers": bare.loader.num_workers, "precision": trainer["precision"]}
    for name, values in rates.items():
        row[name] = {"median": statistics.median(values), "slowest": min(values), "fastest": max(values)}
    # Turn by turn, because what a busy machine does to one it does to its neighbor.
    row["ratio"] = statistics.median(
        run / loop for run, loop in zip(rates["run"], rates["bare"], strict=True)
    )
    return row


def bound(row: dict[str, Any]) -> str:
    """Say what bounds a run, from its three rates."""
    run, loader, step = (row[name]["median"] for name in ("run", "loader", "step"))
    if row["workers"]:
        name = "step" if step < loader else "loader"
        slower, faster = sorted((step, loader))
        return (
            f"the {name} bounds the run, which reaches {run / slower:.0%} of it; the other could do {faster / slower:.1f} "
            "times as much beside it"
        )
    return (
        f"loader and step take turns in one process: loading is {step / (loader + step):.0%} of the time; "
        f"the run reaches {run * (1 / loader + 1 / step):.0%} of both one after the other"
    )


def print_row(name: str, row: dict[str, Any]) -> None:
    """Print everything of a backbone."""
    head = f"{name}, batch {row['batch']}, {row['precision']}, {row['workers']} workers"
    print(f"{head}: images/s (slowest to fastest), the run's over it")
    for part in ("run", "bare", "loader", "step", "plain script", "torchreid"):
        if part in row:
            values = row[part]
            beside = "" if part in ("loader", "step") else f"{row['run']['median'] / values['median']:8.2f}"
            spread = f"({values['slowest']:.0f} to {values['fastest']:.0f})"
            print(f"  {part:13}{values['median']:8.0f} {spread:20}{beside}")
    said = "reached" if row["ratio"] >= 0.97 else "MISSED"
    print(f"  run over bare loop {row['ratio']:.3f} (bar 0.97: {said}); {bound(row)}", flush=True)


def variants(config: dict[str, Any], steps: int, repeats: int) -> list[dict[str, Any]]:
    """Return a row for each combination of channels_last, bf16 and compile: the step alone, against none of them."""
    bares = {}
    for last, half, compiled in product((False, True), repeat=3):
        if compiled and last != half:
            continue  # compiled alone, and with both
        trainer = config["trainer"] | {"precision": "bf16-mixed" if half else "32-true"}
        names = {"channels_last": last, "bf16": half, "compile": compiled}
        name = " + ".join(part for part, on in names.items() if on) or "plain"
        bares[name] = Bare(config | {"trainer": trainer, "channels_last": last, "compile": compiled})
    rates: dict[str, list[float]] = {name: [] for name in bares}
    for _ in range(repeats):
        for name, bare in bares.items():
            rates[name].append(bare.rate(steps, load=False))
    rows = []
    for name, values in rates.items():
        ratios = [value / base for value, base in zip(values, rates["plain"], strict=True)]
        rows.append({"variant": name, "images_per_second": values, "ratio": statistics.median(ratios)})
        print(
            f"  {name:30}{statistics.median(values):8.0f} ({min(values):.0f} to {max(values):.0f}) "
            f"{rows[-1]['ratio']:6.2f} times plain",
            flush=True,
        )
    return rows


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument(
        "--backbones", default="", help="names with commas between; by default the config's own"
    )
    parser.add_argument("--steps", type=int, default=30, help="in an epoch")
    parser.add_argument("--epochs", type=int, default=3, help="of a run, the first left out")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peers", action="store_true", help="a plain script and torchreid's engine too")
    parser.add_argument(
        "--peer-workers", type=int, default=4, help="loader processes of the peers; 4 is torchreid's"
    )
    parser.add_argument(
        "--variants", action="store_true", help="channels_last, bf16 and compile, each off and on"
    )
    options, overrides = parser.parse_known_args()
    if options.epochs < 2:
        parser.error("--epochs needs two, because the first is left out")
    if options.peers and not torchreid_version():
        print("torchreid is not installed: uv run --with torchreid --with gdown benchmarks/train.py --peers")
    rows = []
    for backbone in options.backbones.split(","):
        chosen = [*overrides, f"backbone={backbone}"] if backbone else overrides
        name = " ".join(chosen) or "default"
        with tempfile.TemporaryDirectory() as folder:
            config = composed(chosen, Path(folder) / "run", options.steps, options.epochs)
            row = {"overrides": chosen} | measure(
                config, options.repeats, options.peers, options.peer_workers
            )
            print_row(name, row)
            if options.variants:
                row["variants"] = variants(config, options.steps, options.repeats)
        rows.append(row)
    write_rows(options.json, rows)


if __name__ == "__main__":
    main()
