"""Parity, size and speed of exported files: `python benchmarks/exported.py [--engines ...] [--networks ...]`.

Each network is untrained, at 256 x 128 pixels, with batch statistics that are not those it begins with. Rows are engines:
torch (the baseline), torch.compile, ONNX Runtime, OpenVINO, and both with 8 bits. Engines take turns on one image and on
batches of 32, so that a busy machine slows all of them alike. Parity is 1 - cosine to torch, at worst over 32 images.

`--checkpoint CKPT --table FILE` measures a trained model instead: Rank-1 and mAP of a table with `path`, `person_id`,
`camera_id` and `is_query`, by each engine, with 8 bits calibrated on the table `--calibrate FILE` of other people.
"""

import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from measure import arguments, seconds_in_turns, write_rows
from torch import nn

from reid_lightning.engine.checkpoint_entry import CHECKPOINT_KEY
from reid_lightning.experiments.compose import compose
from reid_lightning.experiments.factory import build_module
from reid_lightning.inference.export.export import export
from reid_lightning.inference.load import load
from reid_lightning.inference.model import Model
from reid_lightning.retrieval.matches import Side
from reid_lightning.retrieval.ranking import rank

NETWORKS = {
    "resnet10": ("backbone=resnet10",),
    "OSNet x1.0": ("backbone=osnet_x1_0",),
    "EfficientNet-Lite0": ("backbone=efficientnet_lite0",),
    "ResNet-50-IBN-a": ("backbone=resnet50_ibn_a",),
    "DINOv3 ViT-S/16": ("backbone=timm", "backbone.name=vit_small_patch16_dinov3", "pooling=token"),
    "Swin-T": ("backbone=timm", "backbone.name=swin_tiny_patch4_window7_224"),
}
FILES = {
    "onnxruntime": ("model.onnx", False),
    "openvino": ("model.xml", False),
    "onnxruntime int8": ("model8.onnx", True),
    "openvino int8": ("model8.xml", True),
}
ENGINES = ("torch", "torch.compile", *FILES)
BATCH = 32


def untrained(folder: Path, overrides: tuple[str, ...]) -> Path:
    """Write the checkpoint of an untrained model."""
    torch.manual_seed(0)
    settings = ["data.image_size=[256,128]", "trainer.accelerator=cpu", *overrides]
    config = compose(settings, folder)
    if "weights" in config["backbone"]:
        config["backbone"]["weights"] = None
    module = build_module(config, 3, {"a": 0, "b": 1, "c": 2})
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 1.5)
    entry = {"version": "0", "config": config, "identity_labels": module.identity_labels}
    torch.save({"state_dict": module.state_dict(), CHECKPOINT_KEY: entry}, folder / "model.ckpt")
    return folder / "model.ckpt"


def write_images(folder: Path, count: int) -> Path:
    """Write images of smooth noise, and a table of them."""
    paths = []
    for number in range(count):
        coarse = np.random.default_rng(number).integers(0, 256, (16, 8, 3), dtype=np.uint8)
        paths.append(str(folder / f"{number:03}.jpg"))
        cv2.imwrite(paths[-1], cv2.resize(coarse, (64, 128)))
    pd.DataFrame({"path": paths}).to_csv(folder / "images.csv", index=False)
    return folder / "images.csv"


def engines_of(
    checkpoint: Path, folder: Path, table: Path, wanted: list[str]
) -> dict[str, tuple[Model, Callable[[Any], Any], float]]:
    """Return the model, what embeds a batch, and the megabytes of the file, for each engine."""
    torch_model = load(checkpoint, device="cpu")
    weights = sum(one.numel() * one.element_size() for one in torch_model.network.state_dict().values()) / 1e6
    found: dict[str, tuple[Model, Callable[[Any], Any], float]] = {}
    for name in wanted:
        if name == "torch":
            found[name] = torch_model, torch_model.engine.embed, weights
        elif name == "torch.compile":
            compiled = torch.compile(torch_model.module.embed, dynamic=False)

            def run(images: Any, compiled: Any = compiled) -> Any:
                with torch.no_grad():
                    return compiled(images)

            found[name] = torch_model, run, weights
        else:
            file, is_int8 = FILES[name]
            written = export(checkpoint, folder / file, int8=table if is_int8 else None, verify=False).path
            size = sum(one.stat().st_size for one in (written, written.with_suffix(".bin")) if one.exists())
            model = load(written)
            found[name] = model, model.engine.embed, size / 1e6
    return found


def measured(
    name: str, overrides: tuple[str, ...], wanted: list[str], seconds: float
) -> list[dict[str, Any]]:
    """Return a row for each engine of a network."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        table = write_images(folder, 64)
        engines = engines_of(untrained(folder, overrides), folder, table, wanted)
        first = next(iter(engines.values()))[0]
        pixels = torch.stack([first.pixels(path) for path in pd.read_csv(table)["path"][:BATCH]])
        many = pixels.contiguous(memory_format=torch.channels_last)
        rows: list[dict[str, Any]] = []
        truth = engines["torch"][1](many).double()
        times = {}
        for count in (1, BATCH):
            batch = many[:count].clone(memory_format=torch.channels_last)
            calls = [lambda run=run, batch=batch: run(batch) for _, run, _ in engines.values()]
            seconds_in_turns(calls, repeats=2)
            taken = seconds_in_turns(calls, seconds)
            times[count] = [statistics.median(one) / count for one in taken]
        for place_, (engine, (_, run, size)) in enumerate(engines.items()):
            apart = 1 - nn.functional.cosine_similarity(truth, run(many).double())
            one, share = times[1], times[BATCH]
            rows.append(
                {
                    "network": name,
                    "engine": engine,
                    "megabytes": size,
                    "milliseconds": 1000 * one[place_],
                    "images_per_second": 1 / share[place_],
                    "faster_1": one[0] / one[place_],
                    "faster_32": share[0] / share[place_],
                    "apart": max(0.0, float(apart.max())),
                }
            )
        return rows


def scores(vectors: torch.Tensor, table: pd.DataFrame, distance: Any) -> tuple[float, float]:
    """Return Rank-1 and mAP of a table's queries in its gallery."""
    people = torch.from_numpy(table["person_id"].to_numpy(np.int64))
    cameras = torch.from_numpy(pd.factorize(table["camera_id"])[0])
    asked = torch.from_numpy(table["is_query"].to_numpy(bool))
    query, gallery = (Side(vectors[rows], people[rows], cameras[rows]) for rows in (asked, ~asked))
    ranking = rank(query, gallery, distance=distance)
    return ranking.cmc(1), ranking.mean_ap


def trained(checkpoint: Path, table: Path, calibrate: Path, wanted: list[str]) -> list[dict[str, Any]]:
    """Return a row for each engine of a trained model."""
    rows = []
    frame = pd.read_csv(table)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, (model, _, size) in engines_of(
            checkpoint, folder, calibrate, [one for one in wanted if one != "torch.compile"]
        ).items():
            rank1, mean = scores(model.embed(frame["path"].tolist()), frame, model.protocol.distance)
            rows.append({"engine": name, "megabytes": size, "rank1": rank1, "mAP": mean})
            print(f"{name:18} {size:7.1f} MB  Rank-1 {100 * rank1:.2f}  mAP {100 * mean:.2f}", flush=True)
    return rows


def main() -> None:
    """Print the tables."""
    parser = arguments(__doc__)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--engines", nargs="+", default=list(ENGINES), choices=list(ENGINES))
    parser.add_argument("--seconds", type=float, default=8.0, help="of the turns of each batch size")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--calibrate", type=Path)
    given = parser.parse_args()
    if given.checkpoint is not None:
        if given.table is None or given.calibrate is None:
            sys.exit("--checkpoint needs --table and --calibrate")
        write_rows(given.json, trained(given.checkpoint, given.table, given.calibrate, given.engines))
        return
    rows: list[dict[str, Any]] = []
    wanted = ["torch", *[name for name in given.engines if name != "torch"]]
    print(
        "network              engine              MB   ms (1)  images/s (32)  faster (1)  faster (32)  1 - cosine"
    )
    for name in given.networks:
        for row in measured(name, NETWORKS[name], wanted, given.seconds):
            rows.append(row)
            print(
                f"{name:20} {row['engine']:17} {row['megabytes']:6.1f} {row['milliseconds']:7.1f} "
                f"{row['images_per_second']:12.0f} {row['faster_1']:11.2f} {row['faster_32']:12.2f}  {row['apart']:.1e}",
                flush=True,
            )
    write_rows(given.json, rows)


if __name__ == "__main__":
    main()
