"""What the network returns."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor


class Features(NamedTuple):
    """The network's output for a batch of B images.

    Attributes:
        before_neck: (B, D) the vector before the neck's normalization; metric losses read it.
        embedding: (B, D) the vector that retrieval compares; with attribute re-weighting [f ; a].
        classifier: (B, D') the classifier's input, after the neck; with attribute re-weighting [f ; a].
        extra: What branches of the network add, by name, (B, ...) each.
    """

    before_neck: Tensor
    embedding: Tensor
    classifier: Tensor
    extra: Mapping[str, Tensor] = {}

    def each(self, change: Callable[[Tensor], Tensor]) -> "Features":
        """Return these features with every field changed."""
        before_neck, embedding, classifier = map(change, self[:3])
        extra = {name: change(field) for name, field in self.extra.items()}
        return Features(before_neck, embedding, classifier, extra)

    def with_extra(self, name: str | None, field: Tensor | None) -> "Features":
        """Return these features with a further field, if it has a name and is there."""
        if name is None or field is None:
            return self
        return self._replace(extra={**self.extra, name: field})

    def get(self, name: str) -> Tensor | None:
        """Return a field by its name; None where the network does not give it."""
        return getattr(self, name) if name in FIELDS else self.extra.get(name)

    def vectors(self, name: str) -> Tensor:
        """Return a field as (B, D) vectors, its rows one after the other.

        Raises:
            KeyError: The network does not give it.
        """
        field = self.get(name)
        if field is None:
            raise KeyError(name)
        return field.flatten(1)


FIELDS = ("before_neck", "embedding", "classifier")
"""The fields that every network gives."""
