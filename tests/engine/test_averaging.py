"""Averaged weights: the average itself, and who sees it."""

import warnings

import pytest
import torch
from lightning import LightningModule, Trainer

from reid_lightning.engine.callbacks.ema import EMA
from reid_lightning.experiments.evaluate import evaluate
from reid_lightning.experiments.run import run_job


def test_the_average_is_the_recursion_written_out():
    callback, generator = EMA(decay=0.9), torch.Generator().manual_seed(0)
    steps = [torch.randn(5, generator=generator, dtype=torch.float64) for _ in range(200)]
    average, chosen = steps[0].clone(), torch.tensor([7])
    for count, weights in enumerate(steps[1:], start=1):
        callback._latest_update_step = count
        callback._update([average], [weights])
        callback._update([chosen], [torch.tensor([-count])])
    assert chosen.tolist() == [-199]
    expected = steps[0]
    for count, weights in enumerate(steps[1:], start=1):
        decay = (1 + count) / (10 + count) if count < 80 else 0.9  # (1 + 80) / (10 + 80) = 0.9
        expected = decay * expected + (1 - decay) * weights
    torch.testing.assert_close(average, expected)
    with pytest.raises(ValueError, match=r"^decay must .* got 1.0"):
        EMA(decay=1.0)


STOP = "+callbacks.stop={_target_: reid_lightning.engine.callbacks.time_limit.StopAfter, epochs: 2}"


class Line(LightningModule):
    """One weight that grows by one a step."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        self.weight.grad = -torch.ones(1)
        optimizer.step()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)


def test_every_step_counts_once(tmp_path):
    module = Line()
    trainer = Trainer(
        max_epochs=2, accelerator="cpu", callbacks=[EMA(decay=0.5)], logger=False, default_root_dir=tmp_path,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a loader without workers
        trainer.fit(module, torch.utils.data.DataLoader(torch.zeros(10, 1)))
    expected = 1.0  # the first step is copied
    for step in range(1, 20):
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * (step + 1)
    assert module.weight.item() == pytest.approx(expected)


@pytest.mark.slow
def test_validation_checkpoint_and_test_see_the_average(compose, brief, tmp_path):
    length = (*brief, "backbone=osnet_x0_25", "callbacks=average", "trainer.max_epochs=3")
    result = run_job(compose(*length))
    folder = tmp_path / "run" / "checkpoints"
    checkpoint = torch.load(folder / "best.ckpt", weights_only=True)
    average, current = checkpoint["state_dict"], checkpoint["current_model_state"]
    assert any(not torch.equal(value, current[name]) for name, value in average.items())
    # Whoever reads the file gets the average; validation and test have seen the same.
    assert evaluate(folder / "best.ckpt", tmp_path / "again").test == pytest.approx(result.test)


@pytest.mark.slow
def test_a_resumed_run_goes_on_with_the_same_average(compose, brief, tmp_path):
    length = (*brief, "backbone=osnet_x0_25", "callbacks=average", "trainer.max_epochs=4")
    whole = run_job(compose(*length, output_dir=tmp_path / "whole"))
    run_job(compose(*length, STOP, output_dir=tmp_path / "parts"))
    resumed = run_job(compose(*length, "resume=last", output_dir=tmp_path / "parts"))
    files = [tmp_path / name / "checkpoints" / "last.ckpt" for name in ("whole", "parts")]
    states = [torch.load(file, weights_only=True) for file in files]
    for part in ("state_dict", "current_model_state"):
        for name, value in states[0][part].items():
            torch.testing.assert_close(states[1][part][name], value, rtol=0, atol=1e-6)
    assert resumed.test == pytest.approx(whole.test)
