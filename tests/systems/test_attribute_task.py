"""The terms of attributes and identity, as the objective adds them."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional

from reid_lightning.data.attributes import Attribute, AttributeSchema
from reid_lightning.engine.objective import Objective
from reid_lightning.errors import InputError
from reid_lightning.models.features import Features
from reid_lightning.systems.attributes.loss import AttributeLoss
from reid_lightning.systems.attributes.task import AttributeTask, check_annotations
from reid_lightning.systems.identity.task import IdentityTask

SCHEMA = AttributeSchema(
    "two", (Attribute("hat", "hat", ("no", "yes")), Attribute("age", "age", ("a", "b", "c")))
)


def a_batch(dtype=torch.float32):
    torch.manual_seed(0)
    vectors, logits = torch.randn(6, 4, dtype=dtype), torch.randn(6, 3, dtype=dtype)
    network = SimpleNamespace(classify=lambda features, labels=None: logits)
    features = Features(vectors, vectors, vectors, {"attributes": torch.randn(6, 5, dtype=dtype)})
    targets = torch.tensor([[0, 2], [1, -1], [-1, -1], [0, 0], [1, 1], [-1, 2]])
    return network, features, {"labels": torch.tensor([0, 0, 1, 1, 2, 2]), "attributes": targets}, logits


@pytest.mark.parametrize("identity_weight", [2.0, 0.0])
def test_the_attribute_term_is_weighed_beside_the_others(identity_weight):
    network, features, batch, logits = a_batch()
    heads = AttributeLoss(sizes=SCHEMA.sizes)
    tasks = {
        "identity": IdentityTask(identity_weight),
        "attributes": AttributeTask(SCHEMA, heads, weight=0.5),
    }
    outcome = Objective(tasks)(network, features, batch)
    expected = 0.5 * heads(features.extra["attributes"], batch["attributes"])
    if identity_weight:
        expected = 2.0 * functional.cross_entropy(logits, batch["labels"]) + expected
    torch.testing.assert_close(outcome.total, expected)
    assert outcome.terms.keys() == {"attributes"} | ({"identity"} if identity_weight else set())


def test_the_attribute_loss_sees_the_batch_of_all_processes_in_float32():
    network, features, batch, _ = a_batch(torch.bfloat16)
    seen = []

    class Heads(AttributeLoss):
        def forward(self, logits, targets):
            seen.append((logits.dtype, len(logits), len(targets)))
            return super().forward(logits, targets)

    task = AttributeTask(SCHEMA, Heads(SCHEMA.sizes))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        task.losses(network, features, batch, lambda tensor: torch.cat([tensor, tensor]))
    assert seen == [(torch.float32, 12, 12)]


def test_heads_that_nothing_trains_are_named_and_data_without_any_refused(caplog):
    check_annotations(["hat", "age"], [2, 3], [4, 0, 0, 0, 1])
    assert not caplog.records
    check_annotations(["hat", "age"], [2, 3], [4, 1, 0, 0, 0])
    assert "no training image has a known age" in caplog.text
    with pytest.raises(InputError, match="no training image has any"):
        check_annotations(["hat", "age"], [2, 3], [0] * 5)
