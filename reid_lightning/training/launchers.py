"""The launchers and the sweeper of `conf/hydra`, which stand on plug-ins of Hydra."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from reid_lightning.training import devices  # noqa: F401  the options' resolvers
from reid_lightning.training.configuration import CONF


def prefer_own_options(conf: Path = CONF) -> None:
    """Let the files of `conf/hydra` stand for what plug-ins have registered under the same names.

    Hydra would take the plug-in's option for a schema of the file: it warns, and refuses one that has defaults.
    """
    Plugins.instance()  # finds the plug-ins, which register their options
    for file in (conf / "hydra").rglob("*.yaml"):
        registered: Any = ConfigStore.instance().repo
        for group in file.relative_to(conf).parent.parts:
            registered = registered.get(group, {})
        registered.pop(file.name, None)


class Needs(Callback):
    """Ends a sweep before it starts when the package of its launcher or sweeper is missing.

    Args:
        module: What must be importable.
        extra: The extra of reid-lightning that installs it.
    """

    def __init__(self, module: str, extra: str) -> None:
        self.module = module
        self.extra = extra

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Name the extra and exit, if the module is missing."""
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
