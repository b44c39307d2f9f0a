"""Objects from the groups of a config."""

from collections.abc import Mapping
from typing import Any

import torch

from reid_lightning.data.datamodule import ReIDDataModule
from reid_lightning.models.network import ReIDNetwork
from reid_lightning.training.configuration import instantiate
from reid_lightning.training.module import ReIDModule
from reid_lightning.training.objective import build_objective

# Keys under `data` that other groups read (`${data.weights}`); the data module itself takes no such argument.
_HINTS = ("root", "weights", "epochs", "lr")


def build_datamodule(config: Mapping[str, Any]) -> ReIDDataModule:
    """Return the data module of a config, not yet set up."""
    node = {name: value for name, value in config["data"].items() if name not in _HINTS}
    return instantiate(
        node,
        sampler=instantiate(config["sampler"]),
        train_transform=instantiate(config["augmentation"]),
        seed=config["seed"],
    )


def build_network(config: Mapping[str, Any], num_identities: int) -> ReIDNetwork:
    """Return the network of a config, its classifier sized for the training identities."""
    classifier = {name: value for name, value in (config["classifier"] or {}).items() if name != "weight"}
    network = ReIDNetwork(
        backbone=instantiate(config["backbone"]),
        pooling=instantiate(config["pooling"]),
        neck=instantiate(config["neck"]),
        classifier=instantiate(classifier) if classifier else None,
        num_identities=num_identities,
        descriptor=instantiate(config.get("descriptor")),
    )
    if config["channels_last"]:
        network = network.to(memory_format=torch.channels_last)
    return network


def build_module(
    config: Mapping[str, Any], num_identities: int, identity_labels: Mapping[str, int] | None = None
) -> ReIDModule:
    """Return the LightningModule of a config."""
    network = build_network(config, num_identities)
    objective = build_objective(
        config["loss"],
        config["classifier"],
        config["miner"],
        label_smoothing=getattr(network.classifier, "label_smoothing", 0.0),
        num_classes=num_identities,
        embedding_size=network.embedding_size,
        across_ranks=config["across_ranks"],
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
    )
