"""torchreid (KaiyangZhou/deep-person-reid): OSNets and ResNets under torchreid's names.

At test its networks return the vector before the classifier, compared by squared Euclidean distance as it is.
"""

import re

from reid_lightning.experiments.imports.imported import (
    CLASSIFIER,
    Imported,
    Project,
    State,
    imagenet_feed,
    renamed,
)
from reid_lightning.models.weight_names import from_osnet_ain

_OSNET = re.compile(r"osnet(_ibn|_ain)?_x(1_0|0_75|0_5|0_25)")
_WIDTHS = ("1_0", "0_75", "0_5", "0_25")
# Last stride 2, and no layer after the pooling.
_RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
_NAMES = (
    *(f"osnet_x{width}" for width in _WIDTHS),
    "osnet_ibn_x1_0",
    *(f"osnet_ain_x{width}" for width in _WIDTHS),
    *_RESNETS,
    "resnet50_fc512",
    "resnet50_ibn_a",
)
_MOBILENET = (
    "its first block has an expanding layer that timm's MobileNetV2, which this project uses, leaves out"
)


def read(state: State, name: str) -> Imported:
    """Return a network of torchreid.

    Args:
        state: The tensors of the file.
        name: As `torchreid.models.build_model(name)` has it.
    """
    osnet = _OSNET.fullmatch(name)
    if osnet:
        kind, width = osnet[1] or "", osnet[2].replace("_", ".")
        backbone = [f"backbone=osnet{kind}_x1_0", f"backbone.width={width}"]
        state = from_osnet_ain(dict(state))
    else:
        stride = 1 if name.endswith("_fc512") else 2
        backbone = [
            "backbone=resnet_published",
            f"backbone.name={name.partition('_')[0]}",
            "backbone.stem=torchvision",
            f"backbone.last_stride={stride}",
            f"backbone.instance_norm={'true' if name.endswith('_ibn_a') else 'false'}",
        ]
    has_layer = osnet is not None or name.endswith("_fc512")
    weights, unused = renamed(
        state,
        [(r"^fc\.", "neck.layers."), (r"^(conv\d|bn1|layer\d)\.", r"backbone.body.\1.")],
        [(r"^classifier\.", CLASSIFIER)],
    )
    return Imported(
        overrides=[
            *backbone,
            "backbone.weights=null",
            "pooling=avg",
            *(["neck=relu", "neck.embedding_size=512"] if has_layer else ["neck=none"]),
            "data.image_size=[256,128]",
            "evaluation=torchreid",
        ],
        weights=weights,
        unused=unused,
        feed=imagenet_feed("torchreid"),
    )


TORCHREID = Project(
    title="torchreid",
    names=_NAMES,
    refused={
        "mobilenetv2_x1_0": _MOBILENET,
        "mobilenetv2_x1_4": _MOBILENET,
        "resnet50_ibn_b": "its blocks normalize instances after their sum, which this project's ResNets do not",
    },
    sign=r"^(conv2\.0\.conv1\.conv|conv1|layer1\.0\.conv1)\.",
    plain='import torch, torchreid\ntorch.save(torchreid.utils.load_checkpoint("{file}")["state_dict"], "plain.pth")',
    read=read,
)
