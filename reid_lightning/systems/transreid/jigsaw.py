"""Features of shuffled groups of patches."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from reid_lightning.errors import InputError, require
from reid_lightning.models.backbone import Encoded
from reid_lightning.models.branches import Parts


class Jigsaw(Parts):
    """The jigsaw patch module: patches are moved, shuffled and cut into groups, each of which tells the person (He et al.
    2021, "TransReID", Sec. 3.2).

    One further copy of the transformer's last block and normalization reads the class token and one group of patches at a
    time; what becomes of the class token is the group's feature. The field's first row is the whole image's class token, the
    others are the groups' features divided by their number: flattened it is what the published code compares.

    Args:
        in_features: Channels C of the tokens.
        groups: Groups of patches, S.
        shift: Steps by which the sequence of class token and patches is moved: the first `shift - 1` patches come last.
        shuffle: Patches are dealt out to so many columns and read row by row.

    Raises:
        ValueError: A setting is out of range.
    """

    gives = "jigsaw"
    needs_loss = True
    reads_token = True
    local_shape: tuple[int, int]

    def __init__(self, in_features: int, groups: int = 4, shift: int = 5, shuffle: int = 2) -> None:
        super().__init__()
        for name, value in (("groups", groups), ("shift", shift), ("shuffle", shuffle)):
            require(value >= 1, name, ">= 1", value)
        self.groups, self.shift, self.shuffle = groups, shift, shuffle
        self.local_shape = (groups + 1, in_features)
        self.block: nn.Module = nn.Identity()
        self.norm: nn.Module = nn.Identity()

    def adopt(self, backbone: nn.Module) -> None:
        """Begin with a copy of the backbone's last block.

        Raises:
            InputError: It gives no tokens, or fewer patches than there are groups.
        """
        if not getattr(backbone, "gives_earlier", False):
            raise InputError("parts=jigsaw reads the tokens of a transformer: choose backbone=transreid")
        body: Any = backbone.body
        if self.groups > (count := body.patch_embed.num_patches):
            raise InputError(
                f"parts.groups must be at most the {count} patches of an image, got {self.groups}"
            )
        self.block, self.norm = copy.deepcopy(body.blocks[-1]), copy.deepcopy(body.norm)

    def of_encoded(self, images: Tensor, encoded: Encoded) -> tuple[None, Tensor]:
        """Return no pooled vector, and the (B, 1 + S, C) features of the image and of its groups."""
        tokens, whole = encoded.earlier, encoded.token
        assert tokens is not None
        assert whole is not None
        local = [self.norm(self.block(group))[:, 0] / self.groups for group in self._cut(tokens)]
        return None, torch.stack([whole, *local], dim=1)

    def _cut(self, tokens: Tensor) -> list[Tensor]:
        """Return S sequences (B, 1 + N // S, C) of (B, 1 + N, C) tokens, each led by the class token."""
        size = (tokens.shape[1] - 1) // self.groups
        patches = shuffled(tokens, self.shift, self.shuffle)
        return [
            torch.cat([tokens[:, :1], patches[:, start : start + size]], dim=1)
            for start in range(0, self.groups * size, size)
        ]


def shuffled(tokens: Tensor, shift: int, shuffle: int) -> Tensor:
    """Return the patches of (B, 1 + N, C) tokens, moved and dealt out (He et al. 2021, Sec. 3.2, as published in code).

    Where N cannot be dealt out evenly, the last patch but one is repeated at the end, as often as needed.

    Examples:
        >>> shuffled(torch.arange(7).view(1, 7, 1), shift=3, shuffle=2).flatten()  # 0 is the class token
        tensor([3, 6, 4, 1, 5, 2])
    """
    patches = torch.cat([tokens[:, shift:], tokens[:, 1:shift]], dim=1)
    missing = -patches.shape[1] % shuffle
    if missing:
        patches = torch.cat([patches, patches[:, -2:-1].expand(-1, missing, -1)], dim=1)
    return patches.unflatten(1, (shuffle, -1)).transpose(1, 2).flatten(1, 2)
