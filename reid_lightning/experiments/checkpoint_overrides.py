"""Command-line overrides of a checkpoint's config, which is plain and resolved: no Hydra composes it again."""

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf

from reid_lightning.config.command_line import readable
from reid_lightning.config.refused import REFUSED, in_our_words
from reid_lightning.config.renamed import SETTINGS
from reid_lightning.config.resolve import CONF, nearest_key, plain
from reid_lightning.config.schema import follows_data, of_model
from reid_lightning.config.suggest import FILLS
from reid_lightning.errors import InputError


def override(config: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Apply command-line overrides to a plain, resolved config.

    A group choice (`data=market1501`, `evaluation/rerank=none`) takes the whole group as it is composed today, but for
    what belongs to the model (`data.image_size`); any other key must exist.

    Raises:
        InputError: A key or option does not exist.
    """
    import hydra
    from hydra.core.override_parser.overrides_parser import OverridesParser

    overrides = readable(overrides)
    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
        groups = [o.key_or_group for o in parsed if (CONF / o.key_or_group).is_dir()]
        chosen = [FILLS.get(group, group).replace("/", ".") for group in groups]
        inside = [
            o
            for o in parsed
            if o.key_or_group in (*groups, "hydra.searchpath") or _is_below(o.key_or_group, chosen)
        ]
        result = dict(config)
        if chosen:
            with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
                lines = [*(str(o.input_line) for o in inside), "output_dir=none"]
                composed = OmegaConf.create(plain(hydra.compose("config", lines)))
            given = {o.key_or_group for o in parsed}
            kept = {key: value for key, value in of_model(config).items() if key not in given}
            for key in sorted(chosen):  # an outer group before those in it
                _set(result, key, plain(OmegaConf.select(composed, key)))
            for key, value in kept.items():
                _set(result, key, value)
            if {"data", "evaluation"} & set(chosen):
                for key, suits in follows_data().items():
                    if key not in given:
                        group, name = key.split(".")
                        value = result["data"].get(suits.removeprefix("data."))
                        result[group] = {**result[group], name: value}
    except REFUSED as error:
        if (said := in_our_words(error, overrides)) is None:
            raise
        raise InputError("; ".join(said)) from error
    before = (result.get("data") or {}).get("root")
    for o in parsed:
        if o not in inside:
            _set(result, o.key_or_group, o.value())
            if o.key_or_group == "data.root" and isinstance(before, str):
                result["data"] = result["data"] | {
                    "sources": _moved(result["data"]["sources"], before, str(o.value()))
                }
    return result


def _moved(node: Any, before: str, root: str) -> Any:
    """Return settings of sources with another root: `data.root` was resolved into them when the run was composed.

    Examples:
        >>> _moved({"m": {"root": "/a", "file": "/a/b.mat", "seed": 1}}, "/a", "/c")
        {'m': {'root': '/c', 'file': '/c/b.mat', 'seed': 1}}
    """
    if isinstance(node, Mapping):
        return {key: _moved(value, before, root) for key, value in node.items()}
    if isinstance(node, list):
        return [_moved(value, before, root) for value in node]
    if isinstance(node, str) and (node == before or node.startswith(before.rstrip("/") + "/")):
        return root + node[len(before.rstrip("/")) if node != before else len(before) :]
    return node


def _is_below(key: str, nodes: Sequence[str]) -> bool:
    return any(key == node or key.startswith(f"{node}.") for node in nodes)


def _set(config: dict[str, Any], key: str, value: Any) -> None:
    *parents, leaf = key.split(".")
    node: Any = config
    for name in parents:
        node[name] = dict(node[name]) if isinstance(node.get(name), Mapping) else None
        node = node[name]
        if node is None:
            break
    if node is None or leaf not in node:
        near = SETTINGS.get(key) or nearest_key(key, config)
        raise InputError(
            f"the checkpoint's config has no key {key}" + (f"; did you mean {near}?" if near else "")
        )
    node[leaf] = value
