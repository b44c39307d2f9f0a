"""What the suite needs beyond the package: the dependency group `dev`, which a plain `uv run` leaves out.

`uv run train.py` installs what a run needs, and pytest with its two plug-ins. The first `uv run pytest` then installs the
rest of the group and starts again.
"""

import importlib.metadata
import os
import shutil
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

_PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
_TRIED = "REID_LIGHTNING_DEV_GROUP"  # set in the second start, so that there is no third


def missing_packages(project: Path = _PROJECT) -> list[str]:
    """Return the names of the group's packages that are not installed here."""
    groups = tomllib.loads(project.read_text())["dependency-groups"]
    wanted = [Requirement(line) for line in groups["dev"] if isinstance(line, str)]
    return [
        one.name for one in wanted if one.marker is None or one.marker.evaluate() if not _is_there(one.name)
    ]


def _is_there(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def start_again_with_dev(config: pytest.Config) -> None:
    """Install the group and replace this process, if uv has started it or made its environment, and a package is missing.

    Raises:
        pytest.UsageError: A package is missing, and this environment is not uv's.
    """
    if _TRIED in os.environ or hasattr(config, "workerinput") or not (missing := missing_packages()):
        return
    uv = os.environ.get("UV")  # which uv sets for what it runs
    if uv is None and Path(sys.prefix) == _PROJECT.parent / ".venv":  # made by uv, and run without it
        uv = shutil.which("uv")
    if uv is None:
        raise pytest.UsageError(
            f"{missing[0]} is not installed: run the tests with `uv run pytest`, or install the dependency group with "
            "`pip install --group dev`"
        )
    print(f"installing the dependency group dev, of which {len(missing)} packages are missing", flush=True)
    if (capture := config.pluginmanager.getplugin("capturemanager")) is not None:
        capture.stop_global_capturing()  # the new process writes where this one was started to write
    given = [str(word) for word in config.invocation_params.args]
    os.execvpe(
        uv, ["uv", "run", "--group", "dev", "python", "-m", "pytest", *given], {**os.environ, _TRIED: "1"}
    )
