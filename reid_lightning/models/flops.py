"""What a network computes for one image."""

import torch
from torch import nn


@torch.no_grad()
def forward_gflops(network: nn.Module, image_size: tuple[int, int]) -> float:
    """Return the floating-point operations of one image's features, in 10^9; a multiplication and an addition are two.

    Convolutions, linear layers and attention count, as `torch.utils.flop_counter` knows them; papers often give half of this
    number, the multiply-adds.

    Args:
        network: Takes (1, 3, H, W) uint8 images; is evaluated, and left in the modes that it was in.
        image_size: Height and width in pixels.
    """
    from torch.utils.flop_counter import FlopCounterMode

    modes = [(module, module.training) for module in network.modules()]
    device = next(network.parameters()).device
    images = torch.zeros(1, 3, *image_size, dtype=torch.uint8, device=device)
    network.eval()
    try:
        with FlopCounterMode(display=False) as counter:
            network.forward(images)  # not by a call, which would compile a network that is trained compiled
    finally:
        for module, mode in modes:
            module.training = mode
    return float(counter.get_total_flops()) / 1e9
