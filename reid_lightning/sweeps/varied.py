"""What a sweep varies, and whether that has an effect in any of its jobs."""

from collections.abc import Iterator, Sequence
from itertools import islice, product

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import HydraException

from reid_lightning.config.leftover import without_leftover
from reid_lightning.config.no_effect import Idle, key_of, without_effect
from reid_lightning.config.schema import repetitions
from reid_lightning.errors import InputError

MOST = (
    100  # jobs of a sweep that are looked at; what none of these reads is taken to have an effect in another
)


def varied_in_vain(lines: Sequence[str], config_name: str = "config") -> dict[str, str]:
    """Return the settings that a sweep varies although they have no effect in any of its jobs.

    Jobs are composed until each varied setting has had an effect in one, which mostly the first does. Of what a sampler
    draws from an interval both ends stand for all values. Hydra must be initialized.

    Args:
        lines: The sweep's overrides; a later one of a key replaces an earlier one.
        config_name: The config that jobs are composed from.

    Returns:
        Why, by key. Empty where a job cannot be composed, which Hydra or the job says better.
    """
    try:
        overrides = _parsed(lines)
        waiting = {
            key_of(str(one.input_line))
            for one in overrides
            if one.is_sweep_override() and key_of(str(one.input_line)) not in repetitions()
        }
        found: dict[str, Idle] = {}
        jobs = _jobs(overrides)
        for job in islice(jobs, MOST) if waiting else ():
            config = hydra.compose(config_name, job)
            without_leftover(config, job)
            idle = without_effect(config)
            found = {key: one for key in waiting for one in idle if one.covers(key)}
            waiting &= found.keys()
            if not waiting:
                return {}
        return {} if next(jobs, None) else {key: found[key].why for key in sorted(waiting)}
    except (HydraException, InputError):
        return {}


def _parsed(lines: Sequence[str]) -> list[Override]:
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    return list({one.get_key_element(): one for one in parser.parse_overrides(list(lines))}.values())


def _jobs(overrides: Sequence[Override]) -> Iterator[list[str]]:
    """Yield the overrides of each job; of repetitions the first stands for all."""
    choices = []
    for one in overrides:
        lines = list(_values(one)) if one.is_sweep_override() else [str(one.input_line)]
        choices.append(lines[:1] if key_of(lines[0]) in repetitions() else lines)
    yield from (list(job) for job in product(*choices))


def _values(override: Override) -> Iterator[str]:
    """Yield an override for each value of one that is varied."""
    key, swept = override.get_key_element(), override.value()
    if isinstance(swept, IntervalSweep):
        yield from (f"{key}={end}" for end in (swept.start, swept.end))
    else:
        yield from (f"{key}={value}" for value in override.sweep_string_iterator())
