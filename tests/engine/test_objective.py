import pytest
import torch
from torch import nn
from torch.nn import functional

from reid_lightning.engine.objective import MultiTaskObjective
from reid_lightning.errors import InputError
from reid_lightning.experiments.factory import build_objective
from reid_lightning.models.features import Features
from reid_lightning.systems.attributes.loss import AttributeLoss


class Spread(nn.Module):
    """Mean squared embedding; remembers what it was given."""

    def forward(self, embeddings, labels, indices_tuple=None):
        self.seen = (embeddings, labels, indices_tuple)
        return embeddings.square().mean()


class OwnPairs(Spread):
    forms_own_pairs = True


def batch(dtype=torch.float32):
    torch.manual_seed(0)
    vectors = torch.randn(6, 4, dtype=dtype, requires_grad=True)
    return (
        Features(vectors, vectors, vectors),
        torch.tensor([0, 0, 1, 1, 2, 2]),
        torch.randn(6, 3, dtype=dtype),
    )


def test_terms_are_weighed_and_added():
    features, labels, logits = batch()
    objective = MultiTaskObjective(
        {"spread": Spread()}, {"spread": 0.25}, identity_weight=2.0, label_smoothing=0.1
    )
    outcome = objective(features, labels, logits)
    identity = functional.cross_entropy(logits, labels, label_smoothing=0.1)
    torch.testing.assert_close(outcome.total, 2 * identity + 0.25 * features.before_neck.square().mean())
    assert outcome.terms.keys() == {"identity", "spread"}


@pytest.mark.parametrize(("given", "seen"), [(torch.bfloat16, torch.float32), (torch.float64, torch.float64)])
def test_losses_see_half_types_as_float32_and_float64_as_it_is(given, seen):
    features, labels, logits = batch(given)
    loss = Spread()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outcome = MultiTaskObjective({"spread": loss}, {"spread": 1.0})(features, labels, logits)
    assert loss.seen[0].dtype == seen
    assert outcome.total.dtype == seen


def test_the_miner_serves_the_losses_that_take_triplets():
    features, labels, logits = batch()
    own, takes = OwnPairs(), Spread()
    triplets = (torch.tensor([0]), torch.tensor([1]), torch.tensor([2]))
    objective = MultiTaskObjective(
        {"own": own, "takes": takes}, {"own": 1.0, "takes": 1.0}, miner=lambda embeddings, labels: triplets
    )
    objective(features, labels, logits)
    assert own.seen[2] is None
    assert takes.seen[2] is triplets


def test_a_list_with_padding_goes_to_the_losses_that_take_it():
    class Miner(nn.Module):
        def forward(self, embeddings, labels):
            return "listed"

        def padded(self, embeddings, labels):
            return "padded"

    features, labels, logits = batch()
    takes, plain = Spread(), Spread()
    takes.takes_padding = True
    for miner, given in ((Miner(), "padded"), (lambda embeddings, labels: "listed", "listed")):
        MultiTaskObjective({"takes": takes, "plain": plain}, {"takes": 1.0, "plain": 1.0}, miner=miner)(
            features, labels, logits
        )
        assert (takes.seen[2], plain.seen[2]) == (given, "listed")


def test_nothing_to_train_is_refused():
    with pytest.raises(InputError, match="nothing to train"):
        build_objective({}, None, None, label_smoothing=0.0, num_classes=3, embedding_size=4)


def test_the_weight_is_read_from_the_losses_node():
    node = {"triplet": {"_target_": "torch.nn.Identity", "weight": 0.5}}
    objective = build_objective(
        node, {"weight": 3.0}, None, label_smoothing=0.0, num_classes=3, embedding_size=4
    )
    assert objective.weights == {"triplet": 0.5}
    assert objective.identity_weight == 3.0


@pytest.mark.parametrize(("across_ranks", "images"), [(True, 12), (False, 6)])
def test_losses_see_the_joined_batch_or_their_own_share(across_ranks, images):
    features, labels, logits = batch()
    plain, keeping = Spread(), Spread()
    keeping.register_buffer("centers", torch.zeros(1))  # must stay alike in all processes
    seen = []
    objective = MultiTaskObjective(
        {"plain": plain, "keeping": keeping},
        {"plain": 1.0, "keeping": 1.0},
        miner=lambda embeddings, labels: seen.append(len(labels)),
        across_ranks=across_ranks,
    )
    objective(features, labels, logits, lambda tensor: torch.cat([tensor, tensor]))
    assert (len(plain.seen[0]), len(plain.seen[1])) == (images, images)
    assert len(keeping.seen[0]) == 12
    assert set(seen) == {images, 12}


def test_mining_looks_at_the_vectors_that_a_plugged_in_loss_compares():
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.losses import TripletMarginLoss

    features, labels, logits = batch()
    for normalize in (True, False):
        seen = []

        def miner(embeddings, labels, seen=seen):
            seen.append(embeddings)
            return torch.tensor([0]), torch.tensor([1]), torch.tensor([2])

        loss = TripletMarginLoss(distance=LpDistance(normalize_embeddings=normalize))
        MultiTaskObjective({"pml": loss}, {"pml": 1.0}, miner=miner)(features, labels, logits)
        expected = functional.normalize(features.before_neck) if normalize else features.before_neck
        torch.testing.assert_close(seen[0], expected)


def test_the_attribute_term_is_weighed_beside_the_others():
    features, labels, logits = batch()
    heads = AttributeLoss(sizes=(2, 3))
    targets = torch.tensor([[0, 2], [1, -1], [-1, -1], [0, 0], [1, 1], [-1, 2]])
    features = features.with_extra("attributes", torch.randn(6, 5))
    for identity_weight in (2.0, 0.0):
        objective = MultiTaskObjective(
            {}, {}, identity_weight=identity_weight, attribute_loss=heads, attribute_weight=0.5
        )
        outcome = objective(features, labels, logits, attributes=targets)
        expected = 0.5 * heads(features.extra["attributes"], targets)
        if identity_weight:
            expected = 2.0 * functional.cross_entropy(logits, labels) + expected
        torch.testing.assert_close(outcome.total, expected)
        assert outcome.terms.keys() == {"attributes"} | ({"identity"} if identity_weight else set())


def test_annotations_change_nothing_without_heads():
    features, labels, logits = batch()
    targets = torch.zeros(6, 12, dtype=torch.int64)
    losses = {"spread": Spread()}
    totals = [
        MultiTaskObjective(losses, {"spread": 1.0})(features, labels, logits, attributes=attributes).total
        for attributes in (None, targets)
    ]
    assert torch.equal(*totals)
    assert torch.equal(
        totals[0], functional.cross_entropy(logits, labels) + features.before_neck.square().mean()
    )


def test_the_attribute_loss_sees_the_batch_of_all_processes_in_float32():
    features, labels, logits = batch(torch.bfloat16)
    seen = []

    class Heads(AttributeLoss):
        def forward(self, logits, targets):
            seen.append((logits.dtype, len(logits), len(targets)))
            return super().forward(logits, targets)

    features = features.with_extra("attributes", torch.randn(6, 2, dtype=torch.bfloat16))
    objective = MultiTaskObjective({}, {}, attribute_loss=Heads((2,)), across_ranks=False)
    targets = torch.zeros(6, 1, dtype=torch.int64)
    objective(features, labels, logits, lambda tensor: torch.cat([tensor, tensor]), targets)
    assert seen == [(torch.float32, 12, 12)]
