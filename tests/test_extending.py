"""The package of docs/extending.md, written as the page shows it, is trained, evaluated and called."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from faults.tiny_run import TINY
from helpers import command

from reid_lightning.errors import InputError
from reid_lightning.experiments.compose import compose

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "extending.md").read_text()
BLOCKS = re.findall(r"^```(python|yaml|bash)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [line for kind, code in BLOCKS if kind == "bash" for line in code.splitlines()]
PARTS = (
    "loss",
    "miner",
    "backbone",
    "pooling",
    "neck",
    "data",
    "augmentation",
    "task",
    "report",
    "callbacks",
)
EVERY = (
    "loss=[triplet,mine] miner=easy backbone=plain pooling=mean_and_max neck=layer_norm data=days data.root=my_days "
    "augmentation=gamma task=camera report=[training,first_match] callbacks=counted"
)
"""Settings of a training with each part of the page."""


def write_package(folder: Path) -> None:
    """Write the files of the page, whose first lines name them."""
    for kind, code in BLOCKS:
        if kind != "bash":
            file = folder / code.splitlines()[0].removeprefix("# ")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(code.partition("\n")[2])
    (folder / "my_reid" / "__init__.py").touch()


def write_days(folder: Path) -> None:
    """Write 12 people of one color each, twice in each of two cameras."""
    drawn = np.random.default_rng(1)
    for person in range(12):
        color = drawn.integers(40, 216, 3)
        for camera in ("cam1", "cam2"):
            place = folder / "monday" / camera
            place.mkdir(parents=True, exist_ok=True)
            for number in range(2):
                noisy = (color + drawn.integers(-20, 21, (32, 16, 3))).astype(np.uint8)
                assert cv2.imwrite(str(place / f"p{person:02}_{number}.jpg"), noisy)


def python(*arguments: str) -> str:
    """Run this Python in the package's folder and return what it printed."""
    shown = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=600)
    assert shown.returncode == 0, shown.stderr
    return shown.stdout


@pytest.fixture
def package(tmp_path, monkeypatch):
    write_package(tmp_path)
    write_days(tmp_path / "my_days")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_every_part_of_the_table_has_its_code_and_its_option(package):
    for part in PARTS:
        files = list((package / "my_conf" / part).glob("*.yaml"))
        assert len(files) == 1, part
        said = yaml.safe_load(files[0].read_text())
        assert "my_reid" in str(said), part
        assert any(f"{part}=" in line and files[0].stem in line for line in COMMANDS), part


def test_each_training_of_the_page_is_composed(package):
    trained = [line.split()[4:] for line in COMMANDS if line.startswith("reid train --config-dir my_conf ")]
    assert len(trained) == len(PARTS) + 1
    for overrides in trained:
        searched = f"hydra.searchpath=[{package / 'my_conf'}]"
        assert "my_reid." in str(compose([searched, *overrides], "none"))


def test_a_data_set_of_ones_own_is_looked_at_before_training(package):
    said = command("data", "check", "--config-dir", "my_conf", "data=days", "data.root=my_days")
    assert re.search(r"train +│ +32 │ +8 │ +2 ", said.stdout)
    with pytest.raises(InputError, match=r"there is no folder nowhere; correct --config-dir"):
        command("data", "check", "--config-dir", "nowhere", "data=days", "data.root=my_days")


@pytest.mark.slow
def test_all_parts_train_at_once_and_are_read_where_they_are_trusted(package):
    own = [word for word in TINY if "pedestrians" not in word]
    python(
        "-m",
        "reid_lightning.cli",
        "train",
        "--config-dir",
        "my_conf",
        "hydra.run.dir=run",
        *EVERY.split(),
        *own,
    )
    metrics = json.loads((package / "run" / "metrics.json").read_text())
    within = metrics["first_match"]["within_3"]
    assert 0 < within <= 1
    assert (
        f"First match within 3</dt><dd>{100 * within:.1f}</dd>"
        in (package / "run" / "report.html").read_text()
    )
    logged = pd.read_csv(package / "run" / "metrics.csv")
    assert logged["val/camera/accuracy"].dropna().between(0, 1).all()
    assert logged["steps"].dropna().tolist() == sorted(logged["steps"].dropna().tolist())
    assert {"train/mine", "train/triplet", "train/camera"} <= set(logged)

    checkpoint = "run/checkpoints/best.ckpt"
    weights = torch.load(checkpoint, weights_only=True)["state_dict"]
    convolutions = sum(
        value.numel() for name, value in weights.items() if "network.backbone" in name and value.ndim == 4
    )
    assert convolutions == 9 * (3 * 16 + 16 * 32 + 32 * 64)
    printed = python("-m", "my_reid.commands", "size", checkpoint)
    assert int(printed) >= convolutions
    with pytest.raises(InputError, match=r"my_reid\.backbones\.plain_net at backbone.* pass --trust my_reid"):
        command("evaluate", checkpoint)
    searched = f"hydra.searchpath=[{package / 'my_conf'}]"  # another data set that an own reader reads
    again = ("data=days", "data.root=my_days", "--trust", "my_reid", "--output", "again")
    command("evaluate", checkpoint, searched, *again)
    assert json.loads((package / "again" / "metrics.json").read_text())["test"] == metrics["test"]
