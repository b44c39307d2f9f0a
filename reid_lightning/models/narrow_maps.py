"""A way around wrong bfloat16 convolutions of CPUs, where a map ends up one column wide.

oneDNN 3.13 (in torch 2.15) reads memory that nobody has written in a padded bfloat16 convolution whose stride is above 1
and whose output is one column wide: its weight gradient is wrong or NaN with AVX-512, and with AMX its result too.
`ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16` cures the result alone. Output of two columns is right, whatever the height:

    x, weight = torch.randn(12, 64, 4, 2).bfloat16(), torch.randn(128, 64, 3, 3).bfloat16()
    junk = [torch.full((size,), math.nan) for size in (1_000, 20_000, 300_000, 2_000_000)]
    del junk
    torch.nn.functional.conv2d(x, weight, stride=2, padding=1)  # on AMX: NaN, infinite or off by 100
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SecondColumnConv2d(nn.Conv2d):
    """A strided convolution that computes a second column where there would be one, and drops it.

    The input gets further columns of zeros, which is what lies there anyway, so that the column that stays is the same.
    Acts in bfloat16 on a CPU alone.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return what `nn.Conv2d` does."""
        columns = input.shape[-1]
        if (
            input.device.type != "cpu"
            or not _computes_in_bfloat16(input)
            or self._output_columns(columns) != 1
        ):
            return super().forward(input)
        added = 1
        while self._output_columns(columns + added) < 2:
            added += 1
        return super().forward(F.pad(input, (0, added)))[..., :1]

    def _output_columns(self, columns: int) -> int:
        padding = self.padding[1]
        assert isinstance(padding, int)
        reach = self.dilation[1] * (self.kernel_size[1] - 1) + 1
        return (columns + 2 * padding - reach) // self.stride[1] + 1


def widen_narrow_maps(network: nn.Module) -> None:
    """Make the network's convolutions that may fail `SecondColumnConv2d`, in place; parameters and names stay."""
    for module in network.modules():
        if type(module) is nn.Conv2d and module.padding_mode == "zeros":
            padding = module.padding
            if not isinstance(padding, str) and module.stride[1] > 1 and padding[1] > 0:
                module.__class__ = SecondColumnConv2d


def _computes_in_bfloat16(images: Tensor) -> bool:
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu") == torch.bfloat16
    return images.dtype == torch.bfloat16
