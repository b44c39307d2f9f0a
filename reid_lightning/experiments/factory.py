"""Objects from the groups of a config."""

import inspect
import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from reid_lightning.config.resolve import instantiate, of_key
from reid_lightning.config.schema import hints
from reid_lightning.data.cameras import camera_numbers, training_cameras
from reid_lightning.engine.objective import Objective, TasksAlone
from reid_lightning.engine.trained import TrainedModule
from reid_lightning.experiments.feeding import feed_of_config
from reid_lightning.experiments.tasks import tasks_of
from reid_lightning.mining.memory import CrossBatchMemory
from reid_lightning.models.narrow_maps import widen_narrow_maps
from reid_lightning.models.network import ReIDNetwork
from reid_lightning.retrieval.protocol import EvaluationProtocol
from reid_lightning.systems.task import Plan, Task

if TYPE_CHECKING:  # an inference has no trainer and no data module, which take seconds to import
    from reid_lightning.data.datamodule import ReIDDataModule
    from reid_lightning.engine.module import ReIDModule

log = logging.getLogger("reid_lightning")

_OF_OBJECTIVE = ("weight", "miner")  # keys of a loss that the objective reads


def build_datamodule(config: Mapping[str, Any]) -> "ReIDDataModule":
    """Return the data module of a config, not yet set up."""
    node = {name: value for name, value in config["data"].items() if f"data.{name}" not in hints()}
    if config.get("attributes"):
        node["attributes"] = config["attributes"]["schema"]
    columns: dict[str, Any] = {}
    if "cameras" in config["backbone"]:
        columns["cameras"] = partial(camera_numbers, names=config["backbone"]["cameras"])
    for name, (task, settings) in tasks_of(config).items():
        with of_key(f"tasks.{name}"):
            columns |= task.columns(settings)
    sources = {
        name: instantiate(reader, f"data.sources.{name}") for name, reader in node.pop("sources").items()
    }
    return instantiate(
        node,
        "data",
        sources=sources,
        sampler=instantiate(config["sampler"], "sampler"),
        train_transform=instantiate(config["augmentation"], "augmentation"),
        test_transform=instantiate(config.get("test_transform"), "test_transform"),
        seed=config["seed"],
        interpolation=feed_of_config(config).interpolation,
        **({"columns": columns} if columns else {}),
    )


def with_cameras(config: Mapping[str, Any], datamodule: "ReIDDataModule") -> dict[str, Any]:
    """Return a config whose backbone, if it is one that knows cameras, names those of the training images.

    Args:
        config: Plain containers.
        datamodule: After its setup.
    """
    node = config["backbone"]
    if "cameras" not in node or node["cameras"] is not None:
        return dict(config)
    return {**config, "backbone": {**node, "cameras": training_cameras(datamodule.table)}}


def build_network(config: Mapping[str, Any], num_identities: int) -> ReIDNetwork:
    """Return the network of a config, its classifier sized for the training identities."""
    classifier = {name: value for name, value in (config["classifier"] or {}).items() if name != "weight"}
    branches: dict[str, Any] = {}
    for task, settings in tasks_of(config).values():
        branches |= task.branches(settings, config)
    network = ReIDNetwork(
        backbone=instantiate(config["backbone"], "backbone"),
        pooling=instantiate(config["pooling"], "pooling"),
        neck=instantiate(config["neck"], "neck"),
        classifier=instantiate(classifier, "classifier") if classifier else None,
        num_identities=num_identities,
        parts=instantiate(config.get("parts"), "parts"),
        feed=feed_of_config(config),
        **branches,
    )
    if str(config["trainer"]["precision"]).startswith("bf16"):
        widen_narrow_maps(network)
    if config["channels_last"]:
        network = network.to(memory_format=torch.channels_last)
    return network


def build_module(
    config: Mapping[str, Any],
    num_identities: int,
    identity_labels: Mapping[str, int] | None = None,
    datamodule: "ReIDDataModule | None" = None,
) -> "ReIDModule":
    """Return the LightningModule of a config, sized for the training data.

    Args:
        config: Plain containers.
        num_identities: Training identities.
        identity_labels: Their labels.
        datamodule: After its setup; None where nothing is known of the training data.
    """
    from reid_lightning.engine.module import ReIDModule

    if datamodule is not None:
        config = with_cameras(config, datamodule)
    network = build_network(config, num_identities)
    objective = build_objective(config, network, num_identities, datamodule)
    if config["compile"]:
        network.compile()
    return ReIDModule(
        network,
        objective,
        optimizer=_optimizer(config["optimizer"]),
        scheduler=instantiate(config["scheduler"], "scheduler"),
        protocol=instantiate(config["evaluation"], "evaluation"),
        config={**config, "feed": network.feed.as_dict()},
        identity_labels=identity_labels,
    )


def build_trained_module(config: Mapping[str, Any], identity_labels: Mapping[str, int]) -> "ReIDModule":
    """Return the LightningModule of a checkpoint's config without what only a training needs: losses, miners, optimizer.

    Args:
        config: Plain containers.
        identity_labels: Labels of the training identities, which the checkpoint holds.
    """
    from reid_lightning.engine.module import ReIDModule

    network = build_network(config, len(identity_labels))
    return ReIDModule(
        network,
        TasksAlone(build_tasks(config, network)),
        protocol=instantiate(config["evaluation"], "evaluation"),
        config=config,
        identity_labels=identity_labels,
    )


def build_inference_module(config: Mapping[str, Any], identity_labels: Mapping[str, int]) -> TrainedModule:
    """Return what works on images of a checkpoint's config; see `build_trained_module`."""
    network = build_network(config, len(identity_labels))
    tasks = TasksAlone(build_tasks(config, network))
    return TrainedModule(network, tasks, protocol_of_images(config), config, identity_labels)


def protocol_of_images(config: Mapping[str, Any]) -> EvaluationProtocol:
    """Return a config's protocol for images that come one by one, without what needs many images of a camera."""
    protocol: EvaluationProtocol = instantiate(config["evaluation"], "evaluation")
    if protocol.camera_statistics is None:
        return protocol
    log.warning(
        "the model was evaluated with evaluation.camera_statistics=%d, which needs many images of each camera; its vectors "
        "here are normalized as in the training",
        protocol.camera_statistics,
    )
    return replace(protocol, camera_statistics=None)


def _optimizer(node: Mapping[str, Any]) -> Any:
    """Return the optimizer's factory; what torch's optimizer refuses when it is made is reported with its own key."""
    inside = instantiate(node["optimizer"], "optimizer.optimizer")
    return instantiate(
        {name: value for name, value in node.items() if name != "optimizer"}, "optimizer", optimizer=inside
    )


def build_objective(
    config: Mapping[str, Any],
    network: ReIDNetwork,
    num_identities: int,
    datamodule: "ReIDDataModule | None" = None,
) -> Objective:
    """Build the objective from the config's tasks, losses and miner.

    A loss given as a partial is completed with `num_classes`, `embedding_size`, `num_parts` and `part_size` where its
    signature has them. A loss reads the miner of its own node where it has one, and that of the group otherwise.

    Args:
        config: Plain containers.
        network: What is trained.
        num_identities: Training identities.
        datamodule: After its setup; None where nothing is known of the training data.
    """
    sizes = {"num_classes": num_identities, "embedding_size": network.embedding_size}
    if network.parts is not None and network.parts.local_shape:
        sizes |= dict(zip(("num_parts", "part_size"), network.parts.local_shape, strict=True))
    common = instantiate(config["miner"], "miner") if config["miner"] else None
    losses: dict[str, nn.Module] = {}
    weights, miners = {}, {}
    for name, node in (config["loss"] or {}).items():
        key = f"loss.{name}"
        weights[name] = float(node.get("weight", 1.0))
        miners[name] = common
        if "miner" in node:  # empty: all valid triplets
            miners[name] = instantiate(node["miner"], f"{key}.miner") if node["miner"] else None
        own = {field: value for field, value in node.items() if field not in _OF_OBJECTIVE}
        losses[name] = complete(instantiate(own, key), **sizes)
    tasks = build_tasks(config, network, datamodule)
    kept = config.get("memory") or {}
    memory = (
        CrossBatchMemory(
            kept["size"], network.embedding_size, warmup=kept.get("warmup", 0), weight=kept.get("weight", 1.0)
        )
        if kept.get("size")
        else None
    )
    return Objective(tasks, losses, weights, miners, across_ranks=config["across_ranks"], memory=memory)


def build_tasks(
    config: Mapping[str, Any], network: ReIDNetwork, datamodule: "ReIDDataModule | None" = None
) -> dict[str, Task]:
    """Return the tasks of a config by name.

    Args:
        config: Plain containers.
        network: The network that they are trained with.
        datamodule: After its setup; None where a checkpoint brings what the training data said.
    """
    tasks = {}
    for name, (task, settings) in tasks_of(config).items():
        with of_key(f"tasks.{name}"):
            tasks[name] = task.from_config(Plan(settings, config, network, datamodule))
            tasks[name].name = name
    return tasks


def complete(partial: Any, **sizes: int) -> Any:
    """Call a partial with those of the sizes that its signature names; return anything else unchanged."""
    if isinstance(partial, nn.Module):
        return partial
    known = inspect.signature(partial).parameters
    return partial(**{name: size for name, size in sizes.items() if name in known})
