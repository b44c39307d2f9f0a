"""What a file of another project becomes, and what is known of a project."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from reid_lightning.models.feed import IMAGENET_MEAN, IMAGENET_STD

State = Mapping[str, Tensor]
"""The tensors of a file by name, without wrappers and without the prefix of DataParallel."""


@dataclass(frozen=True)
class Imported:
    """A file of another project in this project's terms.

    Attributes:
        overrides: What composes the run's config, such as `backbone=resnet50`: network, image size and evaluation.
        weights: Tensors under the names of `ReIDNetwork`, for every one that it has.
        unused: Names in the file that are not used, with the reason.
        feed: What images pass through before the network: `mean` and `std` in [0, 1], `interpolation`, `source`.
        notes: What else a user must know, a sentence each.
    """

    overrides: Sequence[str]
    weights: State
    unused: Mapping[str, str] = field(default_factory=dict)
    feed: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Project:
    """Another project whose files can be imported.

    Attributes:
        title: Its name in prose.
        names: Its own names of the networks that can be imported.
        refused: Its own names of networks that cannot, with the reason.
        sign: Pattern that a tensor's name matches in its files and in no other project's.
        plain: Lines of Python that write a file of tensors alone, run where the other project is installed.
        read: Turns the tensors of a file and a network's name into `Imported`; raises ValueError for a file that cannot
            be imported, with the reason.
    """

    title: str
    names: Sequence[str]
    refused: Mapping[str, str]
    sign: str
    plain: str
    read: Callable[[State, str], Imported]

    def owns(self, state: State) -> bool:
        """Return whether a file's names are those of this project."""
        return any(re.search(self.sign, name) for name in state)


def renamed(
    state: State, names: Sequence[tuple[str, str]], unused: Sequence[tuple[str, str]] = ()
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return a file's tensors under other names, and what is left out.

    Args:
        state: Of the file.
        names: Pattern and replacement of each kind of name; the first pattern that matches is applied. A name that
            matches none is kept, so that it is refused as foreign to the network.
        unused: Pattern and reason of each kind of name that is left out.

    Examples:
        >>> import torch
        >>> tensors = {"fc.weight": torch.zeros(1), "classifier.weight": torch.zeros(1)}
        >>> weights, left = renamed(tensors, [("^fc", "neck")], [("^classifier", "no names")])
        >>> list(weights), left
        (['neck.weight'], {'classifier.weight': 'no names'})
    """
    weights, left = {}, {}
    for name, tensor in state.items():
        reason = next((reason for pattern, reason in unused if re.search(pattern, name)), None)
        if reason is not None:
            left[name] = reason
            continue
        for pattern, replacement in names:
            other, changes = re.subn(pattern, replacement, name)
            if changes:
                break
        else:
            other = name
        weights[other] = tensor
    return weights, left


def imagenet_feed(source: str, interpolation: str = "bilinear") -> dict[str, Any]:
    """Return the feed of a network that sees ImageNet's normalization, resized by Pillow.

    Args:
        source: The project, for messages.
        interpolation: `bilinear` or `bicubic`.
    """
    return {
        "mean": list(IMAGENET_MEAN),
        "std": list(IMAGENET_STD),
        "interpolation": interpolation,
        "source": source,
    }


CLASSIFIER = "the classifier of training identities, whose names the file does not hold"
"""Why a classifier is left out: its rows are numbers of people, which no label in this project could stand for."""
