"""Two processes train attributes as one does, however unevenly known labels are spread over them."""

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from reid_lightning.data.attributes import Attribute, AttributeSchema
from reid_lightning.distributed.gather import all_gather_with_grad
from reid_lightning.engine.objective import Objective
from reid_lightning.models.classifiers.softmax import SoftmaxClassifier
from reid_lightning.models.necks import LinearNeck
from reid_lightning.models.network import ReIDNetwork
from reid_lightning.models.pooling import AveragePooling
from reid_lightning.systems.attributes.heads import AttributeHeads
from reid_lightning.systems.attributes.loss import AttributeLoss
from reid_lightning.systems.attributes.task import AttributeTask
from reid_lightning.systems.identity.task import IdentityTask

SIZES, COUNTS, IMAGES, WORLD = (2, 4, 3), (9, 1, 3, 3, 2, 2, 5, 1, 4), 12, 2
HEADS = {
    "reweighted": {"reweighting": True},
    "detached": {"reweighting": True, "detach": True, "predictions": "probabilities"},
    "beside": {"reweighting": False},
}
LOSSES = {"plain": {}, "balanced": {"class_weights": "balanced", "focal": 2.0}}
UNKNOWN = {"none": [], "a head here": [(slice(6, 12), 0)], "all here": [(slice(6, 12), slice(None))],
           "all": [(slice(None), slice(None))]}  # fmt: skip
CASES = [(heads, loss, unknown) for heads in HEADS for loss in LOSSES for unknown in UNKNOWN]


class TwoConvolutions(nn.Sequential):
    """A backbone without batch statistics."""

    out_channels = 8

    def __init__(self):
        super().__init__(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3, 2))


class Step(nn.Module):
    """Network and objective as the LightningModule runs them, for DistributedDataParallel to wrap."""

    def __init__(self, heads, loss):
        super().__init__()
        self.network = ReIDNetwork(
            TwoConvolutions(),
            AveragePooling(),
            LinearNeck,
            SoftmaxClassifier,
            4,
            attributes=lambda size: AttributeHeads(size, SIZES, **HEADS[heads]),
        )
        attributes = (
            Attribute(str(place), str(place), tuple("abcdef"[:size])) for place, size in enumerate(SIZES)
        )
        task = AttributeTask(
            AttributeSchema("some", tuple(attributes)),
            AttributeLoss(SIZES, COUNTS, **LOSSES[loss]),
            weight=0.7,
        )
        self.objective = Objective({"identity": IdentityTask(), "attributes": task})

    def forward(self, images, labels, attributes):
        batch = {"labels": labels, "attributes": attributes}
        return self.objective(self.network, self.network(images), batch, all_gather_with_grad).total


def outcome(case, rank, world):
    """Return the loss and the gradients of one step on this rank's images."""
    heads, loss, unknown = case
    torch.manual_seed(0)
    step = Step(heads, loss)
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(IMAGES, 3, 16, 8, generator=generator)
    targets = torch.stack([torch.randint(size, (IMAGES,), generator=generator) for size in SIZES], dim=1)
    for place in UNKNOWN[unknown]:
        targets[place] = -1
    share = slice(rank * IMAGES // world, (rank + 1) * IMAGES // world)
    wrapped = DistributedDataParallel(step) if world > 1 else step
    total = wrapped(images[share], torch.arange(IMAGES)[share] % 4, targets[share])
    total.backward()
    gradients = {name: parameter.grad for name, parameter in step.named_parameters()}
    return total.detach(), gradients


def work(rank):
    return {case: outcome(case, rank, WORLD) for case in CASES}


@pytest.fixture(scope="module")
def two_ranks(processes):
    return processes(work)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: ", ".join(case))
def test_two_processes_give_the_gradients_of_one(two_ranks, case):
    total, gradients = outcome(case, 0, 1)
    assert all(gradient is not None for gradient in gradients.values())
    torch.testing.assert_close(torch.stack([ranks[case][0] for ranks in two_ranks]).mean(), total)
    for ranks in two_ranks:
        found = ranks[case][1]
        assert found.keys() == gradients.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)
