"""The ready W&B workspace: what it shows, without a network."""

import json
import sys

import pytest
from helpers import command

from reid_lightning.errors import InputError
from reid_lightning.sweeps.wandb_workspace import CHOICES


def test_the_workspace_groups_by_choices_and_shows_the_test(tmp_path):
    command("report", "wandb", "--output", tmp_path / "view.json", "--project", "mine")
    written = json.loads((tmp_path / "view.json").read_text())
    assert written["project"] == "mine"
    sections = written["spec"]["section"]["panelBankConfig"]["sections"]
    assert {"Validation", "Choices", "Score and cost", "Test", "Attributes", "Training"} <= {
        part["name"] for part in sections
    }
    text = json.dumps(written)
    for choice in CHOICES:
        assert f"choices.value.{choice}" in text
    for key in (
        "best/val/mAP",
        "test/mAP",
        "cost/parameters",
        "test/query_table",
        "test/camera_pairs",
        "test/cmc_table",
        "attributes/mean_accuracy",
        "val/rank1",
    ):
        assert key in text


def test_without_a_login_or_the_package_it_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "offline")
    with pytest.raises(InputError, match="wandb login"):
        command("report", "wandb")
    monkeypatch.setitem(sys.modules, "wandb_workspaces.workspaces", None)
    with pytest.raises(InputError, match="workspaces"):
        command("report", "wandb", "--output", tmp_path / "view.json")
    assert not (tmp_path / "view.json").exists()
