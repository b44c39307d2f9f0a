"""A job of a sweep: its result is taken, or it is continued, or run.

A job's folder holds `identity.json`: what its result follows from. One process at a time works in a folder; the operating
system frees its lock when it dies, so that a killed sweep blocks nobody.
"""

import gc
import json
import logging
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig

from reid_lightning import __version__
from reid_lightning.config.choices import swept_keys
from reid_lightning.config.plain_file import read_mapping
from reid_lightning.config.resolve import plain
from reid_lightning.distributed.ddp_launcher import is_first_process
from reid_lightning.experiments.run_folder import LOCK
from reid_lightning.experiments.source_tables import TABLES
from reid_lightning.files import atomic_path, file_lock
from reid_lightning.results.finished import is_finished, mark
from reid_lightning.results.page_header import commit, machine
from reid_lightning.sweeps.fingerprint import JobFingerprint, fingerprint

log = logging.getLogger("reid_lightning")

IDENTITY = "identity.json"


def run_in_sweep(config: Any) -> float | None:
    """Return the validation mAP of a job, which is trained only as far as it has not been.

    Args:
        config: The job's composed config, not yet resolved.

    Returns:
        None without validation, and when `time_limit` has ended the job.

    Raises:
        InputError: As `run_job` does.
    """
    from reid_lightning.experiments.run import run_job

    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    swept = swept_keys(hydra)
    job = fingerprint(config, TABLES, swept)
    with _alone_in(folder):
        state = _state(folder, job)
        if state["finished"]:
            log.info("%s: finished already, its result is taken", folder)
            return read_mapping(folder / "metrics.json")["score"]
        mark(folder, finished=False)  # before the folder becomes this job's
        settled = plain(config)
        if is_first_process():
            _write_identity(folder, job, swept, _device(settled))
        if state["known"] and settled["resume"] in (None, "auto"):
            settled["resume"] = _continued(folder)
        if torch.cuda.is_available():
            gc.collect()  # the last job's network refers to its trainer and back, and holds the GPU's memory
        result = run_job(settled, TABLES, locked=True)
        return result.score if result else None


def _state(folder: Path, job: JobFingerprint) -> dict[str, bool]:
    """Return whether a folder is known as this job's, and whether the job is finished."""
    content = read_mapping(folder / IDENTITY)
    known = content.get("identity") == job.name
    finished = known and is_finished(folder) and "score" in read_mapping(folder / "metrics.json")
    return {"known": known, "finished": finished}


def _write_identity(folder: Path, job: JobFingerprint, swept: Sequence[str], device: torch.device) -> None:
    content = {"identity": job.name, "swept": list(swept), "version": __version__} | asdict(job)
    content |= {"commit": commit(), "machine": machine(device)}
    with atomic_path(folder / IDENTITY) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def _device(config: Mapping[str, Any]) -> torch.device:
    """Return the kind of device that a job is trained on."""
    on_cpu = config.get("trainer", {}).get("accelerator") == "cpu"
    return torch.device("cuda" if torch.cuda.is_available() and not on_cpu else "cpu")


def _continued(folder: Path) -> str | None:
    """Return what `resume` is for a job that has been begun here; clear away what cannot be continued."""
    whole = any(zipfile.is_zipfile(path) for path in (folder / "checkpoints").glob("[!.]*.ckpt"))
    if whole and (folder / "checkpoints" / "last.ckpt").is_file():
        log.info("%s: continued from its last checkpoint", folder)
        if is_first_process():
            (folder / "metrics.json").unlink(missing_ok=True)  # its results had not all been written
        return "last"
    if is_first_process():
        log.info("%s: begun before its first checkpoint, started again", folder)
        for path in folder.iterdir():
            if path.is_dir() and path.name in ("checkpoints", "refit"):
                shutil.rmtree(path)
            elif path.name in ("metrics.csv", "metrics.json", "wandb_id"):
                path.unlink()
    return None


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Wait until nobody else works in a job's folder; of the processes of one job the first waits for all."""
    if not is_first_process():
        yield
        return
    with file_lock(folder / LOCK, waiting=f"{folder}: another sweep is at this job, waiting for its result"):
        yield
