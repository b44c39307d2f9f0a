"""Training images a second from the disk to normalized batches: `python benchmarks/input.py [overrides]`.

The baselines decode and resize every image by PIL in every epoch and flip, pad, crop, normalize and erase it as float32: a
plain script's loader (torchvision), and torchreid's own where it is installed. Ours reads decoded images from the cache,
augments uint8 and normalizes the batch where the network is. All make the strong recipe at 256 x 128, the start of loader
processes included; any Hydra override changes it, as in `data=market1501 data.root=DIR`. The first run's cost, which fills
the cache, is told apart.
"""

import os
import statistics
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import hydra
import torch
from measure import arguments, seconds_in_turns, write_rows
from torch import Tensor
from torch.utils.data import DataLoader
from training_peers import DecodedEachTime, torchreid_loader, torchreid_version

from reid_lightning.config.resolve import CONF, plain
from reid_lightning.data.image_cache import open_images
from reid_lightning.experiments.factory import build_datamodule
from reid_lightning.experiments.malloc import keep_freed_memory
from reid_lightning.models.normalization import InputNormalization


def take(
    make_loader: Callable[[], Any],
    batches: int,
    images_of: Callable[[Any], Tensor],
    normalize: Callable[[Tensor], Tensor] | None = None,
) -> None:
    """Take batches, epoch after epoch, and normalize them as the network does unless they come so."""
    loader, taken = make_loader(), 0
    while True:
        for batch in loader:
            images = images_of(batch)
            (images if normalize is None else normalize(images)).sum()
            taken += 1
            if taken == batches:
                return


def composed(overrides: Sequence[str]) -> dict[str, Any]:
    """The config of a run that trains with the strong recipe at 256 x 128."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        settings = ["augmentation=strong", "data.image_size=[256,128]", *overrides]
        return plain(hydra.compose("config", [*settings, f"output_dir={tempfile.gettempdir()}/none"]))


def measure(config: dict[str, Any], workers: int, repeats: int, batches: int) -> list[dict[str, Any]]:
    """Return the rows of one number of loader processes."""
    config["data"]["num_workers"] = workers
    datamodule = build_datamodule(config)
    datamodule.prepare_data()
    datamodule.setup()
    instances = config["sampler"]["images_per_identity"]
    batch = config["sampler"]["identities"] * instances
    dataset = DecodedEachTime(datamodule.table, datamodule.annotations.labels, datamodule.image_size)
    loaders: dict[str, tuple[Any, ...]] = {
        "ours": (datamodule.train_dataloader, lambda taken: taken["images"], InputNormalization()),
        "decoding each time": (
            lambda: DataLoader(dataset, batch_sampler=datamodule.train_batches, num_workers=workers),
            lambda taken: taken[0],
        ),
    }
    if torchreid_version():
        loaders["torchreid"] = (
            lambda: torchreid_loader(datamodule, batch, instances, workers),
            lambda taken: taken["img"],
        )
    calls = [partial(take, make, batches, *how) for make, *how in loaders.values()]
    times = dict(zip(loaders, seconds_in_turns(calls, repeats=repeats), strict=True))
    rows = []
    for name, seconds in times.items():
        rates = [batch * batches / taken for taken in seconds]
        ratios = [taken / own for taken, own in zip(seconds, times["ours"], strict=True)]
        rows.append(
            {
                "workers": workers,
                "loader": name,
                "images_per_second": statistics.median(rates),
                "slowest": min(rates),
                "fastest": max(rates),
                "ours_is_faster": statistics.median(ratios),
            }
        )
        print(
            f"{workers} workers, {name}: {statistics.median(rates):.0f} images/s ({min(rates):.0f} to {max(rates):.0f}); "
            f"ours takes 1 / {statistics.median(ratios):.1f} of its time",
            flush=True,
        )
    return rows


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--batches", type=int, default=200, help="as many as an epoch of Market-1501 by default"
    )
    options, overrides = parser.parse_known_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    config = composed(overrides)
    rows = [first_run(config)]
    for workers in options.workers:
        rows += measure(config, workers, options.repeats, options.batches)
    write_rows(options.json, rows)


def first_run(config: dict[str, Any]) -> dict[str, Any]:
    """Return what filling an empty cache takes."""
    datamodule = build_datamodule(config)
    datamodule.prepare_data()
    datamodule.setup()
    paths, size = datamodule.table["path"].tolist(), tuple(config["data"]["image_size"])
    before = os.environ.get("REID_LIGHTNING_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["REID_LIGHTNING_CACHE"] = folder
        try:
            (seconds,) = seconds_in_turns([lambda: open_images(paths, size)], repeats=1)
        finally:
            os.environ.pop("REID_LIGHTNING_CACHE")
            os.environ |= {"REID_LIGHTNING_CACHE": before} if before else {}
    row = {
        "images": len(paths),
        "first_run_seconds": seconds[0],
        "first_run_images_per_second": len(paths) / seconds[0],
    }
    print(f"first run: {len(paths)} images decoded into the cache in {seconds[0]:.1f} s", flush=True)
    return row


if __name__ == "__main__":
    main()
