"""Objects from the groups of a config."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from reid_lightning.data.attributes import AttributeSchema
from reid_lightning.data.datamodule import ReIDDataModule
from reid_lightning.errors import InputError
from reid_lightning.models.network import ReIDNetwork
from reid_lightning.training.configuration import instantiate
from reid_lightning.training.module import ReIDModule
from reid_lightning.training.objective import build_objective

# Keys under `data` that other groups read (`${data.weights}`); the data module itself takes no such argument.
_HINTS = ("root", "weights", "epochs", "lr", "split", "tracklets", "single_shot")


def build_datamodule(config: Mapping[str, Any]) -> ReIDDataModule:
    """Return the data module of a config, not yet set up."""
    node = {name: value for name, value in config["data"].items() if name not in _HINTS}
    if config.get("attributes"):
        node["attributes"] = config["attributes"]["schema"]
    return instantiate(
        node,
        sampler=instantiate(config["sampler"]),
        train_transform=instantiate(config["augmentation"]),
        test_transform=instantiate(config.get("test_transform")),
        seed=config["seed"],
    )


def attribute_schema(config: Mapping[str, Any]) -> AttributeSchema | None:
    """Return the schema that a config's attribute heads follow; None without them."""
    return instantiate(config["attributes"]["schema"]) if config.get("attributes") else None


def build_network(config: Mapping[str, Any], num_identities: int) -> ReIDNetwork:
    """Return the network of a config, its classifier sized for the training identities."""
    classifier = {name: value for name, value in (config["classifier"] or {}).items() if name != "weight"}
    schema = attribute_schema(config)
    network = ReIDNetwork(
        backbone=instantiate(config["backbone"]),
        pooling=instantiate(config["pooling"]),
        neck=instantiate(config["neck"]),
        classifier=instantiate(classifier) if classifier else None,
        num_identities=num_identities,
        descriptor=instantiate(config.get("descriptor")),
        attributes=instantiate(config["attributes"]["heads"], sizes=schema.sizes) if schema else None,
        parts=instantiate(config.get("parts")),
    )
    if config["channels_last"]:
        network = network.to(memory_format=torch.channels_last)
    return network


def build_module(
    config: Mapping[str, Any],
    num_identities: int,
    identity_labels: Mapping[str, int] | None = None,
    attribute_counts: Sequence[int] | None = None,
) -> ReIDModule:
    """Return the LightningModule of a config, sized for the training data or, for a checkpoint, for what it holds.

    Args:
        config: Plain containers.
        num_identities: Training identities.
        identity_labels: Their labels.
        attribute_counts: Training images of each attribute class; a checkpoint brings its own.
    """
    network = build_network(config, num_identities)
    local_shape = network.parts.local_shape if network.parts else None
    _check_stripes(config["evaluation"], local_shape)
    schema, attributes = attribute_schema(config), config.get("attributes") or {}
    objective = build_objective(
        config["loss"],
        config["classifier"],
        config["miner"],
        label_smoothing=getattr(network.classifier, "label_smoothing", 0.0),
        num_classes=num_identities,
        embedding_size=network.embedding_size,
        local_shape=local_shape,
        across_ranks=config["across_ranks"],
        attribute_loss=instantiate(attributes["loss"], sizes=schema.sizes, counts=attribute_counts)
        if schema
        else None,
        attribute_weight=float(attributes.get("weight", 1.0)),
    )
    if config["compile"]:
        network.compile()
    return ReIDModule(
        network,
        objective,
        optimizer=instantiate(config["optimizer"]),
        scheduler=instantiate(config["scheduler"]),
        protocol=instantiate(config["evaluation"]),
        config=config,
        identity_labels=identity_labels,
        attributes=schema,
    )


def _check_stripes(evaluation: Mapping[str, Any], local_shape: tuple[int, int] | None) -> None:
    """Refuse an evaluation that compares stripes where the network gives none."""
    if local_shape is not None:
        return
    for key, wanted in (
        ("feature", evaluation["feature"] == "stripes"),
        ("aligned", evaluation.get("aligned")),
    ):
        if wanted:
            raise InputError(
                f"evaluation.{key}={evaluation[key]} compares stripes, and this network has none; choose parts=stripes or "
                f"parts=aligned with a loss that trains them, such as loss=aligned"
            )
