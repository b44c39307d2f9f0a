"""TransReID (damo-cv/TransReID, He et al. 2021): vision transformers with cameras and jigsaw patches, or without either.

At test the vectors before the necks are compared, scaled to length 1; with jigsaw patches that is the image's vector and a
quarter of each group's.
"""

from reid_lightning.errors import InputError
from reid_lightning.experiments.imports.imported import CLASSIFIER, Imported, Project, State, renamed

_NAMES = {
    "vit_base_patch16_224_TransReID": "vit_base_patch16_224",
    "deit_base_patch16_224_TransReID": "vit_base_patch16_224",
    "deit_small_patch16_224_TransReID": "deit_small_patch16_224",
}
_LAST = 11  # of twelve blocks
_GRIDS = {  # tokens -> image size and the pixels between patches
    16 * 8: ([256, 128], 16),
    21 * 10: ([256, 128], 12),
    24 * 8: ([384, 128], 16),
    31 * 10: ([384, 128], 12),
}
_SOURCES = {6: "market1501", 8: "dukemtmcreid", 15: "msmt17"}
_NECKS = "a neck of training: vectors are compared before it"


def read(state: State, name: str) -> Imported:
    """Return a network of TransReID.

    Args:
        state: The tensors of the file.
        name: As `MODEL.TRANSFORMER_TYPE` has it.

    Raises:
        InputError: Its images are of a size that TransReID has not for people.
    """
    jigsaw = any(each.startswith("b1.") for each in state)
    last = [
        (r"^b1\.0\.", f"backbone.body.blocks.{_LAST}."),
        (r"^b1\.1\.", "backbone.body.norm."),
        (r"^b2\.0\.", "parts.block."),
        (r"^b2\.1\.", "parts.norm."),
    ]
    replaced = [
        (
            rf"^base\.(blocks\.{_LAST}|norm)\.",
            "the published network runs its copies b1 and b2 in their place",
        )
    ]
    weights, unused = renamed(
        state,
        [
            *last,
            (r"^base\.sie_embed$", "backbone.cameras"),
            (r"^base\.", "backbone.body."),
            (r"^bottleneck\.", "neck.norm."),
        ],
        [
            *(replaced if jigsaw else []),
            (r"^classifier(_\d)?\.", CLASSIFIER),
            (r"^bottleneck_\d\.", _NECKS),
            (r"^base\.fc\.", "the classifier of ImageNet"),
        ],
    )
    size, stride = _grid(state)
    cameras = _cameras(state)
    return Imported(
        overrides=[
            "backbone=transreid",
            f"backbone.name={_NAMES[name]}",
            "backbone.weights=null",
            f"backbone.patch_stride={stride}",
            f"backbone.cameras=[{','.join(cameras)}]",
            "pooling=token",
            "neck=bnneck",
            f"parts={'jigsaw' if jigsaw else 'none'}",
            f"data.image_size=[{size[0]},{size[1]}]",
            "evaluation=transreid",
            f"evaluation.feature={'jigsaw' if jigsaw else 'before_neck'}",
        ],
        weights=weights,
        unused=unused,
        feed={"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear", "source": "transreid"},
        notes=_notes(cameras),
    )


def _grid(state: State) -> tuple[list[int], int]:
    """Return image size and stride, which the number of position embeddings tells."""
    positions = state.get("base.pos_embed")
    tokens = 0 if positions is None or positions.ndim != 3 else positions.shape[1] - 1
    if tokens not in _GRIDS:
        raise InputError(
            f"base.pos_embed must be of {', '.join(map(str, _GRIDS))} patches, which TransReID cuts images of people into, "
            f"got {tokens}"
        )
    return _GRIDS[tokens]


def _cameras(state: State) -> list[str]:
    """Return a name for each camera that the file knows; which ones these are is told by their number alone."""
    table = state.get("base.sie_embed")
    count = 0 if table is None else len(table)
    source = _SOURCES.get(count, "unknown")
    return [f"{source}/{number}" for number in range(1, count + 1)]


def _notes(cameras: list[str]) -> list[str]:
    if not cameras:
        return []
    return [
        f"its {len(cameras)} cameras are taken for {cameras[0]} to {cameras[-1]}; an image of any other gets the mean of "
        "them"
    ]


TRANSREID = Project(
    title="TransReID",
    names=tuple(_NAMES),
    refused={
        "vit_small_patch16_224_TransReID": "it has eight blocks whose attention is scaled in a way that this project lacks"
    },
    sign=r"^base\.(cls_token|pos_embed)$",
    plain='import torch\ntorch.save(torch.load("{file}", weights_only=False), "plain.pth")',
    read=read,
)
