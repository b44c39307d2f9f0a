"""The launchers and the sweeper of `conf/hydra`, which stand on plug-ins of Hydra."""

import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from reid_lightning.config.resolve import CONF
from reid_lightning.sweeps import gpu_lease  # noqa: F401  the options' resolvers


class OwnGroup(dict[str, Any]):
    """Registered options of a group, among which the names of our files find no place.

    Hydra finds the plug-ins again in every process of a launcher, and each registers its options again. A group travels to
    these processes with all that is registered.
    """

    def __init__(self, options: dict[str, Any], ours: set[str]) -> None:
        self.ours = ours
        for name, node in options.items():
            self[name] = node

    def __setitem__(self, name: str, node: Any) -> None:
        if name not in getattr(self, "ours", ()):  # unpickled, it knows its options before its names
            super().__setitem__(name, node)


def prefer_own_options(conf: Path = CONF) -> None:
    """Let the files of `conf/hydra` stand for what plug-ins register under the same names.

    Hydra would take the plug-in's option for a schema of the file: it warns, and refuses one that has defaults.
    """
    for folder in {file.parent for file in (conf / "hydra").rglob("*.yaml")}:
        above: Any = ConfigStore.instance().repo
        *groups, last = folder.relative_to(conf).parts
        for group in groups:
            above = above.setdefault(group, {})
        above[last] = OwnGroup(above.get(last, {}), {file.name for file in folder.glob("*.yaml")})


class Needs(Callback):
    """Ends a sweep before it starts when the package of its launcher or sweeper is missing.

    Args:
        module: What must be importable.
        extra: The extra of reid-lightning that installs it.
        environment: Variables that the package reads when it is imported; those that the user has set stay.
    """

    def __init__(self, module: str, extra: str, environment: Mapping[str, str] | None = None) -> None:
        self.module = module
        self.extra = extra
        self.environment = dict(environment or {})

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Name the extra and exit if the module is missing; else set the variables."""
        try:
            found = importlib.util.find_spec(self.module)
        except ModuleNotFoundError:  # its parent
            found = None
        if found is None:
            print(
                f"error: this sweep needs {self.module}; install the extra: pip install 'reid-lightning[{self.extra}]'",
                file=sys.stderr,
            )
            raise SystemExit(1)  # Hydra turns other exceptions of a callback into warnings
        for name, value in self.environment.items():
            os.environ.setdefault(name, value)
