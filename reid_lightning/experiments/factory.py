"""Objects from the groups of a config."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from reid_lightning.config.resolve import instantiate
from reid_lightning.config.schema import hints
from reid_lightning.data.attributes import AttributeSchema
from reid_lightning.data.datamodule import ReIDDataModule
from reid_lightning.engine.module import ReIDModule
from reid_lightning.engine.objective import MultiTaskObjective
from reid_lightning.errors import InputError
from reid_lightning.losses.attributes import AttributeLoss
from reid_lightning.models.network import ReIDNetwork


def build_datamodule(config: Mapping[str, Any]) -> ReIDDataModule:
    """Return the data module of a config, not yet set up."""
    node = {name: value for name, value in config["data"].items() if f"data.{name}" not in hints()}
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


def build_objective(
    losses: Mapping[str, Any] | None,
    classifier: Mapping[str, Any] | None,
    miner: Mapping[str, Any] | None,
    label_smoothing: float,
    num_classes: int,
    embedding_size: int,
    across_ranks: bool = True,
    local_shape: tuple[int, int] | None = None,
    attribute_loss: AttributeLoss | None = None,
    attribute_weight: float = 1.0,
) -> MultiTaskObjective:
    """Build the objective from the config groups `loss`, `classifier` and `miner`.

    Args:
        losses: `name -> {_target_, weight, ...}`; `weight` is taken out here.
        classifier: The classifier's node, read for its `weight`; None without one.
        miner: The miner's node, or None.
        label_smoothing: Fraction of the target spread over the other identities.
        num_classes: Training identities.
        embedding_size: Dimensions of `Features.before_neck`.
        across_ranks: Whether metric losses see the batch of all processes together.
        local_shape: Number of stripes and dimensions of each in `extra["stripes"]`; None without it.
        attribute_loss: Loss of the attribute heads.
        attribute_weight: Its weight.

    A loss given as a partial is completed with `num_classes`, `embedding_size`, `num_parts` and `part_size` where its
    signature has them.

    Raises:
        InputError: A loss reads stripes and the network has none, or the other way round.
    """
    sizes = {"num_classes": num_classes, "embedding_size": embedding_size}
    sizes |= dict(zip(("num_parts", "part_size"), local_shape, strict=True)) if local_shape else {}
    weights: dict[str, float] = {}
    built: dict[str, nn.Module] = {}
    for name, node in (losses or {}).items():
        weights[name] = float(node.get("weight", 1.0))
        loss = instantiate({key: value for key, value in node.items() if key != "weight"})
        if local_shape is None and getattr(getattr(loss, "func", loss), "reads_features", False):
            raise InputError(
                f"loss={name} reads the features of stripes, which this network does not give; "
                "choose parts=stripes, parts=aligned or parts=scp"
            )
        built[name] = complete(loss, **sizes)
    if local_shape and not any(getattr(loss, "reads_features", False) for loss in built.values()):
        raise InputError(
            "no loss reads the stripes that parts gives, so nothing would train them; add one that does, as in "
            "loss=[triplet,part_identity], or choose parts=none"
        )
    return MultiTaskObjective(
        built,
        weights,
        identity_weight=float(classifier.get("weight", 1.0)) if classifier else 0.0,
        label_smoothing=label_smoothing,
        miner=instantiate(miner) if miner else None,
        across_ranks=across_ranks,
        attribute_loss=attribute_loss,
        attribute_weight=attribute_weight,
    )


def complete(partial: Any, **sizes: int) -> Any:
    """Call a partial with those of the sizes that its signature names; return anything else unchanged."""
    if isinstance(partial, nn.Module):
        return partial
    known = inspect.signature(partial).parameters
    return partial(**{name: size for name, size in sizes.items() if name in known})
