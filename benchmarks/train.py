"""Training steps of a run beside a bare loop: `python benchmarks/train.py [overrides]`, as in `backbone=osnet_x0_25`.

The bare loop has the same loader, network, losses, optimizer and precision and nothing else: no Lightning, logging, counting
or collapse watching. A second table tells what bounds a run: the loader alone, the step alone on one batch that is there
already, and both together.
"""

import shutil
import statistics
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import hydra
import lightning
import torch
from measure import arguments, write_rows

from reid_lightning.training.build import build_datamodule, build_module
from reid_lightning.training.configuration import CONF, plain
from reid_lightning.training.job import run_job


def composed(overrides, folder, steps, epochs):
    """The config of a short run that neither validates nor draws pictures."""
    settings = [
        f"output_dir={folder}",
        "data.validation=none",
        f"trainer.max_epochs={epochs}",
        f"+trainer.limit_train_batches={steps}",
        "+trainer.enable_progress_bar=false",
    ]
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return plain(hydra.compose("config", [*settings, *overrides]))


class Bare:
    """The parts of a run without what drives them."""

    def __init__(self, config):
        lightning.seed_everything(config["seed"], verbose=False)
        self.datamodule = build_datamodule(config)
        self.datamodule.prepare_data()
        self.datamodule.setup("fit")
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.module = build_module(config, self.datamodule.num_identities).to(self.device).train()
        self.optimizer = self.module._optimizer(self.module.network, self.module.objective)
        bf16 = "bf16" in str(config["trainer"]["precision"])
        self.precision = (lambda: torch.autocast(self.device.type, torch.bfloat16)) if bf16 else nullcontext
        self.batch_size = config["sampler"]["identities"] * config["sampler"]["images_per_identity"]

    def batches(self, steps):
        """Take batches from the loader, again and again."""
        taken = 0
        while True:
            for batch in self.datamodule.train_dataloader():
                yield {name: column.to(self.device, non_blocking=True) for name, column in batch.items()}
                taken += 1
                if taken == steps:
                    return

    def step(self, batch):
        """Train on a batch."""
        with self.precision():
            features = self.module.network(batch["images"])
            logits = self.module.network.classify(features, batch["labels"])
            loss = self.module.objective(
                features, batch["labels"], logits, attributes=batch["attributes"]
            ).total
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def rate(self, steps, load=True, train=True):
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

    def _wait(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def run_rate(config):
    """Images a second of a run as a user starts it, its start and end left out."""
    shutil.rmtree(config["output_dir"], ignore_errors=True)
    return run_job(config).cost["images_per_second"]


def main():
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=30, help="in an epoch")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    options, overrides = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        config = composed(overrides, Path(folder) / "run", options.steps, options.epochs)
        bare, runs, loops = Bare(config), [], []
        for _ in range(options.repeats):  # in turns: a busy machine slows both alike
            runs.append(run_rate(config))
            loops.append(bare.rate(options.steps * options.epochs))
        loader, step = bare.rate(options.steps, train=False), bare.rate(options.steps, load=False)
    ratio = statistics.median(runs) / statistics.median(loops)
    row = {
        "overrides": overrides, "images_per_second": statistics.median(runs), "slowest": min(runs), "fastest": max(runs),
        "bare_images_per_second": statistics.median(loops), "ratio": ratio, "loader_images_per_second": loader,
        "step_images_per_second": step,
    }  # fmt: skip
    print(
        f"{' '.join(overrides) or 'default'}: run {row['images_per_second']:.0f} images/s ({min(runs):.0f} to "
        f"{max(runs):.0f}), bare loop {row['bare_images_per_second']:.0f}, ratio {ratio:.3f}"
    )
    bound = "the step" if step < loader else "the loader"
    print(f"loader alone {loader:.0f} images/s, step alone {step:.0f}: {bound} bounds the run")
    write_rows(options.json, [row])


if __name__ == "__main__":
    main()
