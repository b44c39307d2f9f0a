"""What losses that read whole `Features` share."""

from torch import Tensor

from reid_lightning.errors import InputError
from reid_lightning.models.features import Features


def stripes_of(features: Features, name: str) -> Tensor:
    """Return the (B, S, d) stripe features that a loss reads.

    Raises:
        InputError: The network gives none.
    """
    if "stripes" not in features.extra:
        raise InputError(
            f"loss={name} reads the features of stripes, which this network does not give; "
            "choose parts=stripes, parts=aligned or parts=scp."
        )
    return features.extra["stripes"]
