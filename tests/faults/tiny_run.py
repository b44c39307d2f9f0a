"""The run that faults are tried on: a second of training, all that a run leaves."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd
import torch

TINY = (
    "data.sources.pedestrians.train_identities=8",
    "data.sources.pedestrians.test_identities=4",
    "data.image_size=[32,16]",
    "data.num_workers=0",
    "data.validation=0.3",
    "sampler.identities=4",
    "sampler.images_per_identity=4",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=1",
    "+trainer.enable_progress_bar=false",
)
LEFT = (
    "config.yaml",
    "metrics.csv",
    "metrics.json",
    "queries.csv",
    "report.html",
    "cmc.png",
    "ranked_lists.png",
)


def numbers(folder: Path) -> dict[str, Any]:
    """Return all numbers of a finished run but the time that it took: equal means equal to the digit."""
    metrics = json.loads((folder / "metrics.json").read_text())
    del metrics["cost"]
    logged = pd.read_csv(folder / "metrics.csv").drop(columns="train/images_per_second")
    logged = logged.dropna(how="all", subset=[name for name in logged if name not in ("epoch", "step")])
    weights = {}
    for file in sorted(folder.glob("**/*.ckpt")):
        if file.name == "best.ckpt" or "refit" in file.parts:
            state = torch.load(file, weights_only=True)["state_dict"]
            content = b"".join(value.numpy().tobytes() for value in state.values())
            weights[str(file.relative_to(folder))] = hashlib.sha256(content).hexdigest()
    return {"metrics": metrics, "logged": logged.to_csv(index=False), "weights": weights}


def ended_whole(folder: Path, brief: bool = False) -> None:
    """Assert that a run has left everything that it promises and nothing half written.

    A brief page has its curves as charts, and no pictures of them are drawn.
    """
    for name in set(LEFT) - ({"cmc.png"} if brief else set()):
        assert (folder / name).stat().st_size > 0, name
    assert json.loads((folder / "run.json").read_text())["finished"]
    assert not list(folder.glob("**/*.part*"))
