"""fast-reid (JDAI-CV/fast-reid): the ResNets of its recipes bagtricks, AGW and SBS, named as their config files.

Since November 2020 its ResNets pool the stem's map without a border. At test the vector after the neck's normalization is
compared by cosine.
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

_NAME = re.compile(r"(bagtricks|AGW|sbs)_R(50|101)(-ibn)?")
_RECIPES = ("bagtricks", "AGW", "sbs")
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
            (r"^heads\.(bottleneck\.0|bnneck)\.", "neck.norm."),
            (r"^heads\.pool_layer\.p$", "pooling.p"),
        ],
        [
            (r"^heads\.(weight|classifier\.weight)$", CLASSIFIER),
            (r"^pixel_(mean|std)$", "the normalization is a setting here"),
        ],
    )
    learns_p = "pooling.p" in weights
    if learns_p and weights["pooling.p"].numel() == 1:
        weights["pooling.p"] = weights["pooling.p"].reshape(())
    elif recipe == "AGW":
        weights["pooling.p"] = torch.tensor(3.0)  # a constant of fast-reid's code
    has_gem = learns_p or recipe != "bagtricks"
    stem, notes = _stem(state)
    return Imported(
        overrides=[
            "backbone=resnet_published",
            f"backbone.name=resnet{depth}",
            f"backbone.stem={stem}",
            f"backbone.instance_norm={'true' if instance_norm else 'false'}",
            f"backbone.non_local={'false' if recipe == 'bagtricks' else 'true'}",
            "backbone.weights=null",
            *(["pooling=gem", f"pooling.learn_p={str(learns_p).lower()}"] if has_gem else ["pooling=avg"]),
            "neck=bnneck",
            f"data.image_size=[{384 if recipe == 'sbs' else 256},128]",
            "evaluation=default",
        ],
        weights=weights,
        unused=unused,
        feed=imagenet_feed("fastreid", "bicubic"),
        notes=notes,
    )


def _stem(state: State) -> tuple[str, list[str]]:
    """Return the stem that a file was trained with, which the names of its head date, and what is uncertain of it.

    fast-reid called the neck `bnneck` until September 2020, took the border off the stem's pooling in November 2020, and
    called the classifier's weights `heads.weight` since March 2021. The files of its model zoo are of July 2020, some
    of them renamed later, which left a counter of `bnneck` in them.
    """
    if any(name.startswith("heads.bnneck.") for name in state):
        return "torchvision", []
    if "heads.classifier.weight" not in state:
        return "fastreid", []
    return "fastreid", [
        "The names do not tell whether the file was written before November 2020, when fast-reid took the border off "
        "the stem's pooling: if its number is not reached, evaluate with backbone.stem=torchvision"
    ]


FASTREID = Project(
    title="fast-reid",
    names=tuple(f"{recipe}_R{depth}" for recipe in _RECIPES for depth in ("50", "50-ibn", "101-ibn")),
    refused=_REFUSED,
    sign=r"^heads\.",
    plain='import torch\ntorch.save(torch.load("{file}", weights_only=False)["model"], "plain.pth")',
    read=read,
)
