"""What can be seen to be wrong in a config before any work starts, by asking the classes that it names."""

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import yaml

from reid_lightning.config.resolve import CONF, class_of, instantiate, of_key, says, targets
from reid_lightning.config.typed import check_values
from reid_lightning.config.validate import check_config
from reid_lightning.config.values import written
from reid_lightning.distributed.launched import require_fitting
from reid_lightning.errors import InputError
from reid_lightning.experiments.factory import build_network
from reid_lightning.experiments.model_places import local_path
from reid_lightning.experiments.tasks import tasks_of
from reid_lightning.losses.spec import spec_of
from reid_lightning.models.branches import Branch
from reid_lightning.models.features import FIELDS
from reid_lightning.models.pooling import NO_TOKEN
from reid_lightning.models.weights import load_whole
from reid_lightning.retrieval.evaluation import EvaluationRows, check_rankable

if TYPE_CHECKING:
    from reid_lightning.data.datamodule import ReIDDataModule

log = logging.getLogger("reid_lightning")

# Keys whose classes no network holds; some of them take seconds to import.
_OUTSIDE = (
    "data",
    "trainer",
    "callbacks",
    "logger",
    "sampler",
    "augmentation",
    "test_transform",
    "evaluation",
    "reports",
)


def check_run(config: Mapping[str, Any]) -> None:
    """Refuse or warn about settings that do not go together, before any work.

    Raises:
        InputError: Names the keys and what to change.
    """
    check_config(config)
    check_devices(config["trainer"])
    _check_shares(config["sampler"], config["trainer"])
    for task, _ in tasks_of(config).values():
        task.check(config)
    check_evaluation(config)
    _check_branches(config)
    _check_triplets(config["loss"] or {}, config["miner"], config["sampler"])
    _check_unlabelled(config)


def _check_unlabelled(config: Mapping[str, Any]) -> None:
    """Refuse images without an identity where nothing finds labels, and labels that are found where nothing draws them."""
    finding = [name for name, (task, _) in tasks_of(config).items() if task.gives_labels]
    if config["data"].get("unlabelled") and not finding:
        raise InputError(
            "data.unlabelled leaves training images without an identity, and no task finds them labels: use "
            "experiment=unlabelled, or task=clusters"
        )
    regroups = says(config["sampler"], "regroups")
    if finding and not regroups:
        raise InputError(
            f"tasks.{finding[0]} finds groups that batches must be drawn from: add sampler=groups"
        )
    if regroups and not finding:
        raise InputError(
            "sampler=groups draws batches from groups that a task finds, and there is none: use sampler=pk, or "
            "experiment=unlabelled"
        )


def check_weights(config: Mapping[str, Any]) -> None:
    """Refuse weights that cannot be loaded, before images are decoded: build backbone and parts once, for nothing.

    Where a whole network is to be loaded, all of it is built.

    A backbone that others have written, timm, is also asked whether it can take the images, and has what is pooled.

    Raises:
        InputError: Names the key, and the file or download.
    """
    nodes = {name: config.get(name) or {} for name in ("backbone", "parts")}
    looked_into = says(nodes["backbone"], "checks_images")
    reads_token = says(config.get("pooling"), "reads_token")
    start = config.get("start_from")
    if not (start or looked_into or reads_token or any(node.get("weights") for node in nodes.values())):
        return
    level = log.level
    log.setLevel(logging.WARNING)  # how well they fit is said by those that are used
    try:
        backbone = instantiate(nodes["backbone"], "backbone")
        if looked_into:
            with of_key("backbone"):
                backbone.check_images()
        if reads_token and not getattr(backbone, "has_token", False):
            raise InputError(NO_TOKEN)
        if nodes["parts"].get("weights"):
            instantiate(nodes["parts"], "parts")(int(backbone.out_channels))
        if start:
            load_whole(build_network(config, num_identities=1), local_path(str(start)))
    finally:
        log.setLevel(level)


def check_evaluation(config: Mapping[str, Any], has_data: bool = True) -> None:
    """Refuse what an evaluation cannot measure: reports that cannot be built, and fields that no network gives.

    Args:
        config: Plain containers.
        has_data: Whether the config names a data set; False where images come from elsewhere.

    Raises:
        InputError: Names the keys and what to change.
    """
    looked_at = ("evaluation", "reports", "trainer", *(["data"] if has_data else []))
    check_values(config, looked_at, unbuilt=() if has_data else ("trainer",))
    check_devices(config["trainer"])
    if config.get("reports"):
        from reid_lightning.results.run_result import reports_of

        for report in reports_of(config):
            report.check(config)
    _check_fields(config)


def check_data(config: Mapping[str, Any], datamodule: "ReIDDataModule") -> None:
    """Refuse data that the config's evaluation could not rank after the training, before images are decoded.

    Args:
        config: Plain containers.
        datamodule: After its setup.

    Raises:
        InputError: Names the split, what is missing, and what to change.
    """
    protocol = instantiate(config["evaluation"], "evaluation")
    splits = datamodule.table["split"].to_numpy()
    known = datamodule.annotations
    for name, parts in {"validation": ["val"], "test": ["query", "gallery"]}.items():
        index = np.flatnonzero(np.isin(splits, parts))
        if name == "validation" or not datamodule.has_nameless_test:
            index = index[known.person_ids[index] >= 0]
        if not len(index):
            continue
        columns = {
            column: torch.from_numpy(np.asarray(getattr(known, column))[index])
            for column in ("person_ids", "camera_ids", "is_query", "tracklet_ids")
        }
        rows = EvaluationRows(torch.zeros(len(index), 1), index=torch.from_numpy(index), **columns)
        if protocol.camera_statistics and (columns["camera_ids"] < 0).all():
            raise InputError(
                f"evaluation.camera_statistics={protocol.camera_statistics} needs known cameras, and the {name} has none; "
                "leave it out, or name them in the data"
            )
        try:
            check_rankable(rows, protocol)
        except InputError as error:
            raise InputError(f"the {name} cannot be ranked: {error}") from error


def check_devices(trainer: Mapping[str, Any]) -> None:
    """Refuse devices that this machine does not have.

    Args:
        trainer: The group `trainer` of a config.

    Raises:
        InputError: Names the key, and what there is.
    """
    kind, wanted = trainer["accelerator"], trainer["devices"]
    gpus = torch.cuda.device_count()
    if kind in ("gpu", "cuda") and not gpus and not torch.backends.mps.is_available():
        raise InputError(
            f"trainer.accelerator={kind} asks for a GPU, and torch finds none on this machine; use "
            "trainer.accelerator=auto, or install a torch that fits the driver"
        )
    if kind not in ("gpu", "cuda", "auto") or not gpus:
        return
    numbers = wanted.split(",") if isinstance(wanted, str) and "," in wanted else wanted
    listed = [int(one) for one in numbers if str(one)] if isinstance(numbers, list | tuple) else None
    last = max(listed) + 1 if listed else int(wanted) if str(wanted).isdigit() else 0
    if last > gpus:
        raise InputError(
            f"trainer.devices={written(wanted)} asks for more than the {gpus} GPU{'s' * (gpus > 1)} of this machine; use "
            "trainer.devices=auto for all of them"
        )


def check_launched(config: Mapping[str, Any]) -> None:
    """Refuse a trainer that the processes that torchrun or srun has started do not fit.

    Raises:
        InputError: Says what to set.
    """
    from reid_lightning.distributed.ddp_launcher import processes_per_node

    trainer = config["trainer"]
    require_fitting(processes_per_node(trainer["devices"], trainer["accelerator"]), trainer["num_nodes"])


def _check_shares(sampler: Mapping[str, Any], trainer: Mapping[str, Any]) -> None:
    """Refuse a batch that the processes of a run cannot share, before they are started."""
    from reid_lightning.distributed.ddp_launcher import world_size

    processes = world_size(trainer["devices"], trainer["num_nodes"], trainer["accelerator"])
    for name in ("identities", "batch_size", "triplets"):
        size = sampler.get(name)
        if isinstance(size, int) and size % processes:
            raise InputError(
                f"sampler.{name} must be a multiple of the {processes} processes that share a batch, got {size}"
            )


_NOT_LOGGED = re.compile(
    r"monitor='([^']*)'\)` could not find the monitored key|conditioned on metric `([^`]*)`"
)


@contextmanager
def of_lightning() -> Iterator[None]:
    """Report as the user's error what Lightning calls a misconfiguration, such as a monitor that nothing logs."""
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    try:
        yield
    except (MisconfigurationException, RuntimeError) as error:
        if found := _NOT_LOGGED.search(str(error)):
            raise InputError(
                f"a callback has monitor={found[1] or found[2]}, and nothing of this name is logged; val/mAP is, for "
                "instance"
            ) from error
        if isinstance(error, MisconfigurationException):
            raise InputError(" ".join(str(error).split())) from error
        raise


def _check_fields(config: Mapping[str, Any]) -> None:
    """Refuse fields of the features that are read but not given."""
    given = dict(_branches(config))
    for reader, field in _read(config):
        if field not in FIELDS and field not in given:
            giving = _options(partial(_does_give, field))
            way_out = (
                f"choose {_alternatives(giving)}"
                if giving
                else f"networks give {', '.join((*FIELDS, *given))}"
            )
            raise InputError(
                f"{reader} reads the {field} of a network, which this one does not give; {way_out}"
            )


def _check_branches(config: Mapping[str, Any]) -> None:
    """Refuse fields of the features that nothing would train."""
    read = {field for _, field in _read(config, losses_only=True)}
    for field, branch in _branches(config):
        if branch.needs_loss and field not in read:
            fitting = _options(partial(_does_read, field))
            raise InputError(
                f"no loss reads the {field} that this network gives, so nothing would train them; add one that does "
                f"({_alternatives(fitting)}), or leave them out"
            )


def _branches(config: Mapping[str, Any]) -> Iterator[tuple[str, type[Branch]]]:
    """Yield what the branches of a config's network add to its features, with their classes."""
    inside = {key: node for key, node in config.items() if key not in _OUTSIDE}
    for _, target in targets(inside):
        branch = class_of({"_target_": target})
        if (field := _gives(branch)) is not None:
            yield field, branch


def _gives(target: Any) -> str | None:
    return target.gives if isinstance(target, type) and issubclass(target, Branch) else None


def _read(config: Mapping[str, Any], losses_only: bool = False) -> Iterator[tuple[str, str]]:
    """Yield who reads which field of the features."""
    for name, node in (config["loss"] or {}).items():
        for field in spec_of(class_of(node)).reads:
            yield f"loss={name}", field
    if losses_only:
        return
    evaluation = config["evaluation"]
    yield f"evaluation.feature={evaluation['feature']}", evaluation["feature"]
    rerank = class_of(evaluation.get("rerank"))
    if getattr(rerank, "reads", None):
        yield f"evaluation/rerank={rerank.__name__}", rerank.reads


def _does_give(field: str, target: Any) -> bool:
    return _gives(target) == field


def _does_read(field: str, target: Any) -> bool:
    return field in spec_of(target).reads


def _options(fits: Callable[[Any], bool]) -> list[str]:
    """Return the options of the config's groups that name something that fits, as GROUP=NAME."""
    found = []
    for file in sorted(CONF.glob("*/*.yaml")):
        if file.parent.name == "experiment":
            continue
        named = targets(yaml.safe_load(file.read_text(encoding="utf-8")))
        if any(fits(class_of({"_target_": target})) for _, target in named):
            found.append(f"{file.parent.name}={file.stem}")
    return found


def _alternatives(options: list[str]) -> str:
    *others, last = options
    return f"{', '.join(others)} or {last}" if others else last


def _check_triplets(
    losses: Mapping[str, Any], miner: Mapping[str, Any] | None, sampler: Mapping[str, Any]
) -> None:
    """Refuse losses, miner and sampler that find nothing to compare in a batch."""
    own = [name for name, node in losses.items() if says(node, "forms_own_pairs")]
    apart = [name for name, node in losses.items() if name not in own and "miner" in node]
    if says(miner, "needs_triplets") and len(own) + len(apart) == len(losses):
        if own:
            which = f"loss={own[0]} forms its own pairs from the whole batch"
        else:
            which = f"loss={apart[0]} has a miner of its own" if apart else "there is no metric loss"
        raise InputError(
            f"an offline miner draws triplets for a triplet loss to read, but {which}; use loss=triplet, "
            "loss=lossless or another that reads triplets, or miner=none"
        )
    miners = [miner, *(losses[name]["miner"] for name in apart)]
    if any(says(each, "needs_triplets") for each in miners) and "triplets" not in sampler:
        raise InputError(
            "an offline miner needs the batches of sampler=triplets, which comes with it: leave out the choice of "
            "another sampler"
        )
    needing = [name for name, node in losses.items() if spec_of(class_of(node)).needs_positives]
    if needing and sampler.get("images_per_identity") == 1:
        raise InputError(
            f"sampler.images_per_identity=1 leaves loss={needing[0]} no two images of one person to compare; "
            "set it to 2 or more, or use loss=none"
        )
    if needing and sampler.get("identities") == 1:
        raise InputError(
            f"sampler.identities=1 leaves loss={needing[0]} no images of two people to compare; set it to 2 or more, or use "
            "loss=none"
        )
    if losses and miner and "images_per_identity" not in sampler and "triplets" not in sampler:
        log.warning(
            "metric losses need several images of an identity in a batch, which sampler=%s does not guarantee; "
            "use sampler=pk",
            sampler["_target_"].rsplit(".", 1)[-1],
        )
