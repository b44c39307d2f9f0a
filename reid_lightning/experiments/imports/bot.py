"""BoT (michuanhaohao/reid-strong-baseline, Luo et al. 2019): ResNets with a neck of batch normalization.

Its ResNets without IBN lack the ReLU after the first normalization. At test the vector after the neck is scaled to length 1;
squared Euclidean distances of such vectors rank as cosines do.
"""

from reid_lightning.experiments.imports.imported import (
    CLASSIFIER,
    Imported,
    Project,
    State,
    imagenet_feed,
    renamed,
)

_NAMES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet50_ibn_a")
_SE = "its squeeze-and-excitation layers stand inside the blocks, which no backbone of this project has under these names"


def read(state: State, name: str) -> Imported:
    """Return a network of BoT.

    Args:
        state: The tensors of the file.
        name: As `MODEL.NAME` has it.
    """
    instance_norm = name.endswith("_ibn_a")
    weights, unused = renamed(
        state,
        [(r"^base\.", "backbone.body."), (r"^bottleneck\.", "neck.norm.")],
        [(r"^classifier\.", CLASSIFIER), (r"^base\.fc\.", "the classifier of ImageNet")],
    )
    return Imported(
        overrides=[
            "backbone=resnet_published",
            f"backbone.name={name.removesuffix('_ibn_a')}",
            f"backbone.stem={'torchvision' if instance_norm else 'bot'}",
            f"backbone.instance_norm={str(instance_norm).lower()}",
            "backbone.weights=null",
            "pooling=avg",
            "neck=bnneck",
            "data.image_size=[256,128]",
            "evaluation=default",
        ],
        weights=weights,
        unused=unused,
        feed=imagenet_feed("bot"),
    )


BOT = Project(
    title="BoT (reid-strong-baseline)",
    names=_NAMES,
    refused=dict.fromkeys(
        ("se_resnet50", "se_resnet101", "se_resnet152", "se_resnext50", "se_resnext101", "senet154"), _SE
    ),
    sign=r"^base\.(conv1|layer1\.0\.conv1)\.",
    plain='import torch\ntorch.save(torch.load("{file}", weights_only=False).state_dict(), "plain.pth")',
    read=read,
)
