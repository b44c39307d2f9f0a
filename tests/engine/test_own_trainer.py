"""A module in somebody's own Trainer: defaults, loaders of one's own, and what a checkpoint says."""

import math

import pytest
import torch
from lightning import Trainer
from torch.utils.data import DataLoader, IterableDataset

from reid_lightning import InputError, Objective, ReIDModule, ReIDNetwork, load_module
from reid_lightning.config.resolve import instantiate
from reid_lightning.data.datamodule import PK_16_4
from reid_lightning.engine.batch import Batch
from reid_lightning.engine.schedules import Schedule
from reid_lightning.experiments.factory import build_module
from reid_lightning.losses.triplet import TripletLoss
from reid_lightning.models.convolutional_backbones import resnet10
from reid_lightning.systems.identity.task import IdentityTask

pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.* is deprecated"),
]
PEOPLE, SHOTS = 4, 4
EVALUATED = ("images", "person_ids", "camera_ids", "index", "is_query")


def images(fields=("images", "labels")):
    """Return an item for each image of four people whom their color tells apart."""
    rows = []
    generator = torch.Generator().manual_seed(0)
    for number in range(PEOPLE * SHOTS):
        person, shot = divmod(number, SHOTS)
        picture = torch.full((3, 16, 8), person / PEOPLE) + 0.01 * torch.rand(3, 16, 8, generator=generator)
        rows.append(
            {"images": picture, "labels": person, "person_ids": person, "camera_ids": shot, "index": number,
             "is_query": shot == 0}
        )  # fmt: skip
    return [{name: row[name] for name in fields} for row in rows]


def loader(fields=("images", "labels"), batch_size=8):
    return DataLoader(images(fields), batch_size=batch_size)


def trainer(folder, **settings):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(accelerator="cpu", default_root_dir=folder, enable_checkpointing=False,
                   **{"max_epochs": 2} | quiet | settings)  # fmt: skip


def module(**arguments):
    torch.manual_seed(0)
    return ReIDModule(ReIDNetwork(resnet10(width=0.125), num_identities=PEOPLE), **arguments)


def test_defaults_are_those_of_the_config(compose):
    config = compose("optimizer.lr=3.5e-4", "backbone=resnet10", "data.identities=16")
    torch.manual_seed(0)
    configured = build_module(config, 7)
    torch.manual_seed(0)
    default = ReIDModule(ReIDNetwork(resnet10(), num_identities=7))
    weights, expected = default.state_dict(), configured.state_dict()
    assert list(weights) == list(expected)
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert str(default) == str(configured)
    assert default.protocol == configured.protocol
    ours, theirs = default.objective, configured.objective
    assert ours.terms == theirs.terms == ["identity", "triplet"]
    assert ours.weights == theirs.weights
    assert ours.tasks["identity"].weights == theirs.tasks["identity"].weights
    assert ours.tasks["identity"].label_smoothing == theirs.tasks["identity"].label_smoothing == 0.1
    for name in ("margin", "soft_margin", "squared", "normalize", "reduction"):
        assert getattr(ours.losses["triplet"], name) == getattr(theirs.losses["triplet"], name)
    assert type(ours.miners["triplet"]) is type(theirs.miners["triplet"])
    assert ours.across_ranks == theirs.across_ranks
    made, wanted = (each._optimizer(each.network, each.objective) for each in (default, configured))
    assert type(made) is type(wanted) is torch.optim.AdamW
    unlike = {"params", "fused"}  # fused is the config's, which knows whether gradients are clipped
    groups, others = (
        [{key: value for key, value in group.items() if key not in unlike} for group in each.param_groups]
        for each in (made, wanted)
    )
    assert groups == others
    assert type(default._scheduler) is type(configured._scheduler)
    assert vars(default._scheduler) == vars(configured._scheduler)
    sampler = instantiate(config["sampler"])
    bound = dict(zip(("identities", "images_per_identity"), PK_16_4.args, strict=True))
    assert (PK_16_4.func, bound) == (sampler.func, sampler.keywords)


def test_without_a_classifier_the_triplet_loss_alone_is_trained():
    network = ReIDNetwork(resnet10(width=0.125), classifier=None)
    assert ReIDModule(network).objective.terms == ["triplet"]


def test_a_classifier_needs_the_number_of_identities():
    with pytest.raises(ValueError, match="num_identities is not given"):
        ReIDNetwork(resnet10(width=0.125))


def test_own_loaders_train_and_validate(tmp_path):
    own, run = module(), trainer(tmp_path, max_epochs=4)
    before = own.network.classifier.weight.clone()
    run.fit(own, train_dataloaders=loader(), val_dataloaders=loader(EVALUATED))
    assert not torch.equal(own.network.classifier.weight, before)
    assert own.validation_summary["mAP"] == pytest.approx(float(run.callback_metrics["val/mAP"]))
    assert own.validation_summary["mAP"] > 0.5
    assert run.test(own, loader(EVALUATED), verbose=False)[0]["test/queries"] == PEOPLE


@pytest.mark.parametrize("missing", ["images", "labels"])
def test_a_field_that_training_lacks_is_named(tmp_path, missing):
    fields = [name for name in ("images", "labels", "index") if name != missing]
    with pytest.raises(InputError, match=f"^the loader's batches have no field {missing}: .*they have "):
        trainer(tmp_path).fit(module(), train_dataloaders=loader(fields))


@pytest.mark.parametrize("missing", EVALUATED)
def test_a_field_that_validation_lacks_is_named(tmp_path, missing):
    fields = [name for name in EVALUATED if name != missing]
    with pytest.raises(InputError, match=f"^the loader's batches have no field {missing}: "):
        trainer(tmp_path).validate(module(), loader(fields), verbose=False)


class AttributeReader(IdentityTask):
    """A task that reads a field which few loaders give."""

    def losses(self, network, features, batch, gather):
        return super().losses(network, features, {"labels": batch["shoes"]}, gather)


def test_a_field_that_only_a_task_reads_is_named(tmp_path):
    objective = Objective({"identity": AttributeReader()}, {"triplet": TripletLoss()})
    with pytest.raises(InputError, match="no field shoes; they have images, labels"):
        trainer(tmp_path).fit(module(objective=objective), train_dataloaders=loader())


def test_batches_must_be_dictionaries(tmp_path):
    pairs = [(row["images"], row["labels"]) for row in images()]
    with pytest.raises(InputError, match="batches are of type list: they must be dictionaries"):
        trainer(tmp_path).fit(module(), train_dataloaders=DataLoader(pairs, batch_size=8))


def test_a_batch_is_not_copied():
    fields = {"images": torch.rand(1)}
    assert Batch.of(fields)["images"] is fields["images"]


class Noted(Schedule):
    """Notes what it is called with."""

    def __call__(self, optimizer, steps_per_epoch, epochs):
        self.seen = steps_per_epoch, epochs
        return super().__call__(optimizer, steps_per_epoch, epochs)


@pytest.mark.parametrize(
    ("settings", "seen"),
    [
        ({"max_epochs": 3}, (4, 3)),  # 16 images in batches of 4
        ({"max_epochs": 3, "accumulate_grad_batches": 3}, (2, 3)),
        ({"max_epochs": 3, "limit_train_batches": 2}, (2, 3)),
        ({"max_epochs": -1, "max_steps": 6}, (4, 1.5)),
        ({"max_epochs": 3, "max_steps": 8}, (4, 2)),
    ],
)
def test_the_schedule_is_as_long_as_the_training(tmp_path, settings, seen):
    schedule = Noted()
    run = trainer(tmp_path, **settings)
    run.fit(module(scheduler=schedule), train_dataloaders=loader(batch_size=4))
    assert schedule.seen == seen
    assert run.global_step == math.ceil(seen[0] * seen[1])


class Stream(IterableDataset):
    """Images without a known number."""

    def __iter__(self):
        yield from images()


def test_a_loader_without_a_length_needs_one_for_the_schedule(tmp_path):
    stream = DataLoader(Stream(), batch_size=4)
    with pytest.raises(InputError, match="no length: give the Trainer limit_train_batches"):
        trainer(tmp_path).fit(module(), train_dataloaders=stream)
    schedule = Noted()
    trainer(tmp_path, limit_train_batches=2).fit(module(scheduler=schedule), train_dataloaders=stream)
    assert schedule.seen == (2, 2)


def test_a_training_without_an_end_has_no_schedule(tmp_path):
    with pytest.raises(InputError, match="give the Trainer max_epochs or max_steps"):
        trainer(tmp_path, max_epochs=-1).fit(module(), train_dataloaders=loader())


def test_a_checkpoint_is_loaded_into_a_network_built_in_code(tmp_path):
    own, run = module(identity_labels={"a/1": 0}), trainer(tmp_path)
    run.fit(own, train_dataloaders=loader())
    path = tmp_path / "own.ckpt"
    run.save_checkpoint(path)
    torch.manual_seed(1)
    network = ReIDNetwork(resnet10(width=0.125), num_identities=PEOPLE)
    loaded = ReIDModule.load_from_checkpoint(path, network=network, objective=module().objective)
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in own.state_dict().items())
    assert loaded.network is network
    assert loaded.identity_labels == {"a/1": 0}
    with pytest.raises(InputError, match=r"use reid_lightning\.load_module\('.*own\.ckpt'\)"):
        ReIDModule.load_from_checkpoint(path)
    with pytest.raises(InputError, match=r"carries no config.*load_from_checkpoint\(path, network="):
        load_module(path)
