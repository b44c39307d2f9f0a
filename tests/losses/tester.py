"""What every loss has to pass, whatever it compares."""

import torch

from reid_lightning.losses.spec import output_of


def outcome(loss, *batch):
    """Return value and diagnostics of a loss."""
    output = output_of(loss, *batch)
    return output.value, dict(output.diagnostics)


def assert_sane(loss, inputs, *batch):
    """Value, gradients and diagnostics are finite, and the diagnostics carry no gradient; return the value.

    Args:
        loss: The loss.
        inputs: Leaves whose gradients are looked at.
        batch: What the loss is called with.
    """
    value, diagnostics = outcome(loss, *batch)
    value.backward()
    assert value.ndim == 0
    assert value.isfinite()
    assert all(leaf.grad.isfinite().all() for leaf in inputs)
    assert all(diagnostic.isfinite() for diagnostic in diagnostics.values())
    assert not any(diagnostic.requires_grad for diagnostic in diagnostics.values())
    return value


def assert_plain_call_is_the_value(loss, *batch):
    """`loss(...)` is the scalar that `output` holds, to the bit, and leaves nothing behind on the loss."""
    before = set(vars(loss))
    value, _ = outcome(loss, *batch)
    assert torch.equal(loss(*batch), value)
    assert set(vars(loss)) == before
