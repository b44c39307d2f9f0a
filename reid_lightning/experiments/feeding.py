"""How images come into the network of a config, known before the network is built."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reid_lightning.config.resolve import class_of
from reid_lightning.errors import InputError
from reid_lightning.experiments.model_places import local_path
from reid_lightning.models.backbone import IMAGENET
from reid_lightning.models.feed import Feed, feed_of
from reid_lightning.models.hub import hub_file, hub_model, is_hub_file, is_hub_model
from reid_lightning.models.weights import feed_in


def feed_of_config(config: Mapping[str, Any]) -> Feed:
    """Return the feed of a config's network.

    A config that a checkpoint carries says it in full. For a run that begins, it is that of the weights' file where this
    says it, else that of the backbone, and what `feed` sets comes on top.

    Args:
        config: Plain containers.

    Raises:
        InputError: `feed` cannot be used.
    """
    settings, node = config["feed"], config["backbone"]
    try:
        if "source" in settings:
            return Feed.from_dict(settings)
        start, weights = config.get("start_from"), node.get("weights")
        if start:
            stated = feed_in(local_path(str(start)))
        else:
            stated = None if weights in (None, IMAGENET) else feed_in(_local(str(weights)))
        return (stated or feed_of(class_of(node), node)).with_settings(settings)
    except ValueError as error:
        raise InputError(f"feed.{error}") from error


def with_start(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config whose backbone loads nothing where `start_from` names the weights of the whole network.

    Raises:
        InputError: The backbone has a file of its own.
    """
    node = config.get("backbone")
    if not config.get("start_from") or not isinstance(node, Mapping):
        return dict(config)
    if node.get("weights") not in (None, IMAGENET):
        raise InputError(
            f"start_from={config['start_from']} brings the backbone as well: drop backbone.weights={node['weights']}"
        )
    return {**config, "backbone": {**node, "weights": None}} if "weights" in node else dict(config)


def with_architecture(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config whose backbone is no longer named by a repository, `hf-hub:OWNER/REPO`, but by what that holds.

    A checkpoint then says what its network is, and is built again without a network connection.

    Raises:
        InputError: The repository cannot be read, or holds no plain model of timm.
    """
    node = config.get("backbone")
    node = node if isinstance(node, Mapping) else {}  # what is missing is said later
    name, weights = node.get("name"), node.get("weights")
    if not isinstance(name, str) or not is_hub_model(name):
        return dict(config)
    architecture, file = hub_model(name)
    weights = str(file) if weights == IMAGENET else weights
    return {**config, "backbone": {**node, "name": architecture, "weights": weights}}


def _local(weights: str) -> Path:
    return hub_file(weights) if is_hub_file(weights) else Path(weights).expanduser()


def feed_continued(saved: Mapping[str, Any], config: Mapping[str, Any], path: Path) -> Feed:
    """Return the feed of a run that continues: that of its checkpoint, and what the run's own config sets.

    The weights that the training began with need not be there any more.

    Args:
        saved: Config of the checkpoint.
        config: Of the run.
        path: The checkpoint.

    Raises:
        InputError: One of them cannot be used.
    """
    settings = config["feed"]
    try:
        feed = Feed.from_dict(saved["feed"])
    except ValueError as error:
        raise InputError(f"{path} cannot be used, because of its config: feed.{error}") from error
    try:
        return Feed.from_dict(settings) if "source" in settings else feed.with_settings(settings)
    except ValueError as error:
        raise InputError(f"feed.{error}") from error
