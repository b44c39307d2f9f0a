"""Person re-identification experiments on PyTorch Lightning and Hydra.

The names below are the public ones; each is imported when it is first used.
"""

import importlib
import importlib.util
import logging
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reid_lightning.data.datamodule import ReIDDataModule
    from reid_lightning.engine.module import ReIDModule
    from reid_lightning.engine.objective import Objective
    from reid_lightning.errors import InputError
    from reid_lightning.experiments.checkpoint import load_module
    from reid_lightning.experiments.compose import run
    from reid_lightning.experiments.evaluate import evaluate
    from reid_lightning.inference.gallery.gallery import Gallery
    from reid_lightning.inference.load import load
    from reid_lightning.inference.model import Model
    from reid_lightning.models.network import ReIDNetwork
    from reid_lightning.retrieval.identification import Enrolment
    from reid_lightning.retrieval.protocol import EvaluationProtocol
    from reid_lightning.retrieval.ranking import rank
    from reid_lightning.systems.task import Task

if importlib.util.find_spec("fcntl") is None:
    raise ImportError("reid-lightning needs the file locks of Linux or macOS; on Windows run it inside WSL")

# Threads that wait by spinning slow a training on a CPU tenfold as soon as another program wants a core.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # albumentations looks for updates over the network


def _shown_as_it_is(record: logging.LogRecord) -> bool:
    from reid_lightning.errors import show_names_as_they_are

    return show_names_as_they_are(record)


logging.getLogger("reid_lightning").addFilter(_shown_as_it_is)

__version__ = "0.2.0"

__all__ = [
    "Enrolment",
    "EvaluationProtocol",
    "Gallery",
    "InputError",
    "Model",
    "Objective",
    "ReIDDataModule",
    "ReIDModule",
    "ReIDNetwork",
    "Task",
    "evaluate",
    "load",
    "load_module",
    "rank",
    "run",
]

_MODULES = {
    "Enrolment": "retrieval.identification",
    "EvaluationProtocol": "retrieval.protocol",
    "Gallery": "inference.gallery.gallery",
    "InputError": "errors",
    "Model": "inference.model",
    "Objective": "engine.objective",
    "ReIDDataModule": "data.datamodule",
    "ReIDModule": "engine.module",
    "ReIDNetwork": "models.network",
    "Task": "systems.task",
    "evaluate": "experiments.evaluate",
    "load": "inference.load",
    "load_module": "experiments.checkpoint",
    "rank": "retrieval.ranking",
    "run": "experiments.compose",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the module's own names and the public ones, imported or not."""
    return sorted({*globals(), *__all__})
