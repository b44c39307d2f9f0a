"""What losses that read whole `Features` share."""

from torch import Tensor

from reid_lightning.models.features import Features


def stripes_of(loss: object, features: Features) -> Tensor:
    """Return the (B, S, d) stripe features that a loss reads.

    Raises:
        ValueError: The network gives none.
    """
    if "stripes" not in features.extra:
        raise ValueError(f"{type(loss).__name__} reads features of stripes, which this network does not give")
    return features.extra["stripes"]
