"""How far features are from those of each package's own preprocessing: `python benchmarks/feeds.py`.

A file of 90 x 50 pixels is resized, normalized and passed through the network, once as the package does it at its own size
(without the center crop, which is made for ImageNet) and once as a run does. Weights of timm and torchvision are random,
with batch statistics that are not 0 and 1, because there may be no network to download any; those of EfficientNet-Lite are
ImageNet's. The last column is the same network fed with ImageNet's mean and deviation, whatever it was trained with.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torchvision
from measure import arguments, write_rows
from PIL import Image
from timm.data.transforms_factory import create_transform
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from reid_lightning.data.decoding import decode_image
from reid_lightning.models.convolutional_backbones import resnet
from reid_lightning.models.feed import PLAIN
from reid_lightning.models.normalization import InputNormalization
from reid_lightning.models.timm_backbone import TimmBackbone

FAMILIES = (
    "vit_tiny_patch16_224", "vit_base_patch32_clip_224", "vit_small_patch14_dinov2", "swin_tiny_patch4_window7_224",
    "convnext_atto", "tf_efficientnet_b0", "mobilenetv4_conv_small", "resnetv2_50x1_bit", "regnetx_002",
    "mixer_s32_224", "inception_v3", "nfnet_l0",
)  # fmt: skip
PACKAGED = ("tf_efficientnet_lite0", "tf_efficientnet_lite1", "tf_efficientnet_lite2")


def write_photo(path: Path) -> None:
    """A file with edges, gradients and noise."""
    y, x = np.mgrid[:90, :50]
    noise = np.random.default_rng(0).integers(-40, 40, (90, 50, 3))
    pixels = np.stack([2 * y, 4 * x, 128 + 100 * np.sin(x / 4)], axis=2) + noise
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)


def varied(model: nn.Module) -> nn.Module:
    """A model whose batch statistics are not 0 and 1."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.copy_(0.1 * torch.randn(module.num_features))
            module.running_var.copy_(0.5 + torch.rand(module.num_features))
    return model.eval()


def of_timm(name: str, photo: Path, folder: Path) -> tuple[Any, Tensor, tuple[int, int]]:
    """The backbone as a run builds it, its package's own image, and the size."""
    config = timm.get_pretrained_cfg(name)
    assert config is not None
    transform = create_transform(
        config.input_size, mean=config.mean, std=config.std, interpolation=config.interpolation, crop_pct=1.0,
        crop_mode="squash",
    )  # fmt: skip
    size = config.input_size[1:]
    if name in PACKAGED:
        backbone = TimmBackbone(name, "imagenet", size)
        pixels = np.asarray(Image.open(photo).resize(size[::-1], Image.Resampling.BICUBIC), np.float32)
        return backbone, torch.from_numpy((pixels - 127) / 128).permute(2, 0, 1), size
    torch.save(varied(timm.create_model(name, num_classes=0)).state_dict(), folder / "weights.pt")
    return TimmBackbone(name, str(folder / "weights.pt"), size), transform(Image.open(photo)), size


def of_torchvision(name: str, photo: Path, folder: Path) -> tuple[Any, Tensor, tuple[int, int]]:
    """The same of a ResNet of torchvision."""
    torch.save(varied(torchvision.models.get_model(name)).state_dict(), folder / "weights.pt")
    preset = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].transforms()
    preset.crop_size = preset.resize_size = [224]
    image = preset(Image.open(photo).resize((224, 224), Image.Resampling.BILINEAR))
    return resnet(name, str(folder / "weights.pt")), image, (224, 224)


@torch.no_grad()
def compared(backbone: Any, image: Tensor, photo: Path, size: tuple[int, int]) -> list[tuple[float, float]]:
    """Largest difference of unit features to the package's own, with the feed of the weights and with ImageNet's."""
    backbone.eval()
    own = backbone(image[None]).mean((2, 3))[0]
    rows = []
    for feed in (backbone.feed, PLAIN):
        pixels = torch.from_numpy(decode_image(str(photo), size, feed.interpolation)).permute(2, 0, 1)[None]
        seen = backbone(InputNormalization(feed.mean, feed.std)(pixels)).mean((2, 3))[0]
        rows.append(
            (float((seen - own).abs().max() / own.norm()), float(1 - cosine_similarity(seen, own, 0)))
        )
    return rows


def main() -> None:
    options = arguments(__doc__).parse_args()
    rows = []
    print("| network | fed with | largest difference | cosine to ImageNet's numbers |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "photo.png"
        write_photo(photo)
        for build, names in ((of_timm, (*FAMILIES, *PACKAGED)), (of_torchvision, ("resnet18", "resnet50"))):
            for name in names:
                torch.manual_seed(0)
                backbone, image, size = build(name, photo, Path(folder))
                (difference, _), (_, distance) = compared(backbone, image, photo, size)
                rows.append({"network": name, "difference": difference, "distance": distance})
                print(
                    f"| {name} | {backbone.feed.in_short()} | {difference:.1e} | {1 - distance:.4f} |",
                    flush=True,
                )
    write_rows(options.json, rows)


if __name__ == "__main__":
    main()
