"""A vision transformer that uses the camera of an image."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from timm.models import checkpoint_seq
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from reid_lightning.models.backbone import Encoded
from reid_lightning.models.feed import fed_by
from reid_lightning.models.timm_backbone import TimmBackbone, as_timm


@fed_by(as_timm)
class TransReIDBackbone(TimmBackbone):
    """A plain vision transformer with side information: an embedding of the camera is added to all tokens (He et al. 2021,
    "TransReID", eq. 4).

    It enters before the first block, after the position embeddings, times a constant. An image of another camera, or of an
    unknown one, gets the mean over the cameras of the training, so that strangers' images can be compared; the paper has no
    answer for them.

    Args:
        name: A plain vision transformer of timm with a class token (`vit_*`, `deit_*`).
        weights: `imagenet`, a file, or None.
        cameras: Names of the training's cameras as `source/camera_id`; fewer than two, or None, give no embedding.
        camera_weight: Factor of the embedding, the paper's lambda.
        image_size: Height and width in pixels.
        frozen_layers: First layers to freeze.
        patch_stride: Pixels between the patches; fewer than their side overlap them (Sec. 3.1).
        drop_path_rate: Probability that the last block is skipped in training.
        gradient_checkpointing: Compute activations again in the backward pass.
        lora: As in `TimmBackbone`.

    Raises:
        ValueError: The model is no plain vision transformer with a class token.
    """

    gives_earlier = True

    def __init__(
        self,
        name: str,
        weights: str | None,
        cameras: Sequence[str] | None = None,
        camera_weight: float = 3.0,
        image_size: Sequence[int] | None = None,
        frozen_layers: int = 0,
        patch_stride: int | None = None,
        drop_path_rate: float | None = 0.1,
        gradient_checkpointing: bool = False,
        lora: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            name,
            weights,
            image_size,
            frozen_layers,
            patch_stride,
            drop_path_rate=drop_path_rate,
            gradient_checkpointing=gradient_checkpointing,
            lora=lora,
        )
        body: Any = self.body
        if type(body) is not VisionTransformer or not self.has_token or body.num_prefix_tokens != 1:
            raise ValueError(
                "name must be a plain vision transformer with a class token (vit_*, deit_*) for backbone=transreid, got "
                f"{name}"
            )
        self.camera_weight = camera_weight
        self.cameras: nn.Parameter | None = None
        if cameras is not None and len(cameras) > 1:
            self.cameras = nn.Parameter(torch.empty(len(cameras), 1, self.out_channels))
            nn.init.trunc_normal_(self.cameras, std=0.02)
        self.reads_cameras = self.cameras is not None

    def forward(self, images: Tensor, cameras: Tensor | None = None) -> Tensor:
        """Map (B, 3, H, W) normalized images and their (B,) cameras to a (B, C, h, w) feature map."""
        return self.encode(images, cameras).map

    def encode(self, images: Tensor, cameras: Tensor | None = None) -> Encoded:
        """Return map, class token and the tokens before the last block.

        Args:
            images: (B, 3, H, W) normalized.
            cameras: (B,) int64 positions among the training's cameras, -1 for any other; None: none is known.
        """
        body: Any = self.body
        tokens = body._pos_embed(body.patch_embed(images))
        if self.cameras is not None:
            tokens = tokens + self.camera_weight * self._side_information(self.cameras, cameras)
        tokens = body.norm_pre(body.patch_drop(tokens))
        *first, last = body.blocks
        if body.grad_checkpointing and self.training:
            earlier = checkpoint_seq(first, tokens)
            output = checkpoint_seq([last], earlier)
        else:
            earlier = tokens
            for block in first:
                earlier = block(earlier)
            output = last(earlier)
        output = body.norm(output)
        return Encoded(self.as_map(output), output[:, 0], earlier)

    def _side_information(self, table: Tensor, cameras: Tensor | None) -> Tensor:
        """Return what is added to the tokens, (B, 1, C), or (1, 1, C) where no camera is known."""
        mean = table.mean(0, keepdim=True)
        if cameras is None:
            return mean
        return torch.where((cameras >= 0)[:, None, None], table[cameras.clamp(min=0)], mean)
