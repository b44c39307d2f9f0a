"""CLIP-ReID (Syliz517/CLIP-ReID, Li et al., AAAI 2023): CLIP's vision transformer, trained for re-identification.

At test it compares the class token beside its projection into CLIP's space of images and texts, each before its
normalization, the whole scaled to length 1. Texts take part in the training alone.
"""

import torch
from torch import Tensor

from reid_lightning.experiments.imports.imported import CLASSIFIER, Imported, Project, State, renamed
from reid_lightning.models.feed import HALF

# Height, width and pixels between patches by the number of position embeddings, that of the class token among them. The
# number is all that a file says of them.
_GRIDS = {
    16 * 8 + 1: ((256, 128), 16),
    21 * 10 + 1: ((256, 128), 12),
    24 * 8 + 1: ((384, 128), 16),
    31 * 10 + 1: ((384, 128), 12),
    16 * 16 + 1: ((256, 256), 16),
    21 * 21 + 1: ((256, 256), 12),
}
_POSITIONS = "image_encoder.positional_embedding"
_BODY = "backbone.body."
_BLOCK = r"^image_encoder\.transformer\.resblocks\.(\d+)\."
_NAMES = [
    (r"^image_encoder\.class_embedding$", f"{_BODY}cls_token"),
    (r"^image_encoder\.positional_embedding$", f"{_BODY}pos_embed"),
    (r"^image_encoder\.conv1\.", f"{_BODY}patch_embed.proj."),
    (r"^image_encoder\.ln_pre\.", f"{_BODY}norm_pre."),
    (r"^image_encoder\.ln_post\.", f"{_BODY}norm."),
    (rf"{_BLOCK}ln_([12])\.", rf"{_BODY}blocks.\1.norm\2."),
    (rf"{_BLOCK}attn\.in_proj_", rf"{_BODY}blocks.\1.attn.qkv."),
    (rf"{_BLOCK}attn\.out_proj\.", rf"{_BODY}blocks.\1.attn.proj."),
    (rf"{_BLOCK}mlp\.c_fc\.", rf"{_BODY}blocks.\1.mlp.fc1."),
    (rf"{_BLOCK}mlp\.c_proj\.", rf"{_BODY}blocks.\1.mlp.fc2."),
    (r"^image_encoder\.proj$", "neck.projection.weight"),
]
_UNUSED = [
    (
        r"^(prompt_learner|text_encoder)\.",
        "the texts of the training identities, which a training alone reads",
    ),
    (r"^classifier(_proj)?\.", CLASSIFIER),
]
_NECKS = ("bottleneck", "bottleneck_proj")


def read(state: State, name: str) -> Imported:
    """Return a network of CLIP-ReID, or of its baseline without texts, whose image encoder is the same.

    Args:
        state: The tensors of the file.
        name: As `MODEL.NAME` has it.

    Raises:
        ValueError: The network reads cameras or is no vision transformer, or its image size is not known.
    """
    if "cv_embed" in state:
        raise ValueError(
            "it was trained with SIE and adds an embedding of each image's camera or view to the class token "
            "(cv_embed), which networks of this project do not see; import a model trained with "
            "MODEL.SIE_CAMERA False and MODEL.SIE_VIEW False"
        )
    if _POSITIONS not in state:
        raise ValueError(f"it has no {_POSITIONS}, which the vision transformer of {name} has")
    positions = len(state[_POSITIONS])
    if positions not in _GRIDS:
        raise ValueError(
            f"its {positions} position embeddings are those of no known image size: "
            + ", ".join(f"{count} of {h} x {w} at stride {s}" for count, ((h, w), s) in _GRIDS.items())
        )
    (height, width), stride = _GRIDS[positions]
    weights, unused = renamed(state, _NAMES, _UNUSED)
    for key in (f"{_BODY}cls_token", f"{_BODY}pos_embed"):
        if key in weights:
            weights[key] = weights[key].reshape(1, -1, weights[key].shape[-1])
    if "neck.projection.weight" in weights:
        weights["neck.projection.weight"] = weights["neck.projection.weight"].T.contiguous()
    return Imported(
        overrides=[
            "backbone=timm",
            "backbone.name=vit_base_patch16_clip_quickgelu_224",
            f"backbone.patch_stride={'null' if stride == 16 else stride}",
            "backbone.weights=null",
            "pooling=token",
            "neck=projected",
            "neck.projection_size=512",
            "neck.keep_pooled=true",
            f"data.image_size=[{height},{width}]",
            "evaluation=transreid",
        ],
        weights=_with_one_neck(weights),
        unused=unused,
        feed={
            "mean": list(HALF),
            "std": list(HALF),
            "interpolation": "bilinear",
            "source": "clip_reid",
        },
    )


def _with_one_neck(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Join the normalizations of both vectors to that of the joined vector: it takes each dimension alone."""
    first, second = (f"{neck}." for neck in _NECKS)
    joined = {}
    for name, tensor in weights.items():
        part = name.removeprefix(first)
        other = weights.get(second + part)
        if name.startswith(first) and other is not None:
            joined[f"neck.norm.{part}"] = torch.cat([tensor, other]) if tensor.ndim else tensor
        elif not (name.startswith(second) and first + name.removeprefix(second) in weights):
            joined[name] = tensor
    return joined


CLIP_REID = Project(
    title="CLIP-ReID",
    names=("ViT-B-16",),
    refused={"RN50": "it pools by attention beside the mean, which no pooling of this project does"},
    sign=r"^image_encoder\.",
    plain='import torch\ntorch.save(torch.load("{file}", weights_only=False), "plain.pth")',
    read=read,
)
