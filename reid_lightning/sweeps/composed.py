"""Jobs of a sweep that differ in values alone are composed once and not each."""

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

Scalar = int | float | str | bool | None


class SharedComposition(Callback):
    """Lets the sweeper and the launcher of a sweep compose its jobs through `JobConfigs`."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Put it in the place of Hydra's own way, which composes every job twice."""
        loader: Any = GlobalHydra.instance().config_loader()
        loader.load_sweep_config = JobConfigs(loader)


class JobConfigs:
    """Composes the jobs of a sweep as Hydra's loader does, to the same config.

    The config of one job is kept. A job whose overrides differ from those in single values (`seed=2` for `seed=1`) takes
    a copy of it with its own values; a part that is chosen, a list, or a key that is removed is composed anew.

    Args:
        loader: Hydra's config loader.
    """

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self._kept: tuple[DictConfig, list[str], DictConfig] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Travel to a launcher's process without the kept config."""
        return {"loader": self.loader, "_kept": None}

    def __call__(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """Return the config of a job, with its node `hydra`; it may be changed.

        Args:
            master_config: Of the sweep.
            sweep_overrides: Of the job.
        """
        if self._kept is not None and self._kept[0] is master_config:
            config = _with_values(self._kept[2], self._kept[1], sweep_overrides)
            if config is not None:
                OmegaConf.copy_cache(from_config=master_config, to_config=config)
                return config
        composed: DictConfig = type(self.loader).load_sweep_config(
            self.loader, master_config, sweep_overrides
        )
        self._kept = (master_config, list(sweep_overrides), copy.deepcopy(composed))
        return composed


def _with_values(config: DictConfig, before: Sequence[str], lines: Sequence[str]) -> DictConfig | None:
    """Return a copy of a job's config with the values of another job; None where the two differ in more than values.

    Args:
        config: Composed from `before`.
        before: Overrides of the job that was composed.
        lines: Overrides of the job that is asked for.
    """
    if len(before) != len(lines) or config.hydra.job.env_copy:  # the environment may have changed
        return None
    try:
        parsed = OverridesParser.create().parse_overrides([*before, *lines])
    except HydraException:  # Hydra's own composition says what is wrong with it
        return None
    olds, news = parsed[: len(before)], parsed[len(before) :]
    keys = [old.key_or_group for old in olds]
    changed = [at for at, line in enumerate(lines) if line != before[at]]
    if not all(_is_value(at, olds[at], news[at], keys, config.hydra.runtime.choices) for at in changed):
        return None
    own = copy.deepcopy(config)
    for at in changed:
        OmegaConf.update(own, keys[at], news[at].value())
    fresh = {before[at]: lines[at] for at in changed}
    written: Any = OmegaConf.to_container(own.hydra.overrides.task, resolve=False)  # may name ${output_dir}
    tasks = [fresh.get(line, line) for line in written]
    own.hydra.overrides.task = tasks
    own.hydra.job.override_dirname = _folder_name(tasks, own.hydra.job.config.override_dirname)
    return own


def _is_value(at: int, old: Override, new: Override, keys: Sequence[str], choices: Mapping[str, Any]) -> bool:
    """Whether an override sets one plain value under a key that no other override touches, as did the one before."""
    key = keys[at]
    return (
        key == new.key_or_group
        and old.type == new.type
        and not (key in choices or old.package or new.package or old.is_delete() or key.startswith("hydra."))
        and not any(one.is_sweep_override() or not isinstance(one.value(), Scalar) for one in (old, new))
        and not any(
            f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")
            for place, other in enumerate(keys)
            if place != at
        )
    )


def _folder_name(overrides: Sequence[str], settings: DictConfig) -> str:
    """Return what Hydra calls `hydra.job.override_dirname`."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    lines = sorted(str(one.input_line) for one in parsed if one.key_or_group not in settings.exclude_keys)
    return re.sub("=", settings.kv_sep, settings.item_sep.join(lines))
