"""Hydra, made faster for a suite that composes a thousand configs: the same results in less than half of the time.

More than half of the time that Hydra needs for a config goes into work that it repeats: it parses the same YAML files for
every config, and it builds for each file a map of interpolations that only files with interpolated defaults need. Users
compose once a job, where a tenth of a second is nothing; they get Hydra as it is. `tests/config/test_quick_compose.py`
compares the two.
"""

import copy
import functools
import os

from hydra._internal import config_repository, defaults_list
from hydra.core.object_type import ObjectType


def install() -> None:
    """Let Hydra keep parsed files, and leave out maps that nobody reads; calling it again changes nothing."""
    if not hasattr(config_repository.ConfigRepository.load_config, "__wrapped__"):
        config_repository.ConfigRepository.load_config = _kept(config_repository.ConfigRepository.load_config)
        defaults_list._create_interpolation_map = _if_read(defaults_list._create_interpolation_map)


def _kept(load):
    """Return a loader that parses a file again only when it has changed."""
    parsed = {}

    @functools.wraps(load)
    def loaded(self, config_path):
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        if source is None or source.scheme() not in ("file", "pkg"):
            return load(self, config_path)
        key = (source.scheme(), source.path, source.provider, config_path, _state(source, config_path))
        if key not in parsed:
            parsed[key] = load(self, config_path)
        return copy.deepcopy(
            parsed[key]
        )  # Hydra puts the nodes of a file into the config, where they are changed

    return loaded


def _state(source, config_path):
    """Return what changes when a file is written; files of installed packages stay as they are."""
    if source.scheme() != "file":
        return None
    facts = os.stat(os.path.join(source.path, source._normalize_file_name(config_path)))
    return facts.st_mtime_ns, facts.st_size


def _if_read(build):
    """Return a builder that builds only for a list of defaults that has interpolations."""

    @functools.wraps(build)
    def built(overrides, defaults, self_added):
        read = any(default.is_interpolation() for default in defaults if not default.is_self())
        return build(overrides, defaults, self_added) if read else None

    return built
