"""An untrained network in a checkpoint such as a run leaves."""

from pathlib import Path

import torch

from reid_lightning.engine.module import CHECKPOINT_KEY
from reid_lightning.experiments.compose import compose
from reid_lightning.experiments.factory import build_module

SETTINGS = ("data.image_size=[32,16]", "data.num_workers=0", "trainer.accelerator=cpu")


def write_small_checkpoint(path: Path, *overrides: str, seed: int = 0) -> Path:
    """Write the checkpoint; other seeds give other weights."""
    torch.manual_seed(seed)
    config = compose([*SETTINGS, *overrides], path.parent)
    module = build_module(config, 3, {"a": 0, "b": 1, "c": 2})
    entry = {"version": "0", "config": config, "identity_labels": module.identity_labels}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": module.state_dict(), CHECKPOINT_KEY: entry}, path)
    return path
