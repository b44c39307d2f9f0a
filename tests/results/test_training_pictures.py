"""Pictures of the training: what they count, and that they leave a run as it is."""

import copy
import json
import logging
import random
import re
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image

from reid_lightning.experiments.factory import build_datamodule, build_module
from reid_lightning.experiments.run import run_job
from reid_lightning.results.reports.training import LIST, TrainingReport
from reid_lightning.results.run_result import reports_of
from reid_lightning.results.training_batch import SeenBatch, augmentation_of, judged
from reid_lightning.systems.task import Run


@pytest.fixture
def untrained(compose, tiny, tmp_path):
    """Return a function from overrides to a run that has trained for no step."""

    def made(*overrides):
        sampled = any(override.startswith("miner=offline") for override in overrides)
        config = compose(*(o for o in tiny if not (sampled and o.startswith("sampler."))), *overrides)
        datamodule = build_datamodule(config)
        datamodule.setup("fit")
        module = build_module(config, datamodule.num_identities, datamodule.identity_labels, datamodule)
        (tmp_path / "run").mkdir(exist_ok=True)
        return Run(
            config=config,
            output_dir=tmp_path / "run",
            network=module.network,
            datamodule=datamodule,
            protocol=module.protocol,
            device=torch.device("cpu"),
            losses=dict(module.objective.losses),
            miners=module.objective.miners,
        )

    return made


def drawn(run, **settings):
    """Return the pictures by their file's stem."""
    return {picture.path.stem: picture for picture in TrainingReport(**settings).figures(run, {})}


def numbers(caption, kind):
    """Return the counts of a kind that a caption tells, in their order."""
    return [int(text.replace(",", "")) for text in re.findall(rf"([\d,]+) {kind} \(", caption)]


def test_the_default_run_shows_augmented_images_and_triplets(untrained):
    run = untrained()
    pictures = drawn(run)
    assert list(pictures) == ["augmented_images", "triplets"]
    for picture in pictures.values():
        with Image.open(picture.path) as image:
            assert min(image.size) > 300
    assert "crop (HorizontalFlip, Pad, RandomCrop)" in pictures["augmented_images"].caption
    assert "32 x 16 pixels" in pictures["augmented_images"].caption
    assert (
        drawn(replace(run, losses={}, config={**run.config, "augmentation": None})) == pictures
    )  # a page written again


@pytest.mark.parametrize("loss", ["triplet", "triplet_squared", "lossless", "aligned", "quadruplet"])
def test_counted_triplets_are_those_of_a_loop_over_the_batch(untrained, loss):
    run = untrained(f"loss=[{loss}]", "sampler.identities=4", "sampler.images_per_identity=3")
    batch = SeenBatch.of(run)
    vectors = batch.vectors.double()
    squared, unit = loss in ("triplet_squared", "lossless"), loss in ("triplet_squared", "lossless")
    vectors = vectors / vectors.norm(dim=1, keepdim=True) if unit else vectors
    margin = {"triplet_squared": 0.2, "lossless": 0.2}.get(loss, 0.3)
    expected, picked = [0, 0, 0], [0, 0, 0]
    people, hardest = batch.labels.tolist(), {}
    distances = torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist") ** (
        2 if squared else 1
    )
    for a, p, n in product(range(len(people)), repeat=3):
        if a != p and people[a] == people[p] and people[a] != people[n]:
            near, far = float(distances[a, p]), float(distances[a, n])
            kind = 0 if far <= near else 1 if far < near + margin else 2
            expected[kind] += 1
            hardest[a] = max(hardest.get(a, (-9.0, 0)), (near - far, kind))
    for _, kind in hardest.values():
        picked[kind] += 1
    caption = drawn(run)["triplets"].caption
    for kind, name in enumerate(("hard", "semi-hard", "easy")):
        found = numbers(caption, f"(?<!-){name}" if name == "hard" else name)
        assert found[0] == expected[kind]
        if loss != "quadruplet":
            assert found[1] == picked[kind]
    assert f"{sum(expected):,} valid triplets" in caption
    assert ("has no margin of its own" in caption) == (loss == "lossless")
    assert ("forms its own pairs" in caption) == (loss == "quadruplet")


def test_triplets_of_the_sampler_are_counted_as_it_laid_them_out(untrained):
    run = untrained("miner=offline_random", "loss=[lossless]", "sampler.triplets=5")
    pictures = drawn(run)
    assert list(pictures) == ["augmented_images", "triplets", "lossless"]
    assert "The miner (offline) picks 5 of them" in pictures["triplets"].caption
    assert "beta 4, largest squared distance 4 and eps 1e-06" in pictures["lossless"].caption


@pytest.mark.parametrize(
    ("overrides", "stems"),
    [
        (("loss=[none]",), ["augmented_images"]),
        (("loss=[center]", "augmentation=none"), ["augmented_images"]),
        (("miner=none",), ["augmented_images", "triplets"]),
        (("page=brief",), []),
        (("data.validation=none", "data.image_size=[32,32]"), ["augmented_images", "triplets"]),
    ],
)
def test_what_a_run_has_is_drawn(untrained, overrides, stems):
    run = untrained(*overrides)
    pictures = drawn(run)
    assert list(pictures) == stems
    if "augmentation=none" in overrides:
        assert "not augmented" in pictures["augmented_images"].caption
    if "miner=none" in overrides:
        assert "There is no miner" in pictures["triplets"].caption


def test_data_without_cameras_is_shown_by_its_people(untrained):
    run = untrained()
    run.datamodule.table["camera_id"] = None
    assert list(drawn(run)) == ["augmented_images", "triplets"]


def randomness():
    """Return what Python, numpy and torch draw next from."""
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002


def test_a_run_is_left_as_it_was(untrained):
    run = untrained()
    run.network.train()
    next(iter(run.network.children())).eval()
    run.datamodule.train_batches.set_epoch(3)
    modes = [module.training for module in run.network.modules()]
    weights = copy.deepcopy(run.network.state_dict())
    batch = next(iter(run.datamodule.train_dataloader()))["images"]
    loader = iter(run.datamodule.train_dataloader())
    states = randomness()
    drawn(run)
    assert randomness() == states
    assert torch.equal(next(loader)["images"], batch)
    assert run.datamodule.train_batches.epoch == 3
    assert [module.training for module in run.network.modules()] == modes
    assert all(torch.equal(value, weights[name]) for name, value in run.network.state_dict().items())


def test_a_picture_that_cannot_be_drawn_is_a_warning(untrained, monkeypatch, caplog):
    run = untrained()

    def broken(*_):
        raise RuntimeError("no memory left")

    monkeypatch.setattr(SeenBatch, "of", broken)
    with caplog.at_level(logging.WARNING, "reid_lightning"):
        assert list(drawn(run)) == ["augmented_images"]
    assert "report=training leaves out the picture triplets: no memory left" in caplog.text


def test_the_network_is_judged_without_gradients_and_put_back(untrained):
    network = untrained().network.train()
    with judged(network) as seen:
        assert not any(module.training for module in seen.modules())
        assert not torch.is_grad_enabled()
    assert all(module.training for module in network.modules())
    assert torch.is_grad_enabled()


def test_an_augmentation_of_ones_own_is_named_by_its_changes():
    own = {
        "augmentation": {
            "_target_": "albumentations.Compose",
            "transforms": [{"_target_": "own.Fog"}],
            "p": 0.1,
        }
    }
    assert augmentation_of(own) == "Fog"


def test_it_is_on_by_default_and_changes_no_result(compose):
    config = compose()
    assert [type(report) for report in reports_of(config)] == [TrainingReport]


def test_wrong_settings_are_refused():
    for wrong in ({"images": 0}, {"draws": 0}, {"triplets": 0}, {"margin": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            TrainingReport(**wrong)


@pytest.mark.slow
def test_a_run_has_the_same_digits_with_and_without_its_pictures(compose, tiny, tmp_path):
    left = {}
    for name in ("training", "none"):
        folder = tmp_path / name
        run_job(compose(*tiny, "trainer.max_epochs=2", f"report=[{name}]", output_dir=folder))
        written = json.loads((folder / "metrics.json").read_text())
        left[name] = (
            {key: written[key] for key in ("validation", "test", "intervals")},
            torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"],
        )
        assert (folder / LIST).exists() == (name == "training")
    assert left["training"][0] == left["none"][0]
    for key, value in left["training"][1].items():
        assert torch.equal(value, left["none"][1][key]), key


@pytest.mark.slow
def test_a_run_without_any_evaluation_shows_its_training(compose, tiny, untrained, tmp_path):
    table = untrained().datamodule.table
    table[table["split"] == "train"][["path", "person_id", "split"]].to_csv(
        tmp_path / "people.csv", index=False
    )
    own = [override for override in tiny if "pedestrians" not in override and "validation" not in override]
    overrides = ("data=[table]", f"data.root={tmp_path / 'people.csv'}", "data.validation=none")
    run_job(
        compose(*own, *overrides, "trainer.max_epochs=1", "backbone=resnet10", output_dir=tmp_path / "alone")
    )
    page = (tmp_path / "alone" / "report.html").read_text()
    assert "Triplets of a batch" in page
    assert 'id="curves"' in page
