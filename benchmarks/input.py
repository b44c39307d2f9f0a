"""Training images a second from the disk to normalised batches: `python benchmarks/input.py [overrides]`.

The baseline is the pipeline of torchreid, BoT and fast-reid: PIL decodes and resizes every image in every epoch, and it is
flipped, padded, cropped, normalised and erased as float32 (torchvision). Ours reads decoded images from the cache, augments
uint8 and normalises the batch where the network is. Both make the strong recipe at 256 x 128, the start of loader
processes included; any Hydra override changes it, as in `data=market1501 data.root=DIR`. The first run's cost, which fills
the cache, is told apart.
"""

import os
import tempfile

import hydra
import torch
from measure import arguments, seconds_in_turns, write_rows
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from reid_lightning.data.image_cache import open_images
from reid_lightning.models.normalization import IMAGENET_MEAN, IMAGENET_STD, InputNormalization
from reid_lightning.training.build import build_datamodule
from reid_lightning.training.configuration import CONF, plain


class DecodedEachTime(Dataset):
    """Images as the baseline makes them."""

    def __init__(self, paths, labels, size):
        self.paths, self.labels = paths, labels
        self.transform = transforms.Compose(
            [
                transforms.Resize(size),
                transforms.RandomHorizontalFlip(),
                transforms.Pad(10),
                transforms.RandomCrop(size),
                transforms.ToTensor(),
                transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
                transforms.RandomErasing(scale=(0.02, 0.4), ratio=(0.3, 3.3)),
            ]
        )

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, row):
        return self.transform(Image.open(self.paths[row]).convert("RGB")), self.labels[row]


def baseline_loader(dataset, batch, workers, batches):
    """The baseline's loader of as many batches."""
    sampler = torch.randint(len(dataset), (batches * batch,)).tolist()
    return DataLoader(dataset, batch, sampler=sampler, num_workers=workers)


def take_baseline(loader):
    """Take all batches of the baseline, which come normalised."""
    for images, _ in loader():
        images.sum()


def take_ours(loader, normalize, batches):
    """Take batches of ours, epoch after epoch, and normalise them as the network does."""
    loader, taken = loader(), 0
    while taken < batches:
        for batch in loader:
            normalize(batch["images"]).sum()
            taken += 1
            if taken == batches:
                return


def composed(overrides):
    """The config of a run that trains with the strong recipe at 256 x 128."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        settings = ["augmentation=strong", "data.image_size=[256,128]", *overrides]
        return plain(hydra.compose("config", [*settings, f"output_dir={tempfile.gettempdir()}/none"]))


def measure(config, workers, repeats, batches):
    """Return the row of one number of loader processes."""
    config["data"]["num_workers"] = workers
    datamodule = build_datamodule(config)
    datamodule.prepare_data()
    datamodule.setup()
    batch = config["sampler"]["identities"] * config["sampler"]["images_per_identity"]
    train = datamodule.table[datamodule.table["split"] == "train"]
    dataset = DecodedEachTime(
        train["path"].tolist(), list(range(len(train))), tuple(config["data"]["image_size"])
    )
    calls = [
        lambda: take_ours(datamodule.train_dataloader, InputNormalization(), batches),
        lambda: take_baseline(lambda: baseline_loader(dataset, batch, workers, batches)),
    ]
    ours, theirs = seconds_in_turns(calls, repeats=repeats)
    images = batch * batches
    row = {
        "workers": workers, "images": images, "images_per_second": images / min(ours),
        "slowest": images / max(ours), "their_images_per_second": images / min(theirs), "ratio": min(theirs) / min(ours),
    }  # fmt: skip
    print(
        f"{workers} workers: {row['images_per_second']:.0f} images/s ({row['slowest']:.0f} at the slowest), decoding each "
        f"time {row['their_images_per_second']:.0f}, ratio {row['ratio']:.1f}",
        flush=True,
    )
    return row


def main():
    parser = arguments(__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--batches", type=int, default=200, help="as many as an epoch of Market-1501 by default"
    )
    options, overrides = parser.parse_known_args()
    torch.set_num_threads(1)
    config = composed(overrides)
    rows = [first_run(config)]
    rows += [measure(config, workers, options.repeats, options.batches) for workers in options.workers]
    write_rows(options.json, rows)


def first_run(config):
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
