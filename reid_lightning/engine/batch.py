"""The batches that any loader returns."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from reid_lightning.errors import InputError

_MEANINGS = {
    "images": "(B, 3, H, W), uint8 or float in [0, 1]",
    "labels": "(B,) training identities, 0 to num_identities - 1",
    "person_ids": "(B,) integer identities",
    "camera_ids": "(B,) integer cameras, -1 where unknown",
    "index": "(B,) the number of each image, another for every image of the evaluation",
    "is_query": "(B,) whether an image is a query",
}


class Batch(dict[str, Tensor]):
    """Fields by name. A field that is read and missing is an `InputError` that names it.

    Training reads `images` and `labels`; an evaluation reads `images`, `person_ids`, `camera_ids`, `index` and
    `is_query`, and `tracklet_ids` where there are any. A network that knows the cameras of its training reads `cameras`,
    their (B,) numbers as `ReIDNetwork.forward` takes them, where there are any. Tasks may read more.

    Examples:
        >>> Batch({"images": Tensor()})["labels"]  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        reid_lightning.errors.InputError: the loader's batches have no field labels: (B,) training identities, ...
    """

    @classmethod
    def of(cls, given: Any) -> "Batch":
        """Return what a loader gave as a batch.

        Raises:
            InputError: It is not a dictionary.
        """
        if not isinstance(given, Mapping):
            raise InputError(
                f"the loader's batches are of type {type(given).__name__}: they must be dictionaries of tensors, with "
                "images and labels"
            )
        return cls(given)

    def __missing__(self, field: str) -> Tensor:
        meaning = f": {_MEANINGS[field]}" if field in _MEANINGS else ""
        raise InputError(
            f"the loader's batches have no field {field}{meaning}; they have {', '.join(sorted(self)) or 'none'}"
        )
