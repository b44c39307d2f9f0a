"""A gallery of random pictures with an untrained model, behind the application that `reid serve` runs."""

import io
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from forked import Started
from helpers import start_forked
from PIL import Image
from starlette.testclient import TestClient
from untrained import write_small_checkpoint

import reid_lightning
from reid_lightning import Gallery, Model
from reid_lightning.inference.serve.app import create_app
from reid_lightning.inference.serve.service import Service
from reid_lightning.inference.serve.settings import Settings

LOCAL = "http://127.0.0.1:8000"
PEOPLE = ("Ada", "Bo", "Zoë")


def pixels(seed: int, size: tuple[int, int] = (32, 16)) -> np.ndarray:
    """Return a random picture, (H, W, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def png(seed: int, size: tuple[int, int] = (32, 16)) -> bytes:
    """Return the same as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels(seed, size)).save(file, "PNG")
    return file.getvalue()


def small_model(folder: Path, *overrides: str) -> Model:
    """Return an untrained model."""
    return reid_lightning.load(write_small_checkpoint(folder / "model.ckpt", *overrides))


def filled_gallery(folder: Path, model: Model, images: int = 12) -> Gallery:
    """Return a gallery of random pictures, seeds 0, 1, ..., of three people in turn; every fourth image is of nobody."""
    paths = []
    for seed in range(images):
        path = folder.parent / f"{folder.name}-images" / f"{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(seed))
        paths.append(str(path))
    vectors, looks = model.embed_with_attributes(paths)
    table = pd.DataFrame(
        {
            "path": paths,
            "person_id": [None if seed % 4 == 3 else PEOPLE[seed % 3] for seed in range(images)],
            "camera_id": [f"c{seed % 2}" for seed in range(images)],
            "height": [1.5 + seed / 100 for seed in range(images)],
        }
    )
    if looks is not None:
        table["attribute_probabilities"] = list(looks.numpy())
    gallery = Gallery.for_model(folder, model)
    gallery.add(vectors, table)
    return gallery


@contextmanager
def client(model: Model, gallery: Path, **settings: object) -> Iterator[TestClient]:
    """Yield a client of a server within this process, which is stopped at the end."""
    app = create_app(Service(model, gallery, Settings(**settings)))  # type: ignore[arg-type]
    with TestClient(app, base_url=LOCAL, raise_server_exceptions=False) as opened:
        yield opened


@dataclass
class Server:
    """`reid serve` in a process of its own."""

    process: Started
    url: str

    def end(self, number: int = signal.SIGTERM, seconds: float = 60) -> int:
        """Send a signal, and return the exit status."""
        self.process.signal(number)
        return self.process.wait(seconds).code


@contextmanager
def server(gallery: Path, checkpoint: Path, *options: object) -> Iterator[Server]:
    """Start `reid serve` at a free port, and yield it once it listens; what is left of it at the end is killed."""
    process = start_forked("reid", "serve", gallery, "--model", checkpoint, "--port", 0, *options)
    try:
        process.until(lambda: "\n" in process.err)
        found = re.search(r"http://\S+", process.err)
        assert found, process.err
        yield Server(process, found[0])
    finally:
        process.kill()
