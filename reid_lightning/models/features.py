"""What the network returns."""

from typing import NamedTuple

from torch import Tensor


class Features(NamedTuple):
    """The network's output for a batch of B images.

    Attributes:
        metric: (B, D) the vector before the neck's normalisation; metric losses read it.
        embedding: (B, D) the vector that retrieval compares; with attribute re-weighting [f ; a].
        classifier: (B, D') the classifier's input, after the neck; with attribute re-weighting [f ; a].
        attributes: (B, C) attribute logits, one block per head.
        local: (B, S, d) local features of S horizontal stripes.
        descriptor: (B, D'') the multi-depth descriptor, outside of training.
    """

    metric: Tensor
    embedding: Tensor
    classifier: Tensor
    attributes: Tensor | None = None
    local: Tensor | None = None
    descriptor: Tensor | None = None
