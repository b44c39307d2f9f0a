"""Any model of timm as a backbone."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import huggingface_hub
import timm
import torch
from timm.models import group_parameters
from timm.models.swin_transformer import PatchMerging
from torch import Tensor, nn

from reid_lightning.models.backbone import IMAGENET, Backbone, load_file
from reid_lightning.models.strides import overlap_patches, overlapping_grid, patch_size_of, undo_last_stride
from reid_lightning.models.weights import download, reach


class TimmBackbone(Backbone):
    """Any timm model as a backbone; a transformer's patch tokens become the map.

    Args:
        name: Model name, as `timm.list_models()` has it.
        weights: `imagenet` (the model's default), a file, or None.
        image_size: Height and width in pixels; a transformer's position embeddings are fitted to it.
        frozen_layers: First layers to freeze: the stem or patch embedding (with position embeddings and class
            token), then each block.
        patch_stride: Pixels between the patches of a plain vision transformer (`vit_*`, `deit*`, `eva*`, `beit*`), at most
            their side; fewer overlap them (He et al. 2021, TransReID: 12 of 16). None: the side.
        last_stride: 1 undoes the last stride of a convolutional model: twice the rows and columns of its map, and no
            dilation. 2: the model as it is.
        drop_path_rate: Probability that the last block is skipped in training, falling to 0 at the first (Huang et al.
            2016). None: the model's own.

    Raises:
        ValueError: The name is unknown, `imagenet` is asked for and timm has no weights of this model, or the model lacks
            what is asked of it.
    """

    def __init__(
        self,
        name: str,
        weights: str | None,
        image_size: Sequence[int] | None = None,
        frozen_layers: int = 0,
        patch_stride: int | None = None,
        last_stride: int = 2,
        drop_path_rate: float | None = None,
    ) -> None:
        if last_stride not in (1, 2):
            raise ValueError(f"last_stride must be 1 or 2, got {last_stride}")
        if drop_path_rate is not None and not 0 <= drop_path_rate < 1:
            raise ValueError(f"drop_path_rate must be >= 0 and < 1, got {drop_path_rate}")
        if not timm.is_model(name):
            near = difflib.get_close_matches(name, timm.list_models(), 5, 0.6)
            raise ValueError(
                f"name must be a timm model, got {name}; "
                + (f"near it: {', '.join(near)}" if near else "`reid list timm` shows all")
            )
        arguments: dict[str, Any] = {"num_classes": 0, "global_pool": ""}
        config = timm.get_pretrained_cfg(name)
        if image_size is not None and config is not None and config.fixed_input_size:
            arguments["img_size"] = tuple(image_size)
        if drop_path_rate is not None:
            arguments["drop_path_rate"] = drop_path_rate
        pixels = image_size or (config.input_size[1:] if config is not None else (224, 224))
        if patch_stride is not None:
            patch = patch_size_of(name, patch_stride)
            grid = overlapping_grid(pixels, patch, patch_stride)
            arguments["img_size"] = (grid[0] * patch[0], grid[1] * patch[1])
        if weights == IMAGENET:
            if config is None or not timm.is_model_pretrained(name):
                raise ValueError(
                    f"weights must be a file or null, got {weights}: timm has no weights of {name}"
                )
            url = f"https://huggingface.co/{config.hf_hub_id}/resolve/main/model.safetensors"
            body = download(lambda: _pretrained(name, arguments), url)
        else:
            body = _untrained(name, arguments)
        if patch_stride is not None:
            overlap_patches(body, pixels, patch_stride)
        if last_stride == 1:
            undo_last_stride(body, name, pixels)
        _let_merging_shift(body)
        load_file(body, weights)
        depths = [body.get_submodule(stage["module"]) for stage in getattr(body, "feature_info", ())]
        super().__init__(body, _timm_layers(body), int(body.num_features), frozen_layers, depths)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) normalised images to a (B, C, h, w) feature map."""
        body: Any = self.body
        return self.as_map(body.forward_features(images))

    def as_map(self, output: Tensor) -> Tensor:
        """Return tokens, or a map with channels last, as a (B, C, h, w) map."""
        body: Any = self.body
        if output.ndim == 3:
            tokens = output[:, body.num_prefix_tokens :]
            return tokens.transpose(1, 2).unflatten(2, tuple(body.patch_embed.grid_size))
        return output.permute(0, 3, 1, 2) if getattr(body, "output_fmt", "NCHW") == "NHWC" else output


def _untrained(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Return a timm model as it starts."""
    try:
        return timm.create_model(name, **arguments)
    except (AssertionError, TypeError) as error:
        if "drop_path_rate" in str(error):
            raise ValueError(f"drop_path_rate must be null for {name}, which skips no blocks") from error
        if "global_pool" not in arguments:
            raise
    # A model whose head needs its own pooling, such as a distilled DeiT: the head is not used.
    return _untrained(name, {key: value for key, value in arguments.items() if key != "global_pool"})


def _pretrained(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Return a timm model with its default weights; the network is asked only for what Hugging Face's cache lacks."""
    config: Any = timm.get_pretrained_cfg(name)
    cached = None
    if config.hf_hub_id and not config.custom_load:
        cached = huggingface_hub.try_to_load_from_cache(config.hf_hub_id, "model.safetensors")
    if isinstance(cached, str):
        return timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"file": cached}, **arguments)
    reach(huggingface_hub.constants.ENDPOINT if config.hf_hub_id else config.url)
    return timm.create_model(name, pretrained=True, **arguments)


def _let_merging_shift(body: nn.Module) -> None:
    """Give the layers of a Swin that merge patches a bias of zeros, where SOLIDER's weights have their shift."""
    for module in body.modules():
        if isinstance(module, PatchMerging):
            module.reduction.bias = nn.Parameter(torch.zeros(module.reduction.out_features))


def _timm_layers(body: Any) -> list[nn.Module]:
    """Return the layers of a timm model in order of depth, as timm's own layer decay numbers them."""
    numbered: dict[int, list[str]] = group_parameters(body, body.group_matcher(coarse=False))
    return [_owners(body, set(numbered[number])) for number in sorted(numbered)]


def _owners(body: nn.Module, names: set[str]) -> nn.Module:
    """Return the modules that hold the named parameters and no others, and those parameters that have no such."""
    whole, bare = nn.ModuleList(), nn.ParameterList()
    for prefix in sorted({name.rpartition(".")[0] for name in names}):
        owner = body.get_submodule(prefix)
        own = {f"{prefix}.{name}".lstrip("."): p for name, p in owner.named_parameters()}
        if own.keys() <= names:
            whole.append(owner)
        else:  # position embeddings hang on the model itself
            bare.extend(p for name, p in own.items() if name in names and name.rpartition(".")[0] == prefix)
    return nn.ModuleList([whole, bare])
