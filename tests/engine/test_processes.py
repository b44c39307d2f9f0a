"""Two processes give the loss and the gradients of one: the objective and the module's gathering, under gloo."""

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from reid_lightning.config.resolve import CONF
from reid_lightning.distributed.gather import all_gather_with_grad
from reid_lightning.experiments.factory import build_objective
from reid_lightning.models.branches import Parts
from reid_lightning.models.classifiers.softmax import SoftmaxClassifier
from reid_lightning.models.necks import LinearNeck
from reid_lightning.models.network import ReIDNetwork
from reid_lightning.models.pooling import GeMPooling
from reid_lightning.systems.identity.task import IdentityTask
from reid_lightning.systems.stripes.parts import stripe_means

WORLD, IDENTITIES, IMAGES = 2, 6, 4
LOSSES = sorted(file.stem for file in (CONF / "loss").glob("*.yaml") if file.stem != "none")
MINERS = [None, "batch_hard", "semi_hard"]
ALONE = "triplet of each process alone"


class TwoConvolutions(nn.Sequential):
    """A backbone without batch statistics."""

    out_channels = 8

    def __init__(self):
        super().__init__(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3, 2))


class TwoStripes(Parts):
    """Stripe features without batch statistics, together as long as the embedding."""

    local_shape = (2, 64)

    def __init__(self, in_features):
        super().__init__()
        self.reduction = nn.Linear(in_features, 64)

    def forward(self, images, maps):
        return None, self.reduction(stripe_means(maps, 2))


class Stripes(TwoStripes):
    """Under the name that losses of stripes read."""

    gives = "stripes"


class Groups(TwoStripes):
    """Under the name that the loss of groups of patches reads."""

    gives = "jigsaw"


class Step(nn.Module):
    """Network and objective as the LightningModule runs them, for DistributedDataParallel to wrap."""

    def __init__(self, loss, miner, parts, across_ranks):
        super().__init__()
        self.network = ReIDNetwork(
            TwoConvolutions(),
            GeMPooling(),
            LinearNeck,
            SoftmaxClassifier,
            IDENTITIES,
            parts=parts,
        )
        config = {"loss": loss, "miner": miner, "across_ranks": across_ranks}
        self.objective = build_objective(config, self.network, IDENTITIES)
        self.objective.tasks["identity"] = IdentityTask(label_smoothing=0.1)
        for module in self.modules():  # its statistics are of a process's images
            if isinstance(module, nn.BatchNorm1d):
                module.eval()

    def forward(self, images, labels):
        return self.objective(
            self.network, self.network(images), {"labels": labels}, all_gather_with_grad
        ).total


def nodes(loss, miner):
    import hydra

    from reid_lightning.config.resolve import plain

    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("config", [f"loss=[{loss}]", f"miner={miner or 'none'}", "output_dir=none"])
        parts = None if config.parts is None else Groups if loss == "jigsaw" else Stripes
        return plain(config.loss), plain(config.miner), parts


def outcome(loss, miner, rank, world, share=None, across_ranks=True):
    """Return the loss and the gradients of one step on this rank's identities, or on a share of them alone."""
    torch.manual_seed(0)
    step = Step(*nodes(loss, miner), across_ranks)
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(IDENTITIES * IMAGES, 3, 16, 8, generator=generator)
    labels = torch.arange(IDENTITIES).repeat_interleave(IMAGES)
    share = share or slice(rank * len(labels) // world, (rank + 1) * len(labels) // world)
    wrapped = DistributedDataParallel(step) if world > 1 else step
    total = wrapped(images[share], labels[share])
    total.backward()
    gradients = {
        name: parameter.grad.clone()
        for name, parameter in step.named_parameters()
        if parameter.grad is not None
    }
    return total.detach(), gradients


def work(rank):
    results = {(loss, miner): outcome(loss, miner, rank, WORLD) for loss in LOSSES for miner in MINERS}
    results[ALONE] = outcome("triplet", "batch_hard", rank, WORLD, across_ranks=False)
    return results


@pytest.fixture(scope="module")
def two_ranks(processes):
    return processes(work)


@pytest.mark.slow
@pytest.mark.parametrize("miner", MINERS, ids=str)
@pytest.mark.parametrize("loss", LOSSES)
def test_two_processes_give_the_gradients_of_one(two_ranks, loss, miner):
    total, gradients = outcome(loss, miner, 0, 1)
    totals = torch.stack([ranks[loss, miner][0] for ranks in two_ranks])
    torch.testing.assert_close(totals.mean(), total, rtol=1e-5, atol=1e-5)
    for rank in range(WORLD):
        found = two_ranks[rank][loss, miner][1]
        assert found.keys() == gradients.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_mining_within_each_process_averages_what_each_finds_alone(two_ranks):
    half = IDENTITIES * IMAGES // 2
    alone = [outcome("triplet", "batch_hard", 0, 1, share=slice(i * half, (i + 1) * half)) for i in range(2)]
    _, joined = outcome("triplet", "batch_hard", 0, 1)
    for rank in range(WORLD):
        found_total, found = two_ranks[rank][ALONE]
        torch.testing.assert_close(found_total, alone[rank][0], rtol=1e-5, atol=1e-5)
        for name, gradient in found.items():
            mean = (alone[0][1][name] + alone[1][1][name]) / 2
            torch.testing.assert_close(gradient, mean, rtol=1e-4, atol=1e-5)
        assert any(not torch.allclose(found[name], joined[name], rtol=1e-2, atol=1e-4) for name in found)
