"""The part branch: pre-trained on key points, then part of a run."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import environment, train
from torch import nn

from reid_lightning.errors import InputError
from reid_lightning.experiments.checks import check_run
from reid_lightning.experiments.evaluate import evaluate
from reid_lightning.experiments.run import run_job
from reid_lightning.models.necks import LinearNeck
from reid_lightning.models.network import ReIDNetwork
from reid_lightning.systems.pose.bilinear import PoseBilinear
from reid_lightning.systems.pose.pretraining import PartPretraining, PosedImages, posed_images, score_parts

POSE = ("parts=pose", "parts.width=4", "parts.channels=8", "pretraining=pose", "pretraining.epochs=1")
BRANCH = "network.parts.branch."


class Dots:
    """A data module of images with a red dot and a green one, whose places are the key points."""

    image_size = (48, 24)
    sources = ("dots",)

    def __init__(self, images=96):
        generator = np.random.default_rng(0)
        self.positions = torch.from_numpy(generator.uniform(0.15, 0.85, (images, 2, 2))).float()

    def images_of(self, rows):
        images = torch.full((len(rows), 3, *self.image_size), 60, dtype=torch.uint8)
        rows_, columns = torch.meshgrid(torch.arange(48), torch.arange(24), indexing="ij")
        for image, row in zip(images, rows, strict=True):
            for channel, (x, y) in enumerate(self.positions[row].tolist()):
                near = (columns + 0.5 - 24 * x).abs().maximum((rows_ + 0.5 - 48 * y).abs()) < 2
                image[channel][near] = 255
        return images

    def posed(self, joints=("nose", "chin")):
        seen = torch.full(self.positions.shape[:2], 2.0)
        return PosedImages(self, np.arange(len(self.positions)), joints, self.positions, seen)


class Backbone(nn.Conv2d):
    out_channels = 3

    def __init__(self):
        super().__init__(3, 3, 8, 8)


def network(frozen=False):
    torch.manual_seed(0)
    return ReIDNetwork(
        Backbone(), nn.AdaptiveAvgPool2d(1), LinearNeck, None, 2,
        parts=lambda channels: PoseBilinear(channels, channels=4, joints=2, width=8, frozen=frozen),
    )  # fmt: skip


def test_joints_follow_the_augmentation_of_their_image():
    """A dot is found where its key point has gone, whatever the flip, shift and scale; sides are swapped by a flip."""
    dots = Dots(32)
    settings = PartPretraining(flip=0.5, shift=0.1, scale=0.2)
    images = dots.images_of(range(32)).float() - 60
    seen = torch.tensor([2.0, 1.0]).expand(32, 2)
    generator = torch.Generator().manual_seed(1)
    moved, positions, shown = settings._augment(images, dots.positions, seen, [1, 0], generator)
    mirrored = shown[:, 0] == 1
    assert 5 < mirrored.sum() < 27
    rows, columns = torch.arange(48)[:, None] + 0.5, torch.arange(24)[None] + 0.5
    well_inside = ((positions > 0.12) & (positions < 0.88)).all(2).all(1)
    assert well_inside.sum() > 10
    for image in torch.nonzero(well_inside).flatten().tolist():
        for joint in range(2):
            channel = 1 - joint if mirrored[image] else joint  # a left dot has become the right joint
            weights = moved[image, channel].clamp(min=0)
            x = ((weights * columns).sum() / weights.sum()).item() / 24
            y = ((weights * rows).sum() / weights.sum()).item() / 48
            assert (x, y) == pytest.approx(positions[image, joint].tolist(), abs=0.03)


def test_a_joint_that_leaves_the_image_is_outside():
    settings = PartPretraining(flip=0.0, shift=0.9, scale=0.0)
    positions = torch.full((64, 1, 2), 0.5)
    _, moved, seen = settings._augment(
        torch.zeros(64, 3, 8, 8), positions, torch.full((64, 1), 2.0), [0], torch.Generator().manual_seed(0)
    )
    inside = ((moved >= 0) & (moved < 1)).all(2)
    assert 5 < inside.sum() < 59
    assert torch.equal(seen, 2.0 * inside)


def test_the_branch_learns_where_joints_are_and_repeats_with_the_seed():
    settings = PartPretraining(epochs=30, batch_size=32, lr=1e-2, flip=0.0)
    posed, ours = Dots().posed(), network()
    before = score_parts(ours, posed)
    state = torch.get_rng_state()
    settings._train(ours, posed, seed=1, steps=None)
    assert torch.equal(torch.get_rng_state(), state)
    after = score_parts(ours, posed)
    assert before["pck@0.1"] < 0.3
    assert after["pck@0.1"] > 0.7
    again, other, short = network(), network(), PartPretraining(epochs=1, batch_size=32)
    first = network()
    for trained, seed in ((first, 1), (again, 1), (other, 2)):
        short._train(trained, posed, seed=seed, steps=None)
    weights = [trained.parts.branch.head.weight for trained in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("hidden", [False, True])
def test_hidden_joints_are_drawn_only_where_asked(hidden):
    dots = Dots(32)
    posed = PosedImages(
        dots, np.arange(32), ("nose", "chin"), dots.positions, torch.tensor([2.0, 1.0]).expand(32, 2)
    )
    ours = network()
    PartPretraining(epochs=25, batch_size=32, lr=1e-2, flip=0.0, hidden=hidden)._train(ours, posed, 0, None)
    images = ours.normalize(dots.images_of(range(32)))
    strongest = ours.parts.branch.eval()(images).sigmoid().amax((2, 3)).mean(0)
    assert strongest[0] > 0.3
    assert (strongest[1] > 0.3) == hidden


def test_a_frozen_branch_neither_learns_nor_gathers_statistics():
    frozen = network(frozen=True)
    assert not frozen.parts.branch.training  # Lightning leaves the modes as they are
    PartPretraining(epochs=1, batch_size=32)._train(frozen, Dots(32).posed(), 0, None)
    parts = frozen.parts.train()
    assert not parts.branch.training
    assert parts.appearance.training
    assert not parts.train().branch.stem[1].training


def test_data_or_settings_that_cannot_be_pretrained_on_are_refused(compose):
    class Bare:
        table = pd.DataFrame({"path": ["a.jpg"], "split": ["train"]})
        sources = ("market1501",)

    with pytest.raises(
        InputError, match=r"no training image of market1501 has any: train on generated people"
    ):
        PartPretraining().images(Bare(), joints=17)
    assert posed_images(Bare(), ["train"]) is None
    for key, value in (("epochs", 0), ("lr", 0.0), ("flip", 1.5), ("scale", 1.0)):
        with pytest.raises(ValueError, match=f"^{key} must be .* got {value}"):
            PartPretraining(**{key: value})
    with pytest.raises(InputError, match="parts=pose: add that"):
        check_run(compose("pretraining=pose"))
    with pytest.raises(InputError, match=r"parts\.frozen=true keeps a part branch that nothing has trained"):
        check_run(compose("parts=pose", "parts.frozen=true"))


def test_the_experiments_are_what_they_say(compose):
    system = compose("experiment=megvii/pose", "data.weights=null")
    assert system["parts"]["_target_"].endswith("PoseBilinear")
    assert not system["parts"]["frozen"]
    assert system["pretraining"]["_target_"].endswith("PartPretraining")
    assert system["loss"].keys() == {"triplet"}
    assert system["classifier"]
    for maps, has in (
        ("none", (0, 0, 0)),
        ("from_scratch", (1, 0, 0)),
        ("fine_tuned", (1, 1, 0)),
        ("frozen", (1, 1, 1)),
    ):
        row = compose("experiment=megvii/pose_table", f"experiment/megvii/maps={maps}")
        parts = row["parts"] or {"frozen": False}
        assert (bool(row["parts"]), bool(row["pretraining"]), parts["frozen"]) == has
        assert row["data"]["sources"]["pedestrians"]["occlusion"] == 0.5


def saved(folder, name="last"):
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]


def branch(folder):
    return torch.load(folder / "part_branch.pt", weights_only=True)


def same(branch, state):
    names = [name for name in branch if not name.endswith("num_batches_tracked")]
    return all(torch.equal(branch[name], state[BRANCH + name]) for name in names)


@pytest.mark.slow
def test_a_run_pretrains_fine_tunes_and_draws(compose, tiny, tmp_path):
    result = run_job(compose(*tiny, *POSE, "trainer.max_epochs=2", "refit=true"))
    folder = tmp_path / "run"
    assert list(result.cost["seconds"])[:4] == ["data", "build", "pose", "fit"]
    assert set(result.reports["pose"]) == {"pck@0.05", "pck@0.1"}
    assert json.loads((folder / "metrics.json").read_text())["pose"] == result.reports["pose"]
    assert "Part maps" in (folder / "report.html").read_text()
    trained = saved(folder / "refit")
    assert not same(branch(folder), trained)
    counts = [int(tensor) for name, tensor in trained.items() if name.endswith("num_batches_tracked")]
    assert min(counts) > 0  # all layers train after the branch has been measured
    again = evaluate(folder / "refit" / "checkpoints" / "last.ckpt", tmp_path / "again")
    assert again.test == pytest.approx(result.test)
    assert again.reports["pose"] == pytest.approx(result.reports["pose"])


@pytest.mark.slow
def test_a_file_takes_the_place_of_pretraining(compose, brief, tmp_path):
    run_job(compose(*brief, *POSE, "trainer.max_epochs=1", "parts.frozen=true", output_dir=tmp_path / "a"))
    given = f"parts.weights={tmp_path / 'a' / 'part_branch.pt'}"
    config = compose(
        *brief, *POSE, given, "trainer.max_epochs=1", "parts.frozen=true", output_dir=tmp_path / "b"
    )
    result = run_job(config)
    assert "pose" not in result.cost["seconds"]
    assert not (tmp_path / "b" / "part_branch.pt").exists()
    for folder in ("a", "b"):
        assert same(branch(tmp_path / "a"), saved(tmp_path / folder))


@pytest.mark.slow
def test_a_resumed_run_does_not_pretrain_again(compose, brief, tmp_path):
    length = (*brief, *POSE, "trainer.max_epochs=2")
    stop = "+callbacks.stop={_target_: reid_lightning.engine.callbacks.time_limit.StopAfter, epochs: 1}"
    whole = run_job(compose(*length, output_dir=tmp_path / "whole"))
    run_job(compose(*length, stop, output_dir=tmp_path / "parts"))
    written = (tmp_path / "parts" / "part_branch.pt").stat().st_mtime_ns
    resumed = run_job(compose(*length, "resume=last", output_dir=tmp_path / "parts"))
    assert (tmp_path / "parts" / "part_branch.pt").stat().st_mtime_ns == written
    assert "pose" not in resumed.cost["seconds"]
    assert resumed.test == whole.test
    ours, theirs = saved(tmp_path / "whole"), saved(tmp_path / "parts")
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


WATCH = """
import torch
from lightning import Callback


class Record(Callback):
    def __init__(self, folder):
        self.folder = folder

    def on_train_start(self, trainer, pl_module):
        state = pl_module.network.parts.branch.state_dict()
        torch.save(state, f"{self.folder}/rank{trainer.global_rank}.pt")
"""


@pytest.mark.slow
def test_all_processes_start_from_one_branch(compose, brief, tmp_path):
    (tmp_path / "recorder.py").write_text(WATCH)
    record = f"+callbacks.record={{_target_: recorder.Record, folder: '{tmp_path}'}}"
    train(
        *brief, *POSE, "trainer=ddp_cpu", "trainer.max_epochs=1", record,
        folder=tmp_path / "two", where=environment(PYTHONPATH=str(tmp_path)),
    )  # fmt: skip
    wanted = branch(tmp_path / "two")
    for rank in range(2):
        started = torch.load(tmp_path / f"rank{rank}.pt", weights_only=True)
        assert all(torch.equal(started[name], wanted[name]) for name in wanted)
