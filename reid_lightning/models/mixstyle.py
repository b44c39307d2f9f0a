"""MixStyle: the statistics of channels, an image's style, mixed between the images of a batch (Zhou et al. 2021)."""

import torch
from torch import Tensor

EPSILON = 1e-6


def mix_style(maps: Tensor, order: Tensor, weights: Tensor) -> Tensor:
    """Give each image's map the mean and deviation of its channels between its own and those of another image.

    What light, color and camera do to an image stands for the most part in these statistics, and what tells people apart
    does not (Zhou et al. 2021, "Domain generalization with MixStyle", eq. 4 to 6). No gradient goes through them.

    Args:
        maps: (B, C, h, w) of an early layer.
        order: (B,) number of the image in the batch that each is mixed with.
        weights: (B,) share of the image's own statistics, from 0 to 1.

    Returns:
        (B, C, h, w), of the same type.

    Examples:
        >>> maps = torch.randn(2, 3, 8, 8)
        >>> mixed = mix_style(maps, torch.tensor([1, 0]), torch.zeros(2))
        >>> torch.allclose(mixed.mean((2, 3)), maps.mean((2, 3)).flip(0), atol=1e-5)
        True
    """
    values = maps.float()
    variance, mean = torch.var_mean(values.detach(), dim=(2, 3), correction=0, keepdim=True)
    deviation = (variance + EPSILON).sqrt()
    own = weights.to(values).view(-1, 1, 1, 1)
    new_mean = torch.lerp(mean[order], mean, own)
    new_deviation = torch.lerp(deviation[order], deviation, own)
    return ((values - mean) / deviation * new_deviation + new_mean).to(maps.dtype)
