import pytest
import torch
from lightning import Trainer

from reid_lightning.engine.callbacks.epoch_seed import EpochSeed
from reid_lightning.engine.callbacks.freeze_backbone import FreezeBackbone
from reid_lightning.engine.callbacks.throughput import Throughput
from reid_lightning.engine.callbacks.time_limit import StopAfter
from reid_lightning.errors import DivergedError
from reid_lightning.experiments.factory import build_datamodule, build_module

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore:.*does not have many workers", "ignore:.*LeafSpec", "ignore:.*GPU available"
    ),
]


@pytest.fixture
def fit(compose, tiny):
    """Return a function that trains with callbacks and returns the module before and after, and the trainer."""

    def run(*callbacks, epochs=2, overrides=()):
        config = compose(*tiny, "data.validation=none", *overrides)
        torch.manual_seed(0)
        datamodule = build_datamodule(config)
        datamodule.prepare_data()
        datamodule.setup("fit")
        module = build_module(config, datamodule.num_identities)
        before = {name: value.clone() for name, value in module.network.state_dict().items()}
        trainer = Trainer(
            accelerator="cpu", max_epochs=epochs, callbacks=list(callbacks), logger=False, limit_val_batches=0,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=1,
        )  # fmt: skip
        trainer.fit(module, datamodule)
        return before, module.network.state_dict(), trainer

    return run


def moved(before, after, part):
    return [name for name in before if name.startswith(part) and not torch.equal(before[name], after[name])]


def test_a_held_backbone_stays_as_it_was_and_then_moves(fit):
    before, after, _ = fit(FreezeBackbone(epochs=1), epochs=1)
    assert not moved(before, after, "backbone.")
    assert moved(before, after, "classifier.")
    before, after, _ = fit(FreezeBackbone(epochs=1), epochs=2)
    assert "backbone.body.conv1.weight" in moved(before, after, "backbone.")
    assert "backbone.body.bn1.running_mean" in moved(before, after, "backbone.")


def test_stop_after_ends_early_with_the_schedule_of_the_whole_run(fit):
    _, _, trainer = fit(StopAfter(1), epochs=4)
    assert trainer.current_epoch == 1
    schedule = trainer.lr_scheduler_configs[0].scheduler
    assert schedule.get_last_lr()[0] > 0.5 * schedule.base_lrs[0]


def test_the_seed_of_an_epoch_depends_on_seed_and_epoch(fit):
    class Draws(EpochSeed):
        def __init__(self, seed):
            super().__init__(seed)
            self.drawn = []

        def on_train_epoch_start(self, trainer, pl_module):
            super().on_train_epoch_start(trainer, pl_module)
            self.drawn.append(torch.rand(1).item())

    one, same, other = Draws(1), Draws(1), Draws(2)
    for callback in (one, same, other):
        fit(callback)
    assert one.drawn == same.drawn
    assert len({*one.drawn, *other.drawn}) == 4


def test_cost_counts_the_images_that_were_trained(fit):
    cost = Throughput()
    _, _, trainer = fit(cost)
    assert cost.images == trainer.global_step * 4
    assert cost.images_per_second > 0
    resumed = Throughput()
    resumed.load_state_dict(cost.state_dict())
    assert resumed.images == cost.images
    assert resumed.earlier >= cost.seconds > 0
    resumed.setup(trainer, None, "test")
    resumed.load_state_dict({"images": 1, "seconds": 0.1, "fit_seconds": 0.1})  # of the best epoch
    assert resumed.images == cost.images
    assert resumed.seconds == cost.seconds


def test_a_term_that_is_not_finite_is_named(fit):
    with pytest.raises(DivergedError, match=r"'triplet' became NaN .* step 0"):
        fit(overrides=("loss.triplet.margin=1e39",), epochs=1)
