"""An untrained network in a checkpoint, and images of people who exist nowhere."""

from pathlib import Path

import cv2
import numpy as np
import torch

from reid_lightning.engine.module import CHECKPOINT_KEY
from reid_lightning.experiments.compose import compose
from reid_lightning.experiments.factory import build_module

SETTINGS = ("data.image_size=[32,16]", "data.num_workers=0", "trainer.accelerator=cpu", "backbone=resnet18")


def write_checkpoint(path: Path) -> Path:
    """Write a checkpoint such as a run leaves."""
    torch.manual_seed(0)
    config = compose(SETTINGS, path.parent)
    module = build_module(config, 3, {"a": 0, "b": 1, "c": 2})
    entry = {"version": "0", "config": config, "identity_labels": module.identity_labels}
    torch.save({"state_dict": module.state_dict(), CHECKPOINT_KEY: entry}, path)
    return path


def write_person(folder: Path, seed: int, images: int = 2) -> Path:
    """Write images of noise into a person's folder, other ones for every seed."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for number in range(images):
        pixels = random.integers(0, 255, (32, 16, 3), np.uint8)
        (folder / f"{number}.png").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    return folder
