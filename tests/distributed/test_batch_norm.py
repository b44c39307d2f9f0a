"""Batch normalization of two processes equals that of one with the same images: values, gradients, running statistics."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from reid_lightning.distributed.batch_norm import SynchronizedBatchNorm
from reid_lightning.models.ibn import InstanceBatchNorm
from reid_lightning.models.necks import BNNeck

WORLD = 2
ON_CPU = SynchronizedBatchNorm(on_gpu=False)


class After(nn.Module):
    """The classifier's input of a BNNeck, whose shift is frozen."""

    def __init__(self):
        super().__init__()
        self.neck = BNNeck(6)

    def forward(self, x):
        return self.neck(x)[1]


def timm_norm():
    from timm.layers import BatchNormAct2d

    return BatchNormAct2d(6, act_layer=nn.ReLU)


NORMS = {
    "two dimensions": lambda: nn.BatchNorm2d(6),
    "one dimension": lambda: nn.BatchNorm1d(6),
    "cumulative": lambda: nn.BatchNorm1d(6, momentum=None),
    "not affine": lambda: nn.BatchNorm2d(6, affine=False),
    "no running statistics": lambda: nn.BatchNorm1d(6, track_running_stats=False),
    "IBN": lambda: InstanceBatchNorm(6),
    "BNNeck": After,
    "timm's with an activation": timm_norm,
    "frozen": lambda: nn.BatchNorm2d(6).eval(),
}
FLAT = ("one dimension", "cumulative", "no running statistics", "BNNeck")
# Images of the first process, of 12 in all; the mean over processes of the mean over images is that over all in the middle.
SHARES = {"even": 6, "uneven": 9, "a single image": 11}
PRECISIONS = {torch.float64: 1e-12, torch.float32: 1e-5}


def outcome(name, precision, rank=0, world=1, first=6):
    """Return values, gradients of images and parameters, and buffers after two steps."""
    torch.manual_seed(0)
    norm = NORMS[name]().to(precision)
    frozen = not norm.training
    ON_CPU.apply(norm)
    generator = torch.Generator().manual_seed(1)
    share = slice(None) if world == 1 else slice(0, first) if rank == 0 else slice(first, None)
    parts = {}
    for step in range(2):
        shape = (12, 6) if name in FLAT else (12, 6, 4, 3)
        whole = torch.randn(shape, generator=generator, dtype=torch.float64) * 3 + 40
        weights = torch.randn(shape, generator=generator, dtype=torch.float64)
        images = whole[share].to(precision).requires_grad_()
        found = norm(images)
        (found * weights[share].to(precision)).sum().backward()
        parts |= {f"{step} values": found.detach(), f"{step} images": images.grad}
    assert frozen != norm.training
    parts |= {f"parameter {key}": value.grad for key, value in norm.named_parameters() if value.requires_grad}
    return parts | {f"buffer {key}": value for key, value in norm.state_dict().items()}


def work(rank, precision):
    return {
        (name, share): outcome(name, precision, rank, WORLD, first)
        for name in NORMS
        for share, first in SHARES.items()
    }


@pytest.fixture(scope="module", params=PRECISIONS, ids=str)
def two(request, processes):
    return request.param, processes(work, request.param)


@pytest.mark.slow
@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("name", NORMS)
def test_two_processes_equal_one(two, name, share):
    precision, ranks = two
    expected = outcome(name, precision)
    first, second = (rank[name, share] for rank in ranks)
    assert first.keys() == second.keys() == expected.keys()
    for key, value in expected.items():
        if key.startswith("parameter"):  # DistributedDataParallel adds them up
            found = first[key] + second[key]
        elif key.startswith("buffer"):
            assert torch.equal(first[key], second[key])
            found = first[key]
        else:
            found = torch.cat([first[key], second[key]])
        scale = max(1.0, float(value.abs().max()))
        torch.testing.assert_close(found, value, rtol=0, atol=PRECISIONS[precision] * scale)


def tower():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), InstanceBatchNorm(6), nn.ReLU(inplace=True),
        nn.Conv2d(6, 6, 3), timm_norm(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), After(), nn.Linear(6, 4),
    )  # fmt: skip


def trained(rank=0, world=1):
    """Return losses, weights and running statistics after three steps with DistributedDataParallel."""
    model = ON_CPU.apply(tower())
    wrapped = DistributedDataParallel(model) if world > 1 else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    generator, losses = torch.Generator().manual_seed(1), []
    for _ in range(3):
        images = torch.rand(8, 3, 12, 8, generator=generator)
        labels = torch.randint(4, (8,), generator=generator)
        share = slice(rank * 8 // world, (rank + 1) * 8 // world)
        loss = nn.functional.cross_entropy(wrapped(images[share]), labels[share])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses), ON_CPU.revert(model).state_dict()


def train_on(rank):
    return trained(rank, WORLD)


def test_a_network_of_two_processes_is_trained_as_by_one(processes):
    losses, state = trained()
    ranks = processes(train_on)
    torch.testing.assert_close((ranks[0][0] + ranks[1][0]) / 2, losses, rtol=0, atol=1e-5)
    for _, found in ranks:
        assert found.keys() == state.keys()
        for key, value in state.items():
            torch.testing.assert_close(found[key], value, rtol=0, atol=2e-5)


@pytest.mark.parametrize("on_gpu", [False, True])
def test_a_model_is_itself_again_afterwards(on_gpu):
    model = tower()
    kinds, names = [type(module) for module in model.modules()], list(model.state_dict())
    tensors = [id(tensor) for tensor in (*model.parameters(), *model.buffers())]
    plugin = SynchronizedBatchNorm(on_gpu)
    synchronized = copy.deepcopy(plugin.apply(plugin.apply(model)))
    assert sum(type(module).__name__.startswith("Synchronized") for module in synchronized.modules()) == 3
    assert list(synchronized.state_dict()) == names
    plugin.revert(model)
    assert [type(module) for module in model.modules()] == kinds
    assert [id(tensor) for tensor in (*model.parameters(), *model.buffers())] == tensors


def test_the_activation_of_timm_stays_on_the_gpu_too():
    images = torch.randn(4, 6, 3, 3)
    for on_gpu in (False, True):
        norm = SynchronizedBatchNorm(on_gpu).apply(timm_norm().eval())
        torch.testing.assert_close(norm(images), timm_norm().eval()(images))
        assert (norm(images) >= 0).all()
