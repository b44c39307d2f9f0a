"""Market-1501 in pieces of a few minutes: `python benchmarks/market.py --recipe bot --root DIR --output DIR [overrides]`.

Each call trains for at most `--minutes` and ends with a checkpoint; the same call again goes on from there, with the
product's own `time_limit` and `resume=last`, so that the pieces train what one long run would. After the last epoch the
test set is ranked, and the minutes of all pieces are added up, start-up, reading and decoding the images and the test
included. Baselines are published numbers, not runs of here: NVIDIA TAO states 1.25 hours for 120 epochs of ResNet-50
on an A100; OSNet's authors report Rank-1 93.6 and mAP 81.0 without ImageNet after 350 epochs.

`bot` is `experiment=strong` to the letter, trained on all identities in bfloat16. Its weights are ImageNet's; without them
`data.weights=null` takes the same time, and its accuracy says nothing. `osnet_scratch` is OSNet x1.0 without any weights.

On a machine without network and with limits of 64 MiB and ten minutes a call, such as one with Python 3.12, torch 2.11,
lightning, timm, torchmetrics, opencv and pandas but neither hydra nor albumentations:

    # Here, once: wheels (8 MB; without wandb, which only logger=wandb loads), and the data in two parts that fit.
    mkdir -p carried/wheels carried/market
    python -m pip wheel --no-deps -w carried/wheels antlr4-python3-runtime==4.9.3        # exists as source only
    python -m pip download --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \\
        --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \\
        -d carried/wheels hydra-core==1.3.8 omegaconf==2.3.1 albumentations==2.0.8 albucore==0.0.24 \\
        stringzilla simsimd pydantic==2.14.3 pydantic-core==2.50.4 annotated-types typing-inspection platformdirs
    tar -C DIR -cf carried/market/train_query.tar bounding_box_train query                # 38 MB
    tar -C DIR --exclude='-1_*' -cf carried/market/gallery.tar bounding_box_test          # 37 MB, junk is never read

    # There, before every call; the second line once with carried/wheels and train_query.tar, once with gallery.tar.
    python3 -m pip install -q --no-index --no-deps --target /tmp/site carried/wheels/*.whl
    mkdir -p /tmp/market; for part in carried/market/*.tar; do tar -C /tmp/market -xf $part; done
    export PYTHONPATH=/tmp/site:$PWD REID_LIGHTNING_CACHE=/tmp/cache
    python3 benchmarks/market.py --recipe osnet_scratch --root /tmp/market --output /tmp/osnet --minutes 9

The folder of `--output` must live as long as the pieces: keep the machine, or carry the folder's last.ckpt along.
"""

import time
from collections.abc import Sequence
from typing import Any

START = time.perf_counter()  # before the imports, which belong to a piece's time

import json  # noqa: E402
from pathlib import Path  # noqa: E402

import hydra  # noqa: E402
import torch  # noqa: E402
from measure import arguments, write_rows  # noqa: E402

from reid_lightning.config.resolve import CONF, plain  # noqa: E402
from reid_lightning.experiments.run import run_job  # noqa: E402
from reid_lightning.files import atomic_path  # noqa: E402

COMMON = [
    "data.validation=none",  # as the papers train; the last weights are tested
    "trainer.precision=bf16-mixed",
    "trainer.log_every_n_steps=50",
    "callbacks.last.every_n_epochs=10",  # a checkpoint of ResNet-50 with Adam is 300 MB, and an epoch 4 seconds
    "+trainer.enable_progress_bar=false",
]
RECIPES = {
    "bot": ["experiment=strong"],
    "osnet_scratch": [
        "experiment=best", "backbone=osnet_x1_0", "classifier=softmax", "pooling=avg", "optimizer=adamw",
        "data.image_size=[256,128]", "sampler.identities=64", "optimizer.lr=2e-3", "optimizer.weight_decay=0.05",
        "scheduler.warmup_epochs=10", "trainer.max_epochs=300",
    ],
}  # fmt: skip
BARS = {"bot": {"minutes": 8.0}, "osnet_scratch": {"minutes": 15.0, "rank1": 0.93, "mAP": 0.80}}
PUBLISHED = {
    "bot": "120 epochs on one A100 in NVIDIA TAO: 75 minutes; BoT's authors: mAP 85.9, Rank-1 94.5",
    "osnet_scratch": "OSNet's authors, 350 epochs without ImageNet: mAP 81.0, Rank-1 93.6",
}


def composed(
    recipe: str, root: Path, output: Path, overrides: Sequence[str], **values: Any
) -> dict[str, Any]:
    """The config of a piece."""
    given = any(override.startswith("data=") for override in overrides)
    data = [] if given else ["data=market1501", f"data.root='{root}'"]
    settings = [f"output_dir='{output}'", *(f"{key}={value}" for key, value in values.items())]
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return plain(hydra.compose("config", [*settings, *data, *COMMON, *RECIPES[recipe], *overrides]))


def epochs_done(output: Path) -> int:
    """Epochs of the folder's checkpoint, 0 without one."""
    file = output / "checkpoints" / "last.ckpt"
    return torch.load(file, map_location="cpu", weights_only=True)["epoch"] + 1 if file.exists() else 0


def train_piece(
    recipe: str,
    root: Path,
    output: Path,
    minutes: float,
    reserve: float,
    overrides: Sequence[str],
    started: float,
) -> tuple[list[dict[str, Any]], dict[str, Any], Any]:
    """Train one piece; return what all pieces took, and the result once the last epoch is trained.

    Args:
        recipe: Name.
        root: Folder of Market-1501.
        output: Folder of the run, which the pieces share.
        minutes: Limit of this piece.
        reserve: Minutes of them kept for the test and its report.
        overrides: Further Hydra overrides.
        started: When the piece began, by `time.perf_counter`.
    """
    file = output / "pieces.json"
    pieces = json.loads(file.read_text()) if file.exists() else []
    first = epochs_done(output)
    # A piece that is killed leaves this: its whole limit counts.
    pieces.append({"from": first, "to": None, "minutes": minutes})
    _write(file, pieces)
    left = minutes - reserve - (time.perf_counter() - started) / 60
    resume = "last" if first else "null"
    config = composed(recipe, root, output, overrides, resume=resume, time_limit=max(left, 0.001))
    result = run_job(config)
    last = epochs_done(output) if result is None else config["trainer"]["max_epochs"]
    pieces[-1] = {"from": first, "to": last, "minutes": (time.perf_counter() - started) / 60}
    _write(file, pieces)
    return pieces, config, result


def _write(file: Path, pieces: list[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(file) as temporary:
        temporary.write_text(json.dumps(pieces, indent=1) + "\n")


def verdict(recipe: str, row: dict[str, Any]) -> str:
    """Say for each bar whether it is reached."""
    parts = []
    for name, bar in BARS[recipe].items():
        reached = row[name] <= bar if name == "minutes" else row[name] >= bar
        parts.append(f"{name} {row[name]:.3g}, bar {bar:g}: {'reached' if reached else 'MISSED'}")
    return "; ".join(parts)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--recipe", choices=RECIPES, required=True)
    parser.add_argument("--root", type=Path, help="folder of Market-1501")
    parser.add_argument(
        "--output", type=Path, required=True, help="folder of the run, the same for all its pieces"
    )
    parser.add_argument("--minutes", type=float, default=9.0, help="limit of this call")
    parser.add_argument("--reserve", type=float, default=1.0, help="minutes of it kept for the test")
    options, overrides = parser.parse_known_args()
    if (options.output / "metrics.json").exists():
        parser.error(f"{options.output} holds a run that is trained and tested; name another --output")
    pieces, config, result = train_piece(
        options.recipe, options.root, options.output.resolve(), options.minutes, options.reserve, overrides, START
    )  # fmt: skip
    minutes, total = sum(piece["minutes"] for piece in pieces), config["trainer"]["max_epochs"]
    row = {
        "recipe": options.recipe, "overrides": overrides, "epochs": pieces[-1]["to"], "of": total, "pieces": pieces,
        "minutes": minutes,
    }  # fmt: skip
    if result is None:
        print(
            f"{row['epochs']} of {total} epochs after {minutes:.1f} minutes in {len(pieces)} pieces; call again to go on"
        )
    else:
        row |= {"mAP": result.test["mAP"], "rank1": result.test["rank1"], "cost": result.cost}
        print(
            f"{options.recipe}: mAP {100 * row['mAP']:.1f}, Rank-1 {100 * row['rank1']:.1f} after {total} epochs in "
            f"{minutes:.1f} minutes ({len(pieces)} pieces), {result.cost['images_per_second']:.0f} images/s while training"
        )
        print(f"{verdict(options.recipe, row)}\npublished: {PUBLISHED[options.recipe]}")
    write_rows(options.json, [row])


if __name__ == "__main__":
    main()
