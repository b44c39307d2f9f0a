"""fast-reid (JDAI-CV/fast-reid): the ResNets of its recipes bagtricks, AGW and SBS, named as their config files.

Its ResNets pool the stem's map without a border. At test the vector after the neck's normalisation is compared by cosine.
"""

import re

import torch

from reid_lightning.experiments.imports.imported import (
    CLASSIFIER,
    Imported,
    Project,
    State,
    imagenet_feed,
    renamed,
)

_NAME = re.compile(r"(bagtricks|agw|sbs)_R(50|101)(-ibn)?")
_RECIPES = ("bagtricks", "agw", "sbs")
_RESNEST = "this project has no ResNeSt under fast-reid's names"
_REFUSED = {f"{recipe}_S50": _RESNEST for recipe in _RECIPES} | {
    "mgn_R50-ibn": "MGN joins the vectors of three branches with their own last stages, which this project does not have",
    "sbs_vit_base": "its transformer pools and embeds its patches in a way that this project does not have",
}


def read(state: State, name: str) -> Imported:
    """Return a network of fast-reid.

    Args:
        state: The tensors of the file.
        name: As `configs/Market1501/NAME.yml` is called.
    """
    recipe, depth, instance_norm = re.fullmatch(_NAME, name).groups()  # type: ignore[union-attr]
    weights, unused = renamed(
        state,
        [
            (r"^backbone\.", "backbone.body."),
            (r"^heads\.(bottleneck\.0|bnneck)\.", "neck.norm."),  # the second: until version 0.2
            (r"^heads\.(pool_layer|pool)\.p$", "pooling.p"),
        ],
        [
            (r"^heads\.(weight|classifier\.weight)$", CLASSIFIER),
            (r"^pixel_(mean|std)$", "the normalisation, which the feed states"),
        ],
    )
    if weights.get("pooling.p", torch.empty(0)).numel() == 1:
        weights["pooling.p"] = weights["pooling.p"].reshape(())
    if recipe == "agw":
        weights.setdefault("pooling.p", torch.tensor(3.0))  # a constant of fast-reid's code
    return Imported(
        overrides=[
            "backbone=resnet_published",
            f"backbone.name=resnet{depth}",
            "backbone.stem=fastreid",
            f"backbone.instance_norm={'true' if instance_norm else 'false'}",
            f"backbone.non_local={'false' if recipe == 'bagtricks' else 'true'}",
            "backbone.weights=null",
            *(["pooling=avg"] if recipe == "bagtricks" else ["pooling=gem"]),
            *(["pooling.learn_p=false"] if recipe == "agw" else []),
            "neck=bnneck",
            f"data.image_size=[{384 if recipe == 'sbs' else 256},128]",
            "evaluation=default",
        ],
        weights=weights,
        unused=unused,
        feed=imagenet_feed("fastreid", "bicubic"),
    )


FASTREID = Project(
    title="fast-reid",
    names=tuple(f"{recipe}_R{depth}" for recipe in _RECIPES for depth in ("50", "50-ibn", "101-ibn")),
    refused=_REFUSED,
    sign=r"^heads\.",
    plain='import torch\ntorch.save(torch.load("{file}", weights_only=False)["model"], "plain.pth")',
    read=read,
)
