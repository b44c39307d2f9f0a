"""HiQo's experiments: what they build, and that contrast is stretched wherever images are evaluated.

What they compose to is in tests/golden/.
"""

import numpy as np
import pytest
import torch

from reid_lightning.config.resolve import instantiate
from reid_lightning.data.camera_augmentation import rescale_intensity
from reid_lightning.engine.schedules import ExponentialSchedule
from reid_lightning.experiments.checks import check_run
from reid_lightning.experiments.evaluate import evaluate
from reid_lightning.experiments.factory import build_datamodule, build_module
from reid_lightning.experiments.run import run_job
from reid_lightning.inference.embed import Embedder

FACES = (
    "data.sources.faces.train_identities=10",
    "data.sources.faces.test_identities=6",
    "data.sources.faces.image_size=32",
    "data.image_size=[32,32]",
    "data.validation=0.3",
    "data.weights=null",
    "sampler.identities=2",
    "sampler.images_per_identity=2",
    "trainer.accelerator=cpu",
)


@pytest.mark.parametrize(
    ("name", "channels", "embedding"),
    [("body", 2048, 128), ("body_mobilenet", 1024, 64), ("face", 2048, 128)],
)
def test_the_systems_are_the_reports(compose, name, channels, embedding):
    config = compose(f"experiment=hiqo/{name}", "data.weights=null")
    check_run(config)
    assert config["sampler"]["images_per_identity"] == 4  # the default's too, as are the body's data
    assert list(config["data"]["sources"]) == ["faces" if name == "face" else "pedestrians"]
    module = build_module(config, num_identities=20)
    network = module.network
    assert network.backbone.out_channels == channels
    assert network.embedding_size == embedding
    assert network.classifier is None
    triplet = module.objective.losses["triplet"]
    assert (triplet.soft_margin, triplet.squared, triplet.normalize) == (True, False, False)
    assert type(module.objective.miner).__name__ == "BatchHardMiner"
    assert (module.protocol.normalize, module.protocol.distance) == (False, "euclidean")
    groups = module._optimizer(network, module.objective).param_groups
    assert {group["weight_decay"] for group in groups} == {0.0}
    assert {group["lr"] for group in groups} == {3e-4}
    schedule, epochs = instantiate(config["scheduler"]), config["trainer"]["max_epochs"]
    # Hermans et al.: constant up to step 15,000 of 25,000, a thousandth at the end.
    places = [schedule.multiplier(share * epochs, epochs) for share in (0, 0.6, 0.8, 1)]
    assert places == pytest.approx([1, 1, 0.001**0.5, 0.001])


def test_the_other_optimizer_brings_its_own_rate(compose):
    config = compose("experiment=hiqo/body", "optimizer=sgd")["optimizer"]
    assert config["optimizer"]["_target_"] == "torch.optim.SGD"
    assert config["optimizer"]["momentum"] == 0.9
    assert config["lr"] == compose("optimizer=sgd")["optimizer"]["lr"]


def test_several_tables_train_together(compose):
    roots = ("data.sources.market1501.root=a", "data.sources.identity_folder.root=b")
    config = compose("experiment=hiqo/body", "data=[market1501,identity_folder]", *roots)
    assert set(config["data"]["sources"]) == {"market1501", "identity_folder"}
    assert config["data"]["image_size"] == [256, 128]
    assert set(build_datamodule(config).sources) == {"market1501", "identity_folder"}


@pytest.mark.parametrize(("optimizer", "named", "lr"), [("adam", "Adam", 1e-3), ("sgd", "SGD", 0.05)])
@pytest.mark.parametrize("embedding", [64, 128])
def test_the_table_compares_what_it_names(compose, optimizer, named, lr, embedding):
    choices = (f"experiment/hiqo/optimizer={optimizer}", f"neck.embedding_size={embedding}")
    config = compose("experiment=hiqo/table", *choices)
    check_run(config)
    module = build_module(config, num_identities=20)
    made = module._optimizer(module.network, module.objective)
    assert type(made).__name__ == named
    assert {(group["lr"], group["weight_decay"]) for group in made.param_groups} == {(lr, 0.0)}
    assert module.network.embedding_size == embedding
    assert module.objective.losses["triplet"].soft_margin


@pytest.mark.parametrize("settings", [{"start": 1.0}, {"start": -0.1}, {"final_factor": 0.0}])
def test_a_decay_out_of_range_is_named(settings):
    with pytest.raises(ValueError, match=f"^{next(iter(settings))} must be in"):
        ExponentialSchedule(**settings)


def test_images_are_rescaled_wherever_they_are_evaluated(compose):
    plain, stretched = (
        build_datamodule(compose("data=faces", *FACES, "augmentation=none", f"test_transform={choice}"))
        for choice in ("none", "rescale")
    )
    for data in (plain, stretched):
        data.prepare_data()
        data.setup()
    for loader in ("val_dataloader", "test_dataloader", "train_images_dataloader"):
        before, after = next(iter(getattr(plain, loader)())), next(iter(getattr(stretched, loader)()))
        assert torch.equal(before["index"], after["index"])
        for image, wanted in zip(before["images"][:4], after["images"][:4], strict=True):
            by_hand = rescale_intensity(image.permute(1, 2, 0).numpy(), 1, 99)
            assert not np.array_equal(by_hand, image.permute(1, 2, 0).numpy())
            np.testing.assert_array_equal(wanted.permute(1, 2, 0).numpy(), by_hand)
    batch = next(iter(stretched.train_dataloader()))
    originals = plain.images_of(batch["index"].tolist())
    assert torch.equal(batch["images"], originals)  # training has its own augmentation


@pytest.mark.slow
@pytest.mark.parametrize(
    "choice",
    [
        ("data=faces",),
        ("experiment=hiqo/face", "backbone=resnet10"),
        (
            "experiment=hiqo/body",
            "backbone=resnet10",
            "data=[pedestrians,faces]",
            "data.sources.pedestrians.train_identities=10",
            "data.sources.pedestrians.test_identities=6",
        ),
    ],
)
def test_faces_train_and_are_ranked(compose, choice):
    result = run_job(compose(*choice, *FACES, "trainer.fast_dev_run=2"))
    assert 0 < result.test["mAP"] <= 1
    assert result.test["queries_without_match"] == 0


@pytest.mark.slow
def test_a_checkpoint_keeps_its_rescaling_and_another_choice_changes_the_ranking(compose, tmp_path):
    config = compose("data=faces", *FACES, "trainer.max_epochs=2", "test_transform=rescale")
    trained = run_job(config)
    checkpoint = tmp_path / "run" / "checkpoints" / "best.ckpt"
    kept = evaluate(checkpoint, tmp_path / "kept")
    assert kept.test["mAP"] == pytest.approx(trained.test["mAP"], abs=1e-6)
    # Another data set replaces the whole group `data`, and the transform stays.
    again = evaluate(checkpoint, tmp_path / "again", ["data=faces", *FACES[:4]])
    assert again.test["mAP"] == pytest.approx(trained.test["mAP"], abs=1e-6)
    embedder, plain_embedder = Embedder(checkpoint), Embedder(checkpoint, ["test_transform=none"])
    data = build_datamodule(config)
    data.setup()
    paths = data.table["path"].tolist()[:3]
    with torch.no_grad():
        expected = embedder.model.module.embed(data.images_of([0, 1, 2]))
    torch.testing.assert_close(embedder(paths), expected)
    assert not torch.allclose(plain_embedder(paths), expected, atol=1e-3)
    assert embedder.mark != plain_embedder.mark  # vectors that may not be compared
    plain = evaluate(checkpoint, tmp_path / "plain", ["test_transform=none"])
    assert plain.test["mAP"] != pytest.approx(trained.test["mAP"], abs=1e-4)
