"""What a re-ranking has to offer: an evaluation takes any such object and knows none by name."""

from typing import Protocol

from torch import Tensor

from reid_lightning.retrieval.similarities import Comparison, Similarities


class Rerank(Protocol):
    """Orders a gallery by more than the distances of two vectors, such as their neighbors or further features."""

    @property
    def reads(self) -> str | None:
        """Field of `Features` that is compared beside the vectors; None: the vectors alone."""

    @property
    def keeps_distances(self) -> bool:
        """Whether ranked lists show the distances of the vectors, although in another order."""

    def describe(self) -> str:
        """Return the choices in words, for the line that describes a protocol."""

    def apply(
        self, plain: Similarities, query_extra: Tensor | None = None, gallery_extra: Tensor | None = None
    ) -> Comparison:
        """Return the similarities after re-ranking.

        Args:
            plain: Of all queries to the gallery.
            query_extra: (Q, ...) the field that `reads` names; None where it is None.
            gallery_extra: (G, ...) likewise.

        Raises:
            InputError: These images cannot be re-ranked.
        """


def whole_number(name: str, value: object, least: int) -> None:
    """Refuse what is not a whole number from `least` on.

    Raises:
        ValueError: Names the parameter.

    Examples:
        >>> whole_number("k1", 20, 1)
    """
    if type(value) is not int or value < least:
        raise ValueError(f"{name} must be a whole number >= {least}, got {value}")
