"""The multi-depth descriptor through a run: explored, saved, evaluated, drawn."""

import pytest
import torch
import yaml
from helpers import train

from reid_lightning.errors import InputError
from reid_lightning.experiments.checks import check_run
from reid_lightning.experiments.evaluate import evaluate, load_module
from reid_lightning.experiments.factory import build_datamodule
from reid_lightning.experiments.run import run_job
from reid_lightning.systems.multi_depth.filter_selection import ExploreFilters

SETTINGS = (
    "descriptor=multi_depth",
    "backbone=osnet_x0_25",
    "loss=none",
    "miner=none",
    "descriptor.box=5",
    "callbacks.explore.triples=16",
    "callbacks.explore.batch_size=4",
)
FILTERS = "network.descriptor.filters"


def saved(folder, name="best"):
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]


def test_settings_that_do_not_go_together_are_refused(compose):
    with pytest.raises(
        InputError, match=r"feature=descriptor reads the descriptor .* choose descriptor=multi_depth"
    ):
        check_run(compose("evaluation.feature=descriptor"))
    with pytest.raises(ValueError, match=r"^triples must be >= 1, got 0"):
        ExploreFilters(triples=0)


def test_the_triplets_to_explore_are_always_the_same_and_not_augmented(compose, tiny):
    datamodule = build_datamodule(compose(*tiny, "augmentation=strong"))
    datamodule.prepare_data()
    datamodule.setup("fit")
    first, again = (next(iter(datamodule.train_triplets_dataloader(4))) for _ in range(2))
    assert torch.equal(first["index"], again["index"])
    assert torch.equal(first["images"], datamodule.images_of(first["index"].tolist()))
    query, same, different = first["labels"].unflatten(0, (4, 3)).unbind(1)
    assert torch.equal(query, same)
    assert (query != different).all()


@pytest.mark.slow
def test_a_run_saves_the_filters_of_its_weights(compose, tiny, tmp_path):
    config = compose(*tiny, *SETTINGS, "trainer.max_epochs=2")
    result = run_job(config)
    folder = tmp_path / "run"
    assert "multi-depth descriptor" in result.protocol
    for name in ("filter_maps.png", "filter_thirds.png", "filter_distances.png"):
        assert (folder / name).stat().st_size > 0
    page = (folder / "report.html").read_text()
    assert (
        "16 triples of training images. The chosen filter, which has the largest d_d - d_s, is marked."
        in page
    )
    again = evaluate(folder / "checkpoints" / "best.ckpt", tmp_path / "again")
    assert again.test == pytest.approx(result.test)
    plain = evaluate(
        folder / "checkpoints" / "best.ckpt", tmp_path / "plain", ["evaluation.feature=embedding"]
    )
    assert "after the neck" in plain.protocol
    assert plain.test["mAP"] != result.test["mAP"]

    module, _ = load_module(folder / "checkpoints" / "best.ckpt")
    datamodule = build_datamodule(yaml.safe_load((folder / "config.yaml").read_text()))
    datamodule.prepare_data()
    datamodule.setup("fit")
    network = module.network
    chosen, gains = network.descriptor.filters.clone(), network.descriptor.gains.clone()
    assert (chosen >= 0).all()
    batches = [
        batch["images"] for batch, _ in zip(datamodule.train_triplets_dataloader(4), range(4), strict=False)
    ]
    network.descriptor.explore(network.backbone, [network.normalize(images) for images in batches])
    assert torch.equal(network.descriptor.filters, chosen)
    torch.testing.assert_close(network.descriptor.gains, gains, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_a_resumed_run_explores_as_the_uninterrupted_one(compose, brief, tmp_path):
    length = (*brief, *SETTINGS, "trainer.max_epochs=3")
    stop = "+callbacks.stop={_target_: reid_lightning.engine.callbacks.time_limit.StopAfter, epochs: 1}"
    whole = run_job(compose(*length, output_dir=tmp_path / "whole"))
    run_job(compose(*length, stop, output_dir=tmp_path / "parts"))
    resumed = run_job(compose(*length, "resume=last", output_dir=tmp_path / "parts"))
    assert torch.equal(saved(tmp_path / "whole")[FILTERS], saved(tmp_path / "parts")[FILTERS])
    assert resumed.test == whole.test
    with pytest.raises(InputError, match=r"another one \(descriptor"):
        run_job(
            compose(
                *length[:-1],
                "trainer.max_epochs=5",
                "resume=last",
                "descriptor.box=7",
                output_dir=tmp_path / "parts",
            )
        )


@pytest.mark.slow
def test_without_validation_filters_are_explored_all_the_same(compose, brief, tmp_path):
    config = compose(*brief, *SETTINGS, "trainer.max_epochs=1", "data.validation=null")
    result = run_job(config)
    assert (saved(tmp_path / "run", "last")[FILTERS] >= 0).all()
    again = evaluate(tmp_path / "run" / "checkpoints" / "last.ckpt", tmp_path / "again")
    assert again.test == pytest.approx(result.test)


@pytest.mark.slow
def test_two_processes_choose_the_filters_of_one(compose, brief, tmp_path):
    # No batch statistics or augmentation: what one process and two must agree on.
    pure = (*brief, *SETTINGS[:1], *SETTINGS[2:], "backbone=timm", "backbone.name=test_vit", "neck=linear")
    pure += ("augmentation=none", "optimizer=sgd", "optimizer.lr=0.01", "trainer.max_epochs=1")
    run_job(compose(*pure, output_dir=tmp_path / "one"))
    train(*pure, "trainer=ddp_cpu", "callbacks.explore.batch_size=2", folder=tmp_path / "two")
    one, two = saved(tmp_path / "one"), saved(tmp_path / "two")
    assert torch.equal(one[FILTERS], two[FILTERS])
    gains = FILTERS.replace("filters", "gains")
    torch.testing.assert_close(two[gains], one[gains], rtol=1e-3, atol=1e-4)
