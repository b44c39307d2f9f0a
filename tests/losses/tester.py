"""What every loss has to pass: a class of tests that the modules of the losses fill with their cases."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from reid_lightning.losses.spec import MetricLoss, output_of
from reid_lightning.mining.batch_hard import BatchHardMiner
from reid_lightning.models.features import Features

SIZE, STRIPES = 6, (3, 2)  # of an embedding; number and size of stripes, together as long
CLASSES = 4
BATCHES = 50
ODD_LABELS = {
    "one identity": [0, 0, 0, 0],
    "one image per identity": [0, 1, 2, 3],
    "single image": [0],
    "pair": [2, 2],
    "two strangers": [3, 1],
    "three images": [1, 1, 0],
    "unequal counts": [0, 0, 0, 1, 2, 2, 2, 2, 3],
}
ODD_VECTORS: dict[str, Callable[[int], Tensor]] = {
    "random": lambda n: torch.randn(n, SIZE),
    "duplicated": lambda n: torch.ones(n, SIZE),
    "duplicated off the grid": lambda n: torch.linspace(0.1, 1.7, SIZE).repeat(n, 1),
    "zero": lambda n: torch.zeros(n, SIZE),
    "some zero": lambda n: torch.randn(n, SIZE) * (torch.arange(n) % 2)[:, None],
    "opposite": lambda n: torch.ones(n, SIZE) * (1 - 2.0 * (torch.arange(n) % 2))[:, None],
    "huge": lambda n: 1e4 * torch.randn(n, SIZE),
    "from bfloat16": lambda n: torch.randn(n, SIZE).bfloat16().float(),
}
Triplets = list[tuple[int, ...]] | None


@dataclass(frozen=True)
class Case:
    """A loss to test.

    Attributes:
        loss: Made for embeddings of `SIZE`, stripes of `STRIPES` and `CLASSES` identities. A test works on a copy.
        oracle: The same loss by plain loops over what it is given in float64, labels and triplets (None: all).
        slope: Whether its gradient is the slope of its value; not where it takes some of its terms as constant.
        any_label: Whether labels may be any integers; False: they number what the loss keeps for each identity.
    """

    loss: MetricLoss
    oracle: Callable[[MetricLoss, Any, list[int], Triplets], float]
    slope: bool = True
    any_label: bool = True

    def batch(self, seed: int, dtype: torch.dtype = torch.float64) -> tuple[list[Tensor], Tensor]:
        """Return leaves and labels of 4 to 13 images of up to four people, with unequal counts."""
        generator = torch.Generator().manual_seed(seed)
        count = int(torch.randint(4, 14, (1,), generator=generator))
        labels = torch.randint(0, CLASSES, (count,), generator=generator)
        return self.leaves(torch.randn(2, count, SIZE, generator=generator, dtype=dtype)), labels

    def leaves(self, vectors: Tensor) -> list[Tensor]:
        """Return what the loss reads, of (2, N, SIZE) vectors: embeddings, and stripes where it reads them."""
        shapes = [(-1, SIZE)] + [(-1, *STRIPES)] * len(self.loss.spec.reads)
        return [
            part.reshape(shape).clone().requires_grad_() for part, shape in zip(vectors, shapes, strict=False)
        ]

    def given(self, leaves: Sequence[Tensor]) -> Any:
        """Return leaves as the loss takes them: embeddings alone, or whole features."""
        vectors, *stripes = leaves
        if not self.loss.spec.reads:
            return vectors
        return Features(vectors, vectors, vectors, dict(zip(self.loss.spec.reads, stripes, strict=True)))

    def made(self, dtype: torch.dtype = torch.float64) -> MetricLoss:
        """Return a new copy of the loss."""
        return copy.deepcopy(self.loss).to(dtype)

    def indices(self, leaves: Sequence[Tensor], labels: Tensor) -> Iterator[Any]:
        """Yield what miners may hand to the loss: nothing, and triplets unless it forms its own pairs."""
        yield None
        if not self.loss.spec.forms_own_pairs:
            yield BatchHardMiner()(leaves[0].detach(), labels)


class LossTester:
    """Tests of the losses of `cases`; a subclass whose name begins with Test names them."""

    cases: Sequence[Case] = ()

    def pytest_generate_tests(self, metafunc):
        """Give every test each of the cases, and those of odd batches each of these."""
        if "case" in metafunc.fixturenames:
            names = [f"{type(case.loss).__name__}{place}" for place, case in enumerate(self.cases)]
            metafunc.parametrize("case", self.cases, ids=names)
        if "odd" in metafunc.fixturenames:
            metafunc.parametrize("odd", [(v, k) for v in ODD_VECTORS for k in ODD_LABELS], ids=", ".join)

    def test_it_equals_plain_loops(self, case):
        for seed in range(BATCHES):
            leaves, labels = case.batch(seed)
            for indices in case.indices(leaves, labels):
                triplets = indices and list(zip(*(column.tolist() for column in indices), strict=True))
                loss = case.made()
                expected = case.oracle(
                    loss, case.given([x.detach() for x in leaves]), labels.tolist(), triplets
                )
                found = loss(case.given(leaves), labels, indices).item()
                assert found == pytest.approx(expected, abs=1e-6, rel=1e-9)

    def test_its_gradient_is_the_slope_of_its_value(self, case):
        if not case.slope:
            pytest.skip("some of its terms are constants; its module tests the gradient")
        for seed in (3, 4):
            leaves, labels = case.batch(seed)
            for indices in case.indices(leaves, labels):
                loss = case.made().eval()
                assert torch.autograd.gradcheck(lambda *x: loss(case.given(x), labels, indices), leaves)  # noqa: B023

    def test_odd_batches_are_finite_and_have_a_gradient(self, case, odd):
        torch.manual_seed(0)
        vectors, names = odd
        labels = torch.tensor(ODD_LABELS[names])
        for indices in case.indices([ODD_VECTORS[vectors](len(labels))], labels):
            leaves = case.leaves(torch.stack([ODD_VECTORS[vectors](len(labels)) for _ in range(2)]))
            loss = case.made(torch.float32)
            value = assert_sane(loss, leaves, case.given(leaves), labels, indices)
            assert all(state.isfinite().all() for state in loss.state_dict().values())
            if not loss.spec.forms_own_pairs and names not in ("unequal counts", "three images"):
                assert value == 0  # there is no triplet
                assert not any(leaf.grad.any() for leaf in leaves)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_types_are_promoted_and_autocast_is_off(self, case, dtype):
        leaves, labels = case.batch(1, torch.float32)
        halves = [leaf.detach().to(dtype) for leaf in leaves]
        exact = case.made(torch.float32)(case.given([half.float() for half in halves]), labels)
        found = case.made(torch.float32)(case.given(halves), labels)
        assert found.dtype == torch.float32
        assert torch.equal(found, exact)
        with torch.autocast("cpu", dtype=dtype):
            assert torch.equal(case.made(torch.float32)(case.given(halves), labels), exact)

    def test_padding_counts_for_nothing(self, case):
        """Batches from 4 images, where distances come from the whole matrix, to 13, where each triplet is computed."""
        assert case.loss.spec.takes_padding != case.loss.spec.forms_own_pairs
        for seed in range(30 * case.loss.spec.takes_padding):
            found = []
            for mine in (BatchHardMiner(), BatchHardMiner().padded):
                leaves, labels = case.batch(seed)
                triplets = mine(leaves[0].detach(), labels)
                value, diagnostics = outcome(case.made(), case.given(leaves), labels, triplets)
                value.backward()
                found.append((value.detach(), [leaf.grad for leaf in leaves], diagnostics))
            torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)

    def test_neither_names_of_people_nor_the_order_of_images_matter(self, case):
        leaves, labels = case.batch(5)
        value = case.made()(case.given(leaves), labels)
        if case.any_label:
            torch.testing.assert_close(case.made()(case.given(leaves), 1000 - 7 * labels), value)
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        shuffled = case.made()(case.given([leaf[order] for leaf in leaves]), labels[order])
        torch.testing.assert_close(shuffled, value)

    def test_a_call_is_the_value_of_its_output_and_leaves_nothing_behind(self, case):
        leaves, labels = case.batch(6)
        loss, given = case.made(), case.given(leaves)
        value, _ = outcome(case.made(), given, labels)
        attributes, state = set(vars(loss)), copy.deepcopy(loss.state_dict())
        assert torch.equal(loss(given, labels), value)
        assert set(vars(loss)) == attributes
        same = all(torch.equal(loss.state_dict()[name], tensor) for name, tensor in state.items())
        assert same != loss.spec.keeps_state
        assert torch.equal(loss.eval()(given, labels), loss(given, labels))

    def test_its_spec_is_true(self, case):
        leaves, labels = case.batch(7)
        loss, given, spec = case.made(), case.given(leaves), case.loss.spec
        if spec.forms_own_pairs:
            with pytest.raises(ValueError, match="forms its own pairs"):
                loss(given, labels, tuple(torch.tensor([0]) for _ in range(3)))
        for field in spec.reads:
            with pytest.raises(ValueError, match=f"reads features of {field}"):
                loss(given._replace(extra={}), labels)
        if spec.per_image:
            images = [
                loss(case.given([leaf[i : i + 1] for leaf in leaves]), labels[i : i + 1])
                for i in range(len(labels))
            ]
            torch.testing.assert_close(torch.stack(images).mean(), loss(given, labels))


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
    assert all(leaf.grad is None or leaf.grad.isfinite().all() for leaf in inputs)
    assert any(leaf.grad is not None for leaf in inputs)
    assert diagnostics
    assert all(diagnostic.isfinite() for diagnostic in diagnostics.values())
    assert not any(diagnostic.requires_grad for diagnostic in diagnostics.values())
    return value
