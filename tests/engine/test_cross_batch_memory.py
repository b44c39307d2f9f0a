"""The memory of earlier batches against plain loops, across a resume, and in two processes."""

import copy

import pytest
import torch
from torch.nn.functional import normalize

from reid_lightning.engine.objective import Objective
from reid_lightning.errors import InputError
from reid_lightning.losses.circle import CircleLoss
from reid_lightning.losses.contrastive import ContrastiveLoss
from reid_lightning.losses.lossless import LosslessTripletLoss
from reid_lightning.losses.triplet import TripletLoss
from reid_lightning.mining.batch_hard import BatchHardMiner
from reid_lightning.mining.memory import CrossBatchMemory
from reid_lightning.mining.semi_hard import SemiHardMiner
from reid_lightning.models.features import Features

WIDTH, IMAGES, SIZE, WARMUP = 5, 8, 20, 2


def batches(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        (
            torch.randn(IMAGES, WIDTH, generator=generator, dtype=torch.float64, requires_grad=True),
            torch.randint(4, (IMAGES,), generator=generator),
        )
        for _ in range(count)
    ]


def objective(loss, miner=None, weight=0.7, size=SIZE, warmup=WARMUP):
    memory = CrossBatchMemory(size, WIDTH, warmup, weight).double()
    return Objective(losses={"loss": loss}, miners={"loss": miner}, memory=memory)


def step(found, vectors, labels):
    return found(None, Features(vectors, vectors, vectors), {"labels": labels}).total


def triplet_cost(vectors, labels, others, other_labels, margin, squared, unit):
    """Batch hard against other vectors, in loops."""
    if unit:
        vectors, others = normalize(vectors), normalize(others)
    costs = []
    for anchor, label in zip(vectors, labels.tolist(), strict=True):
        far = [
            (anchor - other).norm()
            for other, theirs in zip(others, other_labels, strict=True)
            if theirs == label
        ]
        near = [
            (anchor - other).norm()
            for other, theirs in zip(others, other_labels, strict=True)
            if theirs != label
        ]
        if far and near:
            power = 2 if squared else 1
            costs.append(torch.relu(max(far) ** power - min(near) ** power + margin))
    return torch.stack(costs).mean() if costs else vectors.sum() * 0


def contrastive_cost(vectors, labels, others, other_labels, margin, unit):
    if unit:
        vectors, others = normalize(vectors), normalize(others)
    kinds = {True: [], False: []}
    for anchor, label in zip(vectors, labels.tolist(), strict=True):
        for other, theirs in zip(others, other_labels, strict=True):
            distance = (anchor - other).norm()
            same = theirs == label
            kinds[same].append(distance**2 if same else torch.relu(margin - distance) ** 2)
    return sum(torch.stack(costs).mean() for costs in kinds.values() if costs) / 2


CASES = {
    "triplet": (TripletLoss(0.5), lambda *sets: triplet_cost(*sets, 0.5, False, False)),
    "triplet_squared": (
        TripletLoss(0.2, squared=True, normalize=True), lambda *sets: triplet_cost(*sets, 0.2, True, True),
    ),
    "contrastive": (ContrastiveLoss(), lambda *sets: contrastive_cost(*sets, 1.0, True)),
    "contrastive_plain": (ContrastiveLoss(2.0, False), lambda *sets: contrastive_cost(*sets, 2.0, False)),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_value_and_gradient_are_those_of_plain_loops(case):
    loss, oracle = CASES[case]
    miner = None if "contrastive" in case else BatchHardMiner()
    with_memory, without = objective(loss, miner), Objective(losses={"loss": loss}, miners={"loss": miner})
    past, past_labels = torch.empty(0, WIDTH, dtype=torch.float64), []
    for number, (vectors, labels) in enumerate(batches(6)):
        total = step(with_memory, vectors, labels)
        expected = step(without, vectors, labels)
        if number >= WARMUP:  # the last SIZE of all before
            expected = expected + 0.7 * oracle(vectors, labels, past[-SIZE:], past_labels[-SIZE:])
        ours, theirs = (torch.autograd.grad(value, vectors)[0] for value in (total, expected))
        torch.testing.assert_close(total, expected)
        torch.testing.assert_close(ours, theirs)
        past = torch.cat((past, vectors.detach()))
        past_labels += labels.tolist()


def test_evaluation_leaves_the_memory_as_it_is():
    found = objective(TripletLoss(), BatchHardMiner()).eval()
    vectors, labels = batches(1)[0]
    step(found, vectors, labels)
    assert not found.memory.steps.item()
    assert (found.memory.labels == -1).all()


def test_a_resumed_memory_goes_on_to_the_last_digit():
    given = batches(8)
    whole, first, second = (objective(TripletLoss(), BatchHardMiner()) for _ in range(3))
    expected = [step(whole, *batch) for batch in given]
    for batch in given[:4]:
        step(first, *batch)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert [step(second, *batch).item() for batch in given[4:]] == [value.item() for value in expected[4:]]


def test_shares_of_two_processes_fill_one_memory():
    """What `gather` joins is what one process alone would have remembered."""
    alone, shared = (objective(TripletLoss(), BatchHardMiner()) for _ in range(2))
    for vectors, labels in batches(4):
        expected = step(alone, vectors, labels)
        half = IMAGES // 2
        own = Features(*[vectors[:half]] * 3)

        def gather(part, vectors=vectors, labels=labels):
            return vectors if part.ndim == 2 else labels

        total = shared(None, own, {"labels": labels[:half]}, gather).total
        assert total.item() == expected.item()
    torch.testing.assert_close(alone.memory.vectors, shared.memory.vectors, rtol=0, atol=0)


def test_a_batch_larger_than_the_memory_leaves_its_end():
    memory = CrossBatchMemory(3, 1)
    memory.remember(torch.arange(5.0)[:, None], torch.arange(5))
    assert sorted(memory.vectors.flatten().tolist()) == [2, 3, 4]


@pytest.mark.parametrize(
    ("loss", "miner"), [(TripletLoss(), SemiHardMiner()), (TripletLoss(), None), (CircleLoss(), None)]
)
def test_losses_and_miners_that_cannot_are_refused(loss, miner):
    with pytest.raises(InputError, match=r"no loss can use memory\.size"):
        objective(loss, miner)


def test_one_memory_serves_several_losses_and_all_processes():
    losses = {"triplet": TripletLoss(), "lossless": LosslessTripletLoss(), "circle": CircleLoss()}
    memory = CrossBatchMemory(SIZE, WIDTH, 0).double()
    found = Objective(losses=losses, miners=dict.fromkeys(losses, BatchHardMiner()), memory=memory)
    for vectors, labels in batches(2):
        outcome = found(None, Features(vectors, vectors, vectors), {"labels": labels})
    assert {"triplet/memory", "lossless/memory"} <= set(outcome.diagnostics)
    assert "circle/memory" not in outcome.diagnostics
    with pytest.raises(InputError, match="needs across_ranks=true"):
        Objective(
            losses={"loss": TripletLoss()},
            miners={"loss": BatchHardMiner()},
            across_ranks=False,
            memory=memory,
        )
    for wrong in ({"size": 0}, {"warmup": -1}, {"weight": -1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            CrossBatchMemory(**({"size": 1, "embedding_size": 2} | wrong))
