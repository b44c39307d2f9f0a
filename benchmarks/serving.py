"""A served gallery under load: requests at twenty at a time, with batches and without, beside one request at a time.

Every server answers in turns, a part of the requests each, so that a busy machine slows all alike. A request uploads a
picture that the gallery holds, and its own image must come first: an answer that is lost or mixed up ends the benchmark.

python benchmarks/serving.py                                   # an untrained network of the default config
python benchmarks/serving.py --model CKPT --requests 1000 --at-once 20
"""

import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import local
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from measure import arguments, write_rows

import reid_lightning
from reid_lightning import Gallery
from reid_lightning.inference.model import Model

OTHERS, PICTURES, ROUNDS = 16_384, 200, 5
BOUNDARY = "a-boundary-of-this-benchmark"
BASELINE = "one at a time"


def untrained(path: Path) -> Path:
    """Write a checkpoint of the default config's network."""
    from reid_lightning.engine.checkpoint_entry import CHECKPOINT_KEY
    from reid_lightning.experiments.compose import compose
    from reid_lightning.experiments.factory import build_module

    config = compose(["trainer.accelerator=cpu", "backbone.weights=null"], path.parent)
    module = build_module(config, 3, {"a": 0, "b": 1, "c": 2})
    entry = {"version": "0", "config": config, "identity_labels": module.identity_labels}
    torch.save({"state_dict": module.state_dict(), CHECKPOINT_KEY: entry}, path)
    return path


def bodies(count: int) -> list[bytes]:
    """Return pictures of 128 x 64 as JPEG: blocks of random colors."""
    random = np.random.default_rng(0)
    made = []
    for _ in range(count):
        blocks = random.integers(0, 256, (16, 8, 3), np.uint8)
        made.append(cv2.imencode(".jpg", cv2.resize(blocks, (64, 128)))[1].tobytes())
    return made


def filled(folder: Path, model: Model, pictures: list[bytes]) -> None:
    """Make a gallery of the pictures, whose ids are 0, 1, ..., and of many random vectors."""
    gallery = Gallery.for_model(folder, model)
    vectors = model.embed(pictures).numpy()
    gallery.add(vectors, pd.DataFrame({"person_id": [f"p{number}" for number in range(len(pictures))]}))
    others = np.random.default_rng(1).normal(size=(OTHERS, vectors.shape[1])).astype(np.float32)
    others *= np.linalg.norm(vectors, axis=1).mean() / np.linalg.norm(others, axis=1, keepdims=True)
    gallery.add(others, pd.DataFrame({"person_id": np.arange(OTHERS).astype(str)}))
    gallery.compact()


def started(stack: ExitStack, gallery: Path, model: Path, *options: str | int) -> int:
    """Start a server, and return its port."""
    words = ("serve", gallery, "--model", model, "--port", 0, "--per-minute", 0, *options)
    process = subprocess.Popen(
        [sys.executable, "-m", "reid_lightning.cli", *map(str, words)], stderr=subprocess.PIPE, text=True
    )
    stack.callback(process.wait)
    stack.callback(process.terminate)
    assert process.stderr is not None
    said = process.stderr.readline()
    found = re.search(r":(\d+) ", said)
    assert found, said + process.stderr.read()
    return int(found[1])


class Clients:
    """Clients of a server, each with a connection that it keeps."""

    def __init__(self, port: int, pictures: list[bytes], at_once: int) -> None:
        self.port, self.pictures, self.own = port, pictures, local()
        self.pool = ThreadPoolExecutor(at_once)

    def ask(self, number: int) -> float:
        """Return the seconds until the right answer."""
        if not hasattr(self.own, "connection"):
            self.own.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        which = number % len(self.pictures)
        body = (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="picture"; filename="a"\r\n\r\n'.encode()
            + self.pictures[which]
            + f"\r\n--{BOUNDARY}--\r\n".encode()
        )
        start = time.perf_counter()
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        self.own.connection.request("POST", "/search", body, headers)
        answer = self.own.connection.getresponse()
        content = json.loads(answer.read())
        taken = time.perf_counter() - start
        assert answer.status == 200, content
        assert content["found"][0]["id"] == which, "an answer is of another request"
        return taken

    def ask_all(self, numbers: Iterable[int]) -> tuple[list[float], float]:
        """Return the seconds of each request, and of all together."""
        start = time.perf_counter()
        taken = list(self.pool.map(self.ask, numbers))
        return taken, time.perf_counter() - start


def measured(cases: dict[str, tuple[int, int]], pictures: list[bytes], requests: int) -> list[dict[str, Any]]:
    """Ask every server in turns, and return a row for each."""
    taken: dict[str, list[float]] = {name: [] for name in cases}
    whole = dict.fromkeys(cases, 0.0)
    clients = {name: Clients(port, pictures, at_once) for name, (port, at_once) in cases.items()}
    for each in clients.values():
        each.ask_all(range(2 * len(pictures) // 10))  # connections, and what is built at first
    for part in np.array_split(np.arange(requests), ROUNDS):
        for name, each in clients.items():
            seconds, together = each.ask_all(part.tolist())
            taken[name] += seconds
            whole[name] += together
    return [
        {
            "case": name,
            "answered": len(seconds),
            "per_second": len(seconds) / whole[name],
            "times_baseline": whole[BASELINE] / whole[name],
            "median_ms": 1e3 * statistics.median(seconds),
            "p99_ms": 1e3 * float(np.quantile(seconds, 0.99)),
        }
        for name, seconds in taken.items()
    ]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", type=Path, help="a checkpoint; default: an untrained network")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=20)
    options = parser.parse_args()
    os.environ.pop("REID_TOKEN", None)
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        checkpoint = options.model or untrained(folder / "model.ckpt")
        model, pictures = reid_lightning.load(checkpoint), bodies(PICTURES)
        filled(folder / "gallery", model, pictures)
        batches = started(stack, folder / "gallery", checkpoint)
        single = started(stack, folder / "gallery", checkpoint, "--batch", 1, "--wait", 0)
        crowd = f"{options.at_once} at a time"
        cases = {
            f"{crowd}, in batches": (batches, options.at_once),
            f"{crowd}, --batch 1": (single, options.at_once),
            BASELINE: (single, 1),
        }
        rows = measured(cases, pictures, options.requests)
    print(f"{options.requests:,} searches among {OTHERS + PICTURES:,} images; baseline: {BASELINE}")
    print(f"{'':28} answered  per second  x baseline  median ms  99 % ms")
    for row in rows:
        print(
            f"{row['case']:28} {row['answered']:8,} {row['per_second']:11.1f} {row['times_baseline']:11.2f} "
            f"{row['median_ms']:10.1f} {row['p99_ms']:8.1f}"
        )
    write_rows(options.json, rows)


if __name__ == "__main__":
    main()
