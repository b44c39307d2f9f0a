from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional

from reid_lightning.engine.objective import Objective
from reid_lightning.errors import InputError
from reid_lightning.experiments.factory import build_objective
from reid_lightning.losses.spec import LossOutput, LossSpec, MetricLoss
from reid_lightning.models.features import Features
from reid_lightning.systems.identity.task import IdentityTask
from reid_lightning.systems.task import Task


class Spread(nn.Module):
    """Mean squared embedding, as another library would write it; remembers what it was given."""

    def forward(self, embeddings, labels, indices_tuple=None):
        self.seen = (embeddings, labels, indices_tuple)
        return embeddings.square().mean()


class OwnPairs(Spread):
    spec = LossSpec(forms_own_pairs=True)


class Keeping(Spread):
    spec = LossSpec(keeps_state=True)  # must stay alike in all processes


class Padded(Spread):
    spec = LossSpec(takes_padding=True)


class Network:
    """Stands for a network whose classifier answers `logits`."""

    def __init__(self, logits):
        self.logits = logits

    def classify(self, features, labels=None):
        return self.logits


def batch(dtype=torch.float32):
    torch.manual_seed(0)
    vectors = torch.randn(6, 4, dtype=dtype, requires_grad=True)
    network = Network(torch.randn(6, 3, dtype=dtype))
    return network, Features(vectors, vectors, vectors), {"labels": torch.tensor([0, 0, 1, 1, 2, 2])}


def test_terms_are_weighed_and_added():
    network, features, given = batch()
    objective = Objective(
        {"identity": IdentityTask(2.0, label_smoothing=0.1)}, {"spread": Spread()}, {"spread": 0.25}
    )
    outcome = objective(network, features, given)
    identity = functional.cross_entropy(network.logits, given["labels"], label_smoothing=0.1)
    torch.testing.assert_close(outcome.total, 2 * identity + 0.25 * features.before_neck.square().mean())
    torch.testing.assert_close(outcome.terms["identity"], identity)
    assert list(outcome.terms) == objective.terms == ["identity", "spread"]


def test_a_task_of_ones_own_adds_terms_diagnostics_and_weights():
    class Length(Task):
        name = "length"

        def __init__(self):
            super().__init__({"long": 3.0, "short": 0.5})
            self.scale = nn.Parameter(torch.tensor(2.0))

        def losses(self, network, features, batch, gather):
            length = self.scale * gather(features.embedding).norm(dim=1).mean()
            return {"long": LossOutput(length, {"seen": length.detach()}), "short": LossOutput(-length)}

    network, features, given = batch()
    task = Length()
    objective = Objective({"length": task})
    outcome = objective(network, features, given)
    length = 2 * features.embedding.norm(dim=1).mean()
    torch.testing.assert_close(outcome.total, 3 * length - 0.5 * length)
    torch.testing.assert_close(outcome.diagnostics, {"long/seen": length.detach()})
    assert list(objective.parameters()) == [task.scale]
    assert list(objective.state_dict()) == ["tasks.length.scale"]


@pytest.mark.parametrize(("given", "seen"), [(torch.bfloat16, torch.float32), (torch.float64, torch.float64)])
def test_losses_see_half_types_as_float32_and_float64_as_it_is(given, seen):
    network, features, labels = batch(given)
    loss = Spread()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outcome = Objective({"identity": IdentityTask()}, {"spread": loss})(network, features, labels)
    assert loss.seen[0].dtype == seen
    assert outcome.total.dtype == seen


def test_the_miner_serves_the_losses_that_take_triplets():
    own, takes = OwnPairs(), Spread()
    triplets = (torch.tensor([0]), torch.tensor([1]), torch.tensor([2]))
    miners = dict.fromkeys(("own", "takes"), lambda embeddings, labels: triplets)
    Objective(losses={"own": own, "takes": takes}, miners=miners)(*batch())
    assert own.seen[2] is None
    assert takes.seen[2] is triplets


def test_each_loss_may_have_a_miner_of_its_own():
    calls = []

    def miner(name):
        return lambda embeddings, labels: calls.append(name) or name

    losses = {name: Spread() for name in ("first", "second", "third", "fourth")}
    shared = miner("shared")
    miners = {"first": shared, "second": miner("own"), "third": None, "fourth": shared}
    Objective(losses=losses, miners=miners)(*batch())
    assert [loss.seen[2] for loss in losses.values()] == ["shared", "own", None, "shared"]
    assert calls == ["shared", "own"]  # mined once for those that share it


def test_a_list_with_padding_goes_to_the_losses_that_take_it():
    class Miner(nn.Module):
        def forward(self, embeddings, labels):
            return "listed"

        def padded(self, embeddings, labels):
            return "padded"

    takes, plain = Padded(), Spread()
    for miner, given in ((Miner(), "padded"), (lambda embeddings, labels: "listed", "listed")):
        miners = {"takes": miner, "plain": miner}
        Objective(losses={"takes": takes, "plain": plain}, miners=miners)(*batch())
        assert (takes.seen[2], plain.seen[2]) == (given, "listed")


def test_nothing_to_train_is_refused():
    for tasks in ({}, {"identity": IdentityTask(0.0)}):
        with pytest.raises(InputError, match="nothing to train"):
            Objective(tasks)


def test_weights_and_miners_are_read_from_the_losses_nodes():
    triplet = {"_target_": "reid_lightning.losses.triplet.TripletLoss"}
    batch_hard, semi_hard = (
        {"_target_": f"reid_lightning.mining.{name}"}
        for name in ("batch_hard.BatchHardMiner", "semi_hard.SemiHardMiner")
    )
    config = {
        "loss": {
            "plain": triplet | {"weight": 0.5},
            "own": triplet | {"miner": semi_hard},
            "all": triplet | {"miner": None},
        },
        "miner": batch_hard,
        "across_ranks": True,
        "classifier": {"weight": 3.0},
        "tasks": {"identity": {"_target_": "reid_lightning.systems.identity.task.IdentityTask"}},
    }
    network = SimpleNamespace(embedding_size=4, parts=None, classifier=nn.Identity())
    objective = build_objective(config, network, num_identities=3)
    assert objective.weights == {"plain": 0.5, "own": 1.0, "all": 1.0}
    named = {name: type(miner).__name__ for name, miner in objective.miners.items()}
    assert named == {"plain": "BatchHardMiner", "own": "SemiHardMiner", "all": "NoneType"}
    assert objective.tasks["identity"].weights == {"identity": 3.0}


@pytest.mark.parametrize(("across_ranks", "images"), [(True, 12), (False, 6)])
def test_losses_see_the_joined_batch_or_their_own_share(across_ranks, images):
    plain, keeping = Spread(), Keeping()
    seen = []
    objective = Objective(
        losses={"plain": plain, "keeping": keeping},
        miners=dict.fromkeys(("plain", "keeping"), lambda embeddings, labels: seen.append(len(labels))),
        across_ranks=across_ranks,
    )
    objective(*batch(), lambda tensor: torch.cat([tensor, tensor]))
    assert (len(plain.seen[0]), len(plain.seen[1])) == (images, images)
    assert len(keeping.seen[0]) == 12
    assert set(seen) == {images, 12}


def test_mining_looks_at_the_vectors_that_a_plugged_in_loss_compares():
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.losses import TripletMarginLoss

    network, features, given = batch()
    for normalize in (True, False):
        seen = []

        def miner(embeddings, labels, seen=seen):
            seen.append(embeddings)
            return torch.tensor([0]), torch.tensor([1]), torch.tensor([2])

        loss = TripletMarginLoss(distance=LpDistance(normalize_embeddings=normalize))
        Objective(losses={"pml": loss}, miners={"pml": miner})(network, features, given)
        expected = functional.normalize(features.before_neck) if normalize else features.before_neck
        torch.testing.assert_close(seen[0], expected)


def test_diagnostics_are_named_after_their_loss():
    class Halved(MetricLoss):
        def output(self, embeddings, labels, indices_tuple=None):
            return LossOutput(embeddings.mean() / 2, {"count": torch.tensor(float(len(labels)))})

    outcome = Objective(losses={"halved": Halved()})(*batch())
    assert outcome.diagnostics == {"halved/count": 6.0}
