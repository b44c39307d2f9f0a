"""Any model of timm as a backbone."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
from torch import Tensor, nn
from torch.nn import functional

from reid_lightning.models.backbone import IMAGENET, Backbone, Encoded, load_file
from reid_lightning.models.feed import PLAIN, Feed, fed_by, of_timm
from reid_lightning.models.lean_timm import timm
from reid_lightning.models.lora import add_lora
from reid_lightning.models.pip_weights import PACKAGES, feed_of_package, installed_file
from reid_lightning.models.strides import (
    overlap_patches,
    overlapping_grid,
    patch_size_of,
    skeleton,
    undo_last_stride,
)
from reid_lightning.models.swin_windows import pad_windows as pad_windows_of
from reid_lightning.models.swin_windows import require_swin
from reid_lightning.models.weights import download, reach


def as_timm(name: str, weights: str | None) -> Feed:
    """Return how timm, or the package that the weights come from, evaluates a model; from scratch it returns nothing."""
    if weights is None:
        return PLAIN
    if weights == IMAGENET and installed_file(name) is not None:
        return feed_of_package(name)
    config = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    return PLAIN if config is None else of_timm(config, name)


@fed_by(as_timm)
class TimmBackbone(Backbone):
    """Any timm model as a backbone; a transformer's patch tokens become the map.

    Args:
        name: Model name, as `timm.list_models()` has it.
        weights: `imagenet` (those of an installed package, else the model's default), a file, or None.
        image_size: Height and width in pixels; a transformer's position embeddings are fitted to it.
        frozen_layers: First layers to freeze: the stem or patch embedding (with position embeddings and class
            token), then each block.
        patch_stride: Pixels between the patches of a plain vision transformer (`vit_*`, `deit*`, `eva*`, `beit*`), at most
            their side; fewer overlap them (He et al. 2021, TransReID: 12 of 16). None: the side.
        last_stride: 1 undoes the last stride of a convolutional model: twice the rows and columns of its map, and no
            dilation. 2: the model as it is.
        stages: Feature maps of the model, counted from 0, that make up the map: joined along the channels, those of earlier
            stages averaged to the size of the last, which must be among them. None: the last alone.
        gradient_checkpointing: Compute activations again in the backward pass instead of keeping them: the same gradients
            with less memory and about a third more time.
        lora: `rank`, `alpha` and `targets` of `lora.add_lora`; None trains all weights.
        drop_path_rate: Probability that the last block is skipped in training, falling to 0 at the first (Huang et al.
            2016). None: the model's own.
        pad_windows: Pad the maps of a Swin to whole windows before these are shifted, and keep the windows' size where a map
            is smaller: what OpenMMLab's Swin does, and SOLIDER's. False: as timm does.

    Raises:
        ValueError: The name is unknown, `imagenet` is asked for and timm has no weights of this model, or the model lacks
            what is asked of it.
    """

    checks_images = True

    def __init__(
        self,
        name: str,
        weights: str | None,
        image_size: Sequence[int] | None = None,
        frozen_layers: int = 0,
        patch_stride: int | None = None,
        last_stride: int = 2,
        drop_path_rate: float | None = None,
        stages: Sequence[int] | None = None,
        gradient_checkpointing: bool = False,
        lora: Mapping[str, Any] | None = None,
        pad_windows: bool = False,
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
        if pad_windows:
            require_swin(name)
            arguments["always_partition"] = True
        pixels = image_size or (config.input_size[1:] if config is not None else (224, 224))
        if patch_stride is not None:
            patch = patch_size_of(name, patch_stride)
            grid = overlapping_grid(pixels, patch, patch_stride)
            arguments["img_size"] = (grid[0] * patch[0], grid[1] * patch[1])
        file: str | Path | None = weights
        if weights == IMAGENET:
            file = installed_file(name) or IMAGENET
        if file == IMAGENET:
            if config is None or not timm.is_model_pretrained(name):
                raise ValueError(
                    f"weights must be a file or null, got {weights}: timm has no weights of {name}"
                )
            url = f"https://huggingface.co/{config.hf_hub_id}/resolve/main/model.safetensors"
            body = download(lambda: _pretrained(name, arguments), url, package=PACKAGES.get(name))
        else:
            body = _untrained(name, arguments)
        if patch_stride is not None:
            overlap_patches(body, pixels, patch_stride)
        if last_stride == 1:
            undo_last_stride(body, name, pixels)
        if pad_windows:
            pad_windows_of(body)
        _normalize_tokens(body)
        _let_merging_shift(body)
        load_file(body, file)
        layers = _timm_layers(body)
        if gradient_checkpointing:
            _checkpoint_gradients(body, name)
        if lora is not None:
            _add_lora(body, lora)
        super().__init__(
            body, layers, int(body.num_features), frozen_layers, _timm_depths(body), as_timm(name, weights)
        )
        self.takes_one_size = patch_stride is not None or (config is not None and config.fixed_input_size)
        self._name, self._pixels = name, (int(pixels[0]), int(pixels[1]))
        self.has_token = getattr(body, "cls_token", None) is not None and stages is None
        self._earlier: list[int] | None = None
        if stages is not None:
            self._earlier = _earlier(body, name, stages)
            self.out_channels += sum(body.feature_info[stage]["num_chs"] for stage in self._earlier)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) normalized images to a (B, C, h, w) feature map."""
        return self.encode(images).map

    def encode(self, images: Tensor) -> Encoded:
        """Return map and class token of (B, 3, H, W) normalized images, both after the model's last normalization."""
        body: Any = self.body
        if self._earlier is not None:
            output, maps = body.forward_intermediates(images, self._earlier, norm=True, output_fmt="NCHW")
            last = self.as_map(output)
            earlier = [functional.adaptive_avg_pool2d(one, (last.shape[2], last.shape[3])) for one in maps]
            return Encoded(torch.cat([*earlier, last], dim=1))
        output = body.forward_features(images)
        return Encoded(self.as_map(output), self._token(output) if self.has_token else None)

    def _token(self, tokens: Tensor) -> Tensor:
        """Return the (B, C) class token; a distilled model averages it with that of distillation, as timm does."""
        return tokens[:, :2].mean(1) if hasattr(self.body, "dist_token") else tokens[:, 0]

    def as_map(self, output: Tensor) -> Tensor:
        """Return tokens, or a map with channels last, as a (B, C, h, w) map."""
        body: Any = self.body
        if not isinstance(output, Tensor) or output.ndim not in (3, 4):
            raise ValueError(
                f"name must be a model that gives one feature map; {self._name} gives several outputs"
            )
        if output.ndim == 4:
            return output.permute(0, 3, 1, 2) if getattr(body, "output_fmt", "NCHW") == "NHWC" else output
        prefix = getattr(body, "num_prefix_tokens", int(getattr(body, "cls_token", None) is not None))
        tokens = output[:, prefix:]
        return tokens.transpose(1, 2).unflatten(2, self._grid(tokens.shape[1]))

    def _grid(self, count: int) -> tuple[int, int]:
        """Return rows and columns of the tokens: of the patches, or in the image's proportions if these are merged."""
        grid = getattr(getattr(self.body, "patch_embed", None), "grid_size", None)
        if grid is not None and grid[0] * grid[1] == count:
            return grid[0], grid[1]
        height, width = self._pixels
        for rows in range(1, count + 1):
            if count % rows == 0 and rows * width == (count // rows) * height:
                return rows, count // rows
        raise ValueError(
            f"name must be a model that gives one feature map; {self._name} gives {count} vectors of an image of {height} x "
            f"{width} pixels, which are not its rows and columns"
        )

    @torch.no_grad()
    def check_images(self) -> None:
        """Refuse a model that cannot take images of this size, or gives no map: pass an empty one.

        Raises:
            ValueError: Names the model, the size and what the model says.
        """
        height, width = self._pixels
        training = self.training
        try:
            self.eval()(torch.zeros(1, 3, height, width))
        except (RuntimeError, AssertionError, AttributeError, TypeError, KeyError) as error:
            said = " ".join(str(error).split()) or "it does not say why"
            raise ValueError(
                f"name must be a model that takes images of {height} x {width} pixels, which {self._name} does not: {said}; "
                "choose another, or the data.image_size that it was made for"
            ) from error
        finally:
            self.train(training)


def _checkpoint_gradients(body: Any, name: str) -> None:
    """Let a model compute activations again in the backward pass."""
    try:
        body.set_grad_checkpointing(True)
    except (AssertionError, AttributeError, NotImplementedError) as error:
        raise ValueError(
            f"gradient_checkpointing must be false for {name}, which timm cannot checkpoint"
        ) from error


def _add_lora(body: nn.Module, settings: Mapping[str, Any]) -> None:
    known = ("rank", "alpha", "targets")
    if unknown := [key for key in settings if key not in known]:
        raise ValueError(f"lora must have rank, alpha and targets only, got {', '.join(map(str, unknown))}")
    add_lora(body, **settings)


def _earlier(body: Any, name: str, stages: Sequence[int]) -> list[int]:
    """Return the chosen stages without the last one."""
    count = len(getattr(body, "feature_info", ()))
    if count < 2 or not hasattr(body, "forward_intermediates"):
        raise ValueError(f"stages must be null for {name}, whose maps timm does not give out by stages")
    chosen = sorted(set(stages))
    if not chosen or chosen[0] < 0 or chosen[-1] != count - 1:
        raise ValueError(
            f"stages must be numbers from 0 to {count - 1}, the last of {name}, which must be among them, got {list(stages)}"
        )
    return chosen[:-1]


def _untrained(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Return a timm model as it starts."""
    try:
        return timm.create_model(name, **arguments)
    except (AssertionError, TypeError) as error:
        if "drop_path_rate" in str(error):
            raise ValueError(f"drop_path_rate must be null for {name}, which skips no blocks") from error
        if "global_pool" not in arguments:
            size = " x ".join(map(str, arguments.get("img_size", ()))) or "its own size"
            said = str(error) or type(error).__name__
            raise ValueError(
                f"name must be a model that can be built for images of {size} pixels, got {name}: {said}"
            ) from error
    # A model whose head needs its own pooling, such as a distilled DeiT: the head is not used.
    return _untrained(name, {key: value for key, value in arguments.items() if key != "global_pool"})


def _pretrained(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Return a timm model with its default weights; the network is asked only for what Hugging Face's cache lacks."""
    config: Any = timm.get_pretrained_cfg(name)
    arguments = _as_pretrained(name, arguments)
    cached = None
    if config.hf_hub_id and not config.custom_load:
        cached = huggingface_hub.try_to_load_from_cache(config.hf_hub_id, "model.safetensors")
    if isinstance(cached, str):
        return timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"file": cached}, **arguments)
    reach(huggingface_hub.constants.ENDPOINT if config.hf_hub_id else config.url)
    return timm.create_model(name, pretrained=True, **arguments)


def _as_pretrained(name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the arguments with the model's own pooling where its weights have layers that belong to it."""
    body = skeleton(name)
    own = getattr(body, "attn_pool", None) is not None or _pools_first(body)
    return {key: value for key, value in arguments.items() if key != "global_pool" or not own}


def _pools_first(body: Any) -> bool:
    """Return whether a transformer normalizes after it has pooled, not before."""
    norm = getattr(body, "fc_norm", None)
    return isinstance(norm, nn.Module) and not isinstance(norm, nn.Identity)


def _normalize_tokens(body: Any) -> None:
    """Let a transformer that normalizes after pooling do so with each token, and drop a pooling by attention."""
    if _pools_first(body) and isinstance(body.norm, nn.Identity):
        body.norm, body.fc_norm = body.fc_norm, nn.Identity()
    if getattr(body, "attn_pool", None) is not None:
        body.attn_pool = None


def _let_merging_shift(body: nn.Module) -> None:
    """Give the layers of a Swin that merge patches a bias of zeros, where SOLIDER's weights have their shift."""
    for module in body.modules():
        if isinstance(module, timm.models.swin_transformer.PatchMerging):
            module.reduction.bias = nn.Parameter(torch.zeros(module.reduction.out_features))


def _timm_depths(body: Any) -> list[nn.Module]:
    """Return the modules that give a timm model's feature maps; none where it names what is no module of its own."""
    try:
        return [body.get_submodule(stage["module"]) for stage in getattr(body, "feature_info", ())]
    except AttributeError:
        return []


def _timm_layers(body: Any) -> list[nn.Module]:
    """Return the layers of a timm model in order of depth, as timm's own layer decay numbers them.

    Those of a model that timm does not number are its direct parts.
    """
    if not hasattr(body, "group_matcher"):
        return [part for part in body.children() if next(part.parameters(), None) is not None]
    numbered: dict[int, list[str]] = timm.models.group_parameters(body, body.group_matcher(coarse=False))
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
