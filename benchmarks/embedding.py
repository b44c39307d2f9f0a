"""Vectors a second beside the bare forward pass: `python benchmarks/embedding.py [overrides]`.

The baseline is the network alone, on batches that lie ready in memory. Beside it in the same run, in turns: `Model.embed` on
images that are decoded and of the model's size (a warm cache), on image files, on a generator of frames with boxes, and
decoding alone. Images are of noise, JPEG of 128 x 64 pixels, as a person's box is. `--join N` measures instead the highest
memory while N vectors of 512 numbers are joined into one file, as `reid embed` does at its end; a second number with half of
them shows whether it grows.
"""

import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from measure import arguments, peak_mebibytes, seconds_in_turns, write_rows

from reid_lightning.data.decoding import decode_image
from reid_lightning.engine.checkpoint_entry import CHECKPOINT_KEY
from reid_lightning.experiments.compose import compose
from reid_lightning.experiments.factory import build_module
from reid_lightning.inference.embedding.parts import CHUNK, Parts
from reid_lightning.inference.embedding.writers import WRITERS
from reid_lightning.inference.load import load
from reid_lightning.inference.model import Model

BAR = 0.95  # of the bare forward pass, from a warm cache
WIDTH = 512


def untrained(folder: Path, overrides: list[str]) -> Model:
    """Return an untrained model at 256 x 128, loaded as a trained one is."""
    torch.manual_seed(0)
    config = compose(["data.image_size=[256,128]", *overrides], folder)
    module = build_module(config, 3, {"a": 0, "b": 1, "c": 2})
    entry = {"version": "0", "config": config, "identity_labels": module.identity_labels}
    torch.save({"state_dict": module.state_dict(), CHECKPOINT_KEY: entry}, folder / "model.ckpt")
    return load(folder / "model.ckpt")


def write_images(folder: Path, count: int) -> list[str]:
    """Write images of smooth noise."""
    noise, paths = np.random.default_rng(0), []
    for number in range(count):
        coarse = noise.integers(0, 256, (16, 8, 3), dtype=np.uint8)
        paths.append(str(folder / f"{number:05}.jpg"))
        cv2.imwrite(paths[-1], cv2.resize(coarse, (64, 128)))
    return paths


def rates(model: Model, paths: list[str], batch: int, repeats: int) -> list[dict[str, Any]]:
    """Return a row for each way to embed the same images."""
    model.batch_size = batch
    pixels = [decode_image(path, model.image_size, model.preprocessing.interpolation) for path in paths]
    ready = [
        torch.from_numpy(np.stack(pixels[start : start + batch])).permute(0, 3, 1, 2)
        for start in range(0, len(pixels), batch)
    ]
    frames = [np.concatenate(pixels[start : start + 8], axis=1) for start in range(0, len(pixels), 8)]
    height, width = model.image_size
    boxes = np.array([[width * k, 0, width * (k + 1), height] for k in range(8)])

    @torch.no_grad()
    def bare() -> torch.Tensor:
        return torch.cat([model.module.embed(one.to(model.device)).float().cpu() for one in ready])

    def decode() -> None:
        for path in paths:
            decode_image(path, model.image_size, model.preprocessing.interpolation)

    ways = {
        "bare forward": bare,
        "arrays (a warm cache)": lambda: model.embed(pixels),
        "files": lambda: model.embed(paths),
        "frames with 8 boxes": lambda: [model.embed(frame, boxes) for frame in frames],
        "decoding alone, one thread": decode,
    }
    for way in ways.values():
        way()
    taken = dict(zip(ways, seconds_in_turns(list(ways.values()), repeats=repeats), strict=True))
    rows = []
    for name, seconds in taken.items():
        shares = [own / one for one, own in zip(seconds, taken["bare forward"], strict=True)]
        row = {
            "what": name,
            "batch": batch,
            "images_per_second": len(paths) / statistics.median(seconds),
            "share": statistics.median(shares),
            "lowest": min(shares),
            "highest": max(shares),
        }
        rows.append(row)
        print(
            f"{name:28} {row['images_per_second']:8.0f} images/s, {row['share']:.3f} of the bare forward "
            f"({row['lowest']:.3f} to {row['highest']:.3f})",
            flush=True,
        )
    print(f"bar for a warm cache: {BAR}")
    return rows


def join(folder: Path, count: int, ending: str) -> dict[str, Any]:
    """Return the highest memory while so many vectors become one file."""
    output = folder / f"v{count}{ending}"
    parts = Parts(output, count)
    parts.begin({})
    noise = np.random.default_rng(0).standard_normal((CHUNK, WIDTH), dtype=np.float32)
    for chunk in range(len(parts)):
        rows = parts.rows(chunk)
        parts.write(chunk, noise[: rows.stop - rows.start], {})
    table = pd.DataFrame({"path": [f"images/{number:08}.jpg" for number in range(count)]})
    facts = {"distance": "cosine"}
    memory = peak_mebibytes(
        lambda: WRITERS[ending](
            output, table, (each for _, each in parts.vectors({}, WIDTH, "float32")), WIDTH, "float32", facts
        )
    )
    size = output.stat().st_size / 2**20
    print(f"{ending}: {count:,} vectors, {size:,.0f} MiB, joined with {memory:,.0f} MiB", flush=True)
    parts.remove()
    output.unlink()
    return {"what": f"join {ending}", "vectors": count, "file_mebibytes": size, "memory_mebibytes": memory}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--join", type=int, metavar="N", help="measure the memory of joining N vectors instead"
    )
    options, overrides = parser.parse_known_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.join:
            rows = [
                join(folder, count, ending)
                for ending in (".npz", ".parquet")
                for count in (options.join // 2, options.join)
            ]
        else:
            model = untrained(folder, overrides)
            print(f"{json.dumps(model.config['backbone'])}, {model.device}, {options.threads} threads")
            rows = rates(model, write_images(folder, options.images), options.batch, options.repeats)
    write_rows(options.json, rows)


if __name__ == "__main__":
    main()
