"""What the network returns."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class Features(NamedTuple):
    """The network's output for a batch of B images.

    Attributes:
        metric: (B, D) the vector before the neck's normalisation; metric losses read it.
        embedding: (B, D) the vector that retrieval compares; with attribute re-weighting [f ; a].
        classifier: (B, D') the classifier's input, after the neck; with attribute re-weighting [f ; a].
        attributes: (B, C) attribute logits, one block per head.
        local: (B, S, d) features of S horizontal stripes, from top to bottom.
        descriptor: (B, D'') the multi-depth descriptor, outside of training.
    """

    metric: Tensor
    embedding: Tensor
    classifier: Tensor
    attributes: Tensor | None = None
    local: Tensor | None = None
    descriptor: Tensor | None = None

    def each(self, change: Callable[[Tensor], Tensor]) -> "Features":
        """Return these features with every field that is there changed."""
        changed = {name: change(field) for name, field in self._asdict().items() if field is not None}
        return self._replace(**changed)

    @property
    def stripes(self) -> Tensor | None:
        """The (B, S x d) stripe features one after the other."""
        return None if self.local is None else self.local.flatten(1)
