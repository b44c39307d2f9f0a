"""SOLIDER-REID (tinyvision/SOLIDER-REID, Chen et al., CVPR 2023): its Swin Transformers, trained for re-identification.

A semantic weight scales and shifts the merged patches. At test it is a constant, 0.2 in all its published results, so that
scale and shift become a part of the layers that merge. The vector before the neck is compared, scaled to length 1.
"""

import torch

from reid_lightning.experiments.imports.imported import CLASSIFIER, Imported, Project, State, renamed
from reid_lightning.models.feed import HALF
from reid_lightning.models.weight_names import SEMANTIC_WEIGHT, from_solider

_NAMES = tuple(f"swin_{size}_patch4_window7_224" for size in ("tiny", "small", "base"))
_VIT = "its vision transformers are those of TransReID, which no result of SOLIDER uses"
_WITH_SEMANTICS = (
    f"The semantic weight is {SEMANTIC_WEIGHT}, which SOLIDER's results are trained and tested with; "
    "the file does not say it"
)
_WITHOUT_SEMANTICS = "The network has no semantic weight: its merged patches are neither scaled nor shifted"
_MERGING = "backbone.body.layers.{stage}.downsample.reduction"
_UNUSED = [
    (r"^classifier\.", CLASSIFIER),
    (
        r"\.relative_position_index$",
        "which offset two positions of a window have, which follows from its size",
    ),
    (r"^base\.norm[012]\.", "the norm of an earlier stage's map, which retrieval does not read"),
    (
        r"^base\.semantic_embed_[wb]\.3\.",
        "the semantic weight's effect behind the last map, which nothing reads",
    ),
]


def read(state: State, name: str) -> Imported:
    """Return a network of SOLIDER-REID.

    Args:
        state: The tensors of the file.
        name: As `MODEL.TRANSFORMER_TYPE` has it.

    Raises:
        ValueError: The file holds a pre-trained backbone, which no neck was trained with.
    """
    if any(".attn.w_msa." in key for key in state) and not any(key.startswith("base.") for key in state):
        raise ValueError(
            f"it is SOLIDER's pre-trained backbone, not a model of re-identification; train it with backbone=timm "
            f"backbone.name={name} backbone.pad_windows=true backbone.weights=FILE"
        )
    kept, unused = renamed(state, [], _UNUSED)
    body = {key.removeprefix("base."): tensor for key, tensor in kept.items() if key.startswith("base.")}
    weights = {f"backbone.body.{key}": tensor for key, tensor in from_solider(body).items()}
    for stage in (1, 2, 3):
        reduction = weights.get(f"{_MERGING.format(stage=stage)}.weight")
        if reduction is not None:  # a Swin without a semantic weight shifts nothing
            weights.setdefault(f"{_MERGING.format(stage=stage)}.bias", torch.zeros(len(reduction)))
    head, _ = renamed(
        {key: tensor for key, tensor in kept.items() if not key.startswith("base.")},
        [(r"^bottleneck\.", "neck.norm."), (r"^fcneck\.", "neck.projection.")],
    )
    weights |= head
    reduced = weights.get("neck.projection.weight")
    has_semantics = any(key.startswith("semantic_embed_w.") for key in body)
    return Imported(
        overrides=[
            "backbone=timm",
            f"backbone.name={name}",
            "backbone.pad_windows=true",
            "backbone.weights=null",
            "pooling=avg",
            *(
                ["neck=bnneck"]
                if reduced is None
                else ["neck=projected", f"neck.projection_size={len(reduced)}"]
            ),
            "data.image_size=[384,128]",
            "evaluation=transreid",
        ],
        weights=weights,
        unused=unused,
        feed={
            "mean": list(HALF),
            "std": list(HALF),
            "interpolation": "bilinear",
            "source": "solider",
        },
        notes=[_WITH_SEMANTICS if has_semantics else _WITHOUT_SEMANTICS],
    )


SOLIDER = Project(
    title="SOLIDER-REID",
    names=_NAMES,
    refused={
        f"{kind}_{size}_patch16_224_TransReID": _VIT for kind in ("vit", "deit") for size in ("base", "small")
    }
    | dict.fromkeys(
        ("resnet50", "resnet50_ibn_a"), "its ResNets are those of TransReID, which no result of SOLIDER uses"
    ),
    sign=r"^base\.stages\.",
    plain='import torch\ntorch.save(torch.load("{file}", weights_only=False), "plain.pth")',
    read=read,
)
