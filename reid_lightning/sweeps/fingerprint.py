"""What a job's result follows from, as a hash: its settings, its data and the code.

**Settings** are the resolved config, so that a changed default counts as a changed override does. A file that a setting
names (weights, attributes) counts by its name, size and modification time. What does not change a result is left out:
the keys that `config/keys.py` says change the machine (a batch is that of all processes, whatever their number) or a
place (the data count by what they hold), and `resume` from the job's own last checkpoint.

`trainer.precision`, `compile` and the like change the arithmetic and count. A left-out setting that a sweep *varies*
counts in that sweep: a comparison of `trainer.devices=1,2` needs both.

**Data** are the tables (see `source_tables.fingerprint`). **Code** is the package's version and its source files, and
those of further modules that the config names by `_target_`. The versions of torch and other libraries do not count.
"""

import hashlib
import importlib.util
import json
import logging
import os
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from reid_lightning import __version__
from reid_lightning.config.resolve import (
    PACKAGE,
    leaves,
    plain,
    plain_unresolved,
    targets,
)
from reid_lightning.config.schema import changes_result
from reid_lightning.config.trust import LIBRARIES
from reid_lightning.experiments.source_tables import SourceTables

log = logging.getLogger("reid_lightning")

UNREADABLE = "unreadable"  # data that cannot be read, of a job that will fail and say so


@dataclass(frozen=True)
class JobFingerprint:
    """Hashes of what a result follows from.

    Attributes:
        config: Of the settings.
        data: Of the tables.
        code: Of the source files.
    """

    config: str
    data: str
    code: str

    @property
    def name(self) -> str:
        """The hash of all three, which names the job's folder."""
        return _hash(asdict(self))[:12]


def fingerprint(config: Any, tables: SourceTables, swept: Collection[str] = ()) -> JobFingerprint:
    """Return the fingerprint of a job.

    It never raises: a job whose config or data cannot be used has a fingerprint too, under which its failure is recorded.

    Args:
        config: The composed config, not yet resolved.
        tables: Where the data are read, once in a process.
        swept: Keys that the sweep varies.
    """
    unresolved = plain_unresolved(config)
    for node in ("hydra", "logger"):
        unresolved.pop(node, None)
    unresolved["output_dir"] = "."  # what follows from it is a place too
    try:
        settled = plain(OmegaConf.create(unresolved))
    except Exception as error:  # whatever it is, the job itself meets it and tells
        log.debug("the config cannot be resolved: %s", error)
        return JobFingerprint(_hash(unresolved), UNREADABLE, code_version())
    try:
        data = tables.fingerprint(settled)
    except Exception as error:  # a reader of one's own may raise anything; the job meets it too
        log.debug("the data cannot be read: %s", error)
        data = UNREADABLE
    return JobFingerprint(_hash(settings(settled, swept)), data, code_version(settled))


def settings(config: Mapping[str, Any], swept: Collection[str] = ()) -> dict[str, Any]:
    """Return the settings of a plain config that change a result, by their dotted names.

    Args:
        config: Plain containers.
        swept: Keys that count although they are a machine's.

    Examples:
        >>> settings({"seed": 1, "data": {"root": "/somewhere", "num_workers": 4}})
        {'seed': 1}
        >>> settings({"seed": 1, "data": {"root": "/somewhere", "num_workers": 4}}, ["data.num_workers"])
        {'seed': 1, 'data.num_workers': 4}
    """
    kept = {key: _fact(value) for key, value in leaves(config) if not (isinstance(value, Mapping) and value)}
    if kept.get("resume") in ("last", "auto"):
        kept["resume"] = None
    return {key: value for key, value in kept.items() if key in swept or changes_result(key)}


def _fact(value: Any) -> Any:
    """Replace the name of a file by what tells its contents apart."""
    if isinstance(value, Mapping):
        return {str(key): _fact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_fact(item) for item in value]
    if isinstance(value, str) and os.path.isfile(path := os.path.expanduser(value)):
        status = os.stat(path)
        return [os.path.basename(path), status.st_size, status.st_mtime_ns]
    return value


def code_version(config: Mapping[str, Any] | None = None) -> str:
    """Return a hash of the package's version and source files, and of further modules that a plain config names."""
    roots = {target.split(".", 1)[0] for _, target in targets(config or {})} - set(LIBRARIES)
    return _hash([__version__, _digest(PACKAGE), *(_digest_of(root) for root in sorted(roots))])


@cache
def _digest_of(module: str) -> str:
    """Return the hash of a module's source, or of all of a package's; of a module that is not there, its name."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None or not os.path.isfile(spec.origin):
        return module
    return _digest(Path(spec.origin).parent if spec.submodule_search_locations else Path(spec.origin))


@cache
def _digest(path: Path) -> str:
    """Return the hash of a source file or of all of a folder, as the process has found them first."""
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
        content = file.read_bytes()
        digest.update(f"{file.relative_to(path.parent)} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _hash(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()
