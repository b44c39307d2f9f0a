"""What can be seen to be wrong in a config before any work starts."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reid_lightning.config.resolve import says
from reid_lightning.config.schema import matches, resumable
from reid_lightning.errors import InputError

log = logging.getLogger("reid_lightning")


def check_config(config: Mapping[str, Any]) -> None:
    """Refuse or warn about settings that do not go together.

    Raises:
        InputError: Names the keys and what to change.
    """
    trainer, sampler = config["trainer"], config["sampler"]
    if not isinstance(config["seed"], int) or config["seed"] < 0:
        raise InputError(f"seed={config['seed']} must be a whole number, 0 or more")
    if not config["loss"] and not config["classifier"] and not config["attributes"]:
        raise InputError("loss=none and classifier=none leave nothing to train: choose one of them")
    if config["evaluation"]["feature"] == "descriptor" and not config["descriptor"]:
        raise InputError(
            "evaluation.feature=descriptor needs a model that has one: add descriptor=multi_depth"
        )
    parts = config.get("parts") or {}
    if config.get("pretraining") and not str(parts.get("_target_")).endswith(".PoseBilinear"):
        raise InputError(
            "pretraining=pose trains the part branch of parts=pose: add that, or pretraining=none"
        )
    if parts.get("frozen") and not parts.get("weights") and not config.get("pretraining"):
        raise InputError(
            "parts.frozen=true keeps a part branch that nothing has trained: add pretraining=pose, name its file with "
            "parts.weights=FILE, or set parts.frozen=false"
        )
    if config["refit"] and str(config["data"].get("validation")).lower() in ("none", "0", "0.0"):
        raise InputError(
            "refit=true needs a validation split to choose the number of epochs; set data.validation=0.1"
        )
    if config["refit"] and config["resume"]:
        raise InputError("resume cannot be combined with refit=true; resume the first fit alone, then refit")
    if config["time_limit"] is not None:
        if config["time_limit"] <= 0:
            raise InputError(
                f"time_limit={config['time_limit']} must be minutes above 0, or null for no limit"
            )
        if config["refit"]:
            raise InputError(
                "time_limit cannot be combined with refit=true, which cannot be continued; drop one"
            )
    if (trainer["max_epochs"] or 0) < 1:
        raise InputError(f"trainer.max_epochs is {trainer['max_epochs']}: give at least 1 epoch")
    if "16" in str(trainer["precision"]) and "true" in str(trainer["precision"]):
        raise InputError(
            f"trainer.precision={trainer['precision']} keeps the weights in 16 bits, where small steps vanish; "
            f"use {str(trainer['precision']).replace('true', 'mixed')}"
        )
    if config["loss"] and trainer["accumulate_grad_batches"] > 1:
        log.warning(
            "trainer.accumulate_grad_batches=%d does not enlarge the pool that metric losses mine in; "
            "raise sampler.identities for that",
            trainer["accumulate_grad_batches"],
        )
    _check_attributes(config)
    _check_triplets(config["loss"] or {}, config["miner"], sampler)


def _check_attributes(config: Mapping[str, Any]) -> None:
    """Refuse attribute heads that nothing trains."""
    attributes, classifier = config["attributes"], config["classifier"]
    if not attributes:
        return
    if not attributes["weight"] > 0:
        raise InputError(
            f"attributes.weight={attributes['weight']} leaves the attribute heads untrained; set it above 0, or leave the "
            "heads out with attributes=none"
        )
    if attributes["heads"].get("reweighting"):
        if not classifier or not classifier.get("weight", 1.0):
            raise InputError(
                "attributes.heads.reweighting=true is learned from the identity classifier's loss, and there is none; "
                "choose one (classifier=softmax), or set attributes.heads.reweighting=false"
            )
        if config["evaluation"]["feature"] != "embedding":
            log.warning(
                "evaluation.feature=%s holds no attributes; evaluation.feature=embedding compares them too",
                config["evaluation"]["feature"],
            )


def check_annotations(names: Sequence[str], sizes: Sequence[int], counts: Sequence[int]) -> None:
    """Refuse to train attributes that no training image is annotated with.

    Args:
        names: Attributes.
        sizes: Classes of each.
        counts: Training images of each class, attributes one after the other.

    Raises:
        InputError: No training image has any attribute.

    Examples:
        >>> check_annotations(["hat", "bag"], [2, 2], [5, 1, 0, 3])
    """
    if not any(counts):
        raise InputError(
            "attributes are to be trained, but no training image has any; name their file (as "
            f"data.sources.market1501.attributes=FILE), add columns ({', '.join(names[:3])}, ...) to the table, or choose "
            "attributes=none"
        )
    starts = [sum(sizes[:head]) for head in range(len(sizes))]
    unknown = [
        name
        for name, start, size in zip(names, starts, sizes, strict=True)
        if not any(counts[start : start + size])
    ]
    if unknown:
        log.warning("no training image has a known %s: nothing trains its head", ", ".join(unknown))


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
    needing = [
        name
        for name, node in losses.items()
        if says(node, "needs_positives", str(node["_target_"]).startswith("reid_lightning."))
    ]
    if needing and sampler.get("images_per_identity") == 1:
        raise InputError(
            f"sampler.images_per_identity=1 leaves loss={needing[0]} no two images of one person to compare; "
            "set it to 2 or more, or use loss=none"
        )
    if losses and miner and "images_per_identity" not in sampler and "triplets" not in sampler:
        log.warning(
            "metric losses need several images of an identity in a batch, which sampler=%s does not see to; use sampler=pk",
            sampler["_target_"].rsplit(".", 1)[-1],
        )


def differences(old: Mapping[str, Any], new: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Yield a line for every setting that differs between two plain configs, but for those that a resumed run may change.

    Nothing is the same as an empty mapping.

    Examples:
        >>> list(differences({"seed": 1, "resume": None}, {"seed": 2, "resume": "last"}))
        ['seed was 1, is 2']
    """
    for key in sorted(old.keys() | new.keys()):
        where = f"{path}.{key}" if path else str(key)
        if matches(where, resumable()):
            continue
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from differences(before, after, where)
        elif before != after and not (before in (None, {}) and after in (None, {})):
            yield f"{where} was {before!r}, is {after!r}"
