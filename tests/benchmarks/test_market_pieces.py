"""Training in pieces: each ends in time with a checkpoint, and together they train what one run would."""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore:.*does not have many workers", "ignore:.*LeafSpec", "ignore:.*GPU available"
    ),
]


@pytest.fixture
def market(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import market

    yield market
    sys.modules.pop("market")


def call(market, monkeypatch, *arguments):
    """Run the script in this process."""
    monkeypatch.setattr(market, "START", market.time.perf_counter())
    monkeypatch.setattr(sys, "argv", ["market.py", *map(str, arguments)])
    market.main()


def weights(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.parametrize("recipe", ["bot", "osnet_scratch"])
def test_pieces_of_an_epoch_train_what_one_run_does(market, monkeypatch, tiny, tmp_path, capsys, recipe):
    small = [
        *(override for override in tiny if "enable_progress_bar" not in override and "validation" not in override),
        "data=pedestrians", "data.weights=null", "backbone=resnet10", "trainer.max_epochs=3",
        "trainer.precision=32-true",
        "callbacks.last.every_n_epochs=3", "trainer.log_every_n_steps=1", "frozen_epochs=0",
    ]  # fmt: skip
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    call(market, monkeypatch, "--recipe", recipe, "--output", whole, "--minutes", 5, *small)
    for piece in range(3):
        file = tmp_path / f"{piece}.json"
        arguments = (
            "--recipe",
            recipe,
            "--output",
            parts,
            "--minutes",
            0.001,
            "--reserve",
            0,
            "--json",
            file,
        )
        call(market, monkeypatch, *arguments, *small)
        row = json.loads(file.read_text())["rows"][0]
        assert row["epochs"] == piece + 1
        assert ("mAP" in row) == (piece == 2)
    assert [(piece["from"], piece["to"]) for piece in row["pieces"]] == [(0, 1), (1, 2), (2, 3)]
    assert row["minutes"] == pytest.approx(sum(piece["minutes"] for piece in row["pieces"]))
    for name, value in weights(whole).items():
        torch.testing.assert_close(value, weights(parts)[name], rtol=0, atol=1e-6, msg=name)
    logged = [
        pd.read_csv(folder / "metrics.csv")[["epoch", "step", "train/loss"]] for folder in (whole, parts)
    ]
    pd.testing.assert_frame_equal(*logged)
    said = capsys.readouterr().out
    assert "1 of 3 epochs" in said
    assert ("mAP" in said.splitlines()[-2]) == ("MISSED" in said) == (recipe == "osnet_scratch")
    with pytest.raises(SystemExit):  # a finished folder is never trained over
        call(market, monkeypatch, *arguments, *small)


def test_a_piece_that_was_killed_counts_with_its_limit(market, monkeypatch, tmp_path):
    def killed(config):
        raise KeyboardInterrupt

    monkeypatch.setattr(market, "run_job", killed)
    with pytest.raises(KeyboardInterrupt):
        market.train_piece("bot", tmp_path, tmp_path / "run", 9.0, 1.0, ["data.weights=null"], 0.0)
    pieces = json.loads((tmp_path / "run" / "pieces.json").read_text())
    assert pieces == [{"from": 0, "to": None, "minutes": 9.0}]
