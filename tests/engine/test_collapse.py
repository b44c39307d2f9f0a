"""Training that has collapsed is told from training that learns."""

import logging

import pytest
import torch
from torch import nn

from reid_lightning.engine.collapse import CollapseWatch, watch_for_collapse
from reid_lightning.engine.objective import Step
from reid_lightning.losses.aligned import AlignedReIDLoss
from reid_lightning.losses.lossless import LosslessTripletLoss
from reid_lightning.losses.spec import output_of, spec_of
from reid_lightning.losses.triplet import TripletLoss
from reid_lightning.mining.batch_hard import BatchHardMiner
from reid_lightning.models.features import Features


def look(watch, name, loss, features, labels):
    """Let a watch look at a loss in a step of its own."""
    given = features if spec_of(loss).reads else features.before_neck
    output = output_of(loss, given, labels)
    diagnostics = {f"{name}/{key}": value for key, value in output.diagnostics.items()}
    watch_for_collapse(
        watch, {name: loss}, Step(output.value, {name: output.value}, diagnostics), features, labels
    )


def train(loss, learnable, steps=400, lr=0.01):
    """Train a small network on people who differ, or on noise, where equal vectors are the best there is."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8))
    optimizer, miner, watch = torch.optim.Adam(network.parameters(), lr=lr), BatchHardMiner(), CollapseWatch()
    labels = torch.arange(8).repeat_interleave(4)
    people = 3 * torch.randn(8, 16).repeat_interleave(4, 0)
    for step in range(steps):
        images = torch.randn(32, 16) + (people if learnable else 0)
        vectors = network(images)
        seen = nn.functional.normalize(vectors) if getattr(loss, "normalize", False) else vectors
        value = loss(vectors, labels, miner(seen.detach(), labels))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        if step % 10 == 9:
            look(watch, "triplet", loss, Features(vectors, vectors, vectors), labels)
    return float(value.detach())


LOSSES = [
    TripletLoss(0.3),
    TripletLoss(0.3, squared=True),
    TripletLoss(soft_margin=True),
    LosslessTripletLoss(),
]


@pytest.mark.parametrize("loss", LOSSES[:3], ids=["hinge", "squared", "soft_margin"])
def test_a_collapse_is_named_once_with_its_value(loss, caplog):
    with caplog.at_level(logging.WARNING):
        value = train(loss, learnable=False)
    of_equal = 0.693 if loss.soft_margin else 0.3
    assert value == pytest.approx(of_equal, rel=0.02)
    assert len(caplog.records) == 1
    message = caplog.records[0].getMessage()
    assert "loss=triplet has collapsed" in message
    assert "optimizer.lr" in message
    assert "miner=semi_hard" in message


@pytest.mark.parametrize("loss", LOSSES, ids=["hinge", "squared", "soft_margin", "lossless"])
def test_training_that_learns_is_left_alone(loss, caplog):
    with caplog.at_level(logging.WARNING):
        train(loss, learnable=True)
    assert not caplog.records


def test_looking_does_not_change_the_gradient():
    loss, labels = TripletLoss(), torch.tensor([0, 0, 1, 1])
    vectors = torch.randn(4, 3, requires_grad=True)
    expected = torch.autograd.grad(loss(vectors, labels), vectors)[0]
    value = loss(vectors, labels)
    look(CollapseWatch(), "triplet", loss, Features(vectors, vectors, vectors), labels)
    value.backward()
    assert torch.equal(vectors.grad, expected)


def test_a_loss_of_whole_features_is_watched_too(caplog):
    """AlignedReID's loss of vectors and stripes that are all nearly equal: both margins, 0.3 + 0.5 x 0.3."""
    loss, labels, watch = (
        AlignedReIDLoss(local_weight=0.5),
        torch.arange(4).repeat_interleave(2),
        CollapseWatch(),
    )
    vectors, stripes = 1 + 1e-5 * torch.randn(8, 3), 1 + 1e-5 * torch.randn(8, 4, 2)
    features = Features(vectors, vectors, vectors, {"stripes": stripes})
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            look(watch, "aligned", loss, features, labels)
    assert "loss=aligned has collapsed: it is stuck at 0.45" in caplog.text


def test_one_healthy_look_starts_the_count_anew():
    watch = CollapseWatch()
    looks = [(0.3, 1e-4)] * 2 + [(0.1, 0.5)] + [(0.3, 1e-4)] * 4
    found = [watch.look("triplet", value, 0.3, distance, 1.0) for value, distance in looks]
    assert [sentence is not None for sentence in found] == [False] * 5 + [True, False]
