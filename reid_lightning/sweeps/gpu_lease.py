"""Which GPU a job gets where several jobs of a sweep share a machine, and how many run at a time."""

import fcntl
import logging
import math
import os
import socket
import time
from pathlib import Path
from typing import IO, Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from reid_lightning.files import cache_dir, file_lock

log = logging.getLogger("reid_lightning")

ON_A_CPU = 2  # jobs at a time where there is no GPU
_held: dict[str, IO[str]] = {}  # GPU: its lock, which ends with this process


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [part.strip() for part in named.split(",") if part.strip() not in ("", "-1")]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def processes_per_node(devices: Any) -> int:
    """Return how many processes a job has on a machine; 1 for `auto`, because a job then takes the one GPU it is given.

    Args:
        devices: `trainer.devices`.

    Examples:
        >>> processes_per_node("auto"), processes_per_node(4), processes_per_node([0, 1])
        (1, 4, 2)
    """
    if devices in ("auto", "-1", -1):
        return 1
    return int(devices) if isinstance(devices, int | str) else len(devices)


def jobs_at_once(accelerator: str, devices: Any) -> int:
    """Return as many jobs as the GPUs of this machine can run side by side; 2 without a GPU."""
    gpus = [] if accelerator == "cpu" else visible_gpus()
    return max(1, len(gpus) // processes_per_node(devices)) if gpus else ON_A_CPU


def gpus_per_node(accelerator: str, devices: Any) -> int | None:
    """Return the GPUs that a job asks of each machine; None on a CPU."""
    return None if accelerator == "cpu" else processes_per_node(devices)


def gpus_per_task(cluster: str | None, accelerator: str, devices: Any) -> int:
    """Return the GPUs that a job asks Ray for, which waits for ever for those that no machine has.

    Args:
        cluster: Address of a Ray cluster; None: the Ray is of this machine.
        accelerator: `trainer.accelerator`.
        devices: `trainer.devices`.
    """
    if accelerator == "cpu" or (cluster is None and not visible_gpus()):
        return 0
    return processes_per_node(devices)


for _resolver in (processes_per_node, jobs_at_once, gpus_per_node, gpus_per_task):
    OmegaConf.register_new_resolver(_resolver.__name__, _resolver, replace=True)


def lease(count: int, jobs_per_gpu: int = 1) -> list[str]:
    """Hold GPUs for the life of this process, and wait until so many are free.

    The locks are shared by all sweeps of this user on this machine, so that two of them do not meet on a GPU.

    Args:
        count: GPUs.
        jobs_per_gpu: Processes that may hold the same one.

    Returns:
        Their names for `CUDA_VISIBLE_DEVICES`; a process keeps what it was given first.
    """
    folder, waiting = cache_dir() / "gpus", False
    while not _held:
        with file_lock(folder / f"{socket.gethostname()}.lock"):  # takes all or none
            taken = _take(folder, count, jobs_per_gpu)
        if len(taken) == count:
            _held.update(taken)
        else:
            for lock in taken.values():
                lock.close()
            if not waiting:
                log.info("waiting for %d of the GPUs %s", count, ", ".join(visible_gpus()))
            waiting = True
            time.sleep(1)
    return list(_held)


def _take(folder: Path, count: int, jobs_per_gpu: int) -> dict[str, IO[str]]:
    """Lock up to `count` GPUs, those with the fewest jobs first."""
    taken: dict[str, IO[str]] = {}
    for place in range(jobs_per_gpu):
        for gpu in visible_gpus():
            if len(taken) == count or gpu in taken:
                continue
            lock = (folder / f"{socket.gethostname()}-{gpu.replace('/', '_')}-{place}").open("a")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                taken[gpu] = lock
            except BlockingIOError:
                lock.close()
    return taken


class HandOutGPUs(Callback):
    """Gives every process of `hydra/launcher=joblib` a GPU of its own, or several to a job of several processes.

    Args:
        n_jobs: Jobs at a time. With more of them than GPUs, the GPUs are shared evenly.
    """

    def __init__(self, n_jobs: int) -> None:
        self.n_jobs = n_jobs

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Set `CUDA_VISIBLE_DEVICES` before the job starts; Hydra takes it back after the job."""
        count = processes_per_node(config.trainer.devices)
        if config.trainer.accelerator == "cpu" or count > (gpus := len(_held) or len(visible_gpus())):
            return  # Lightning says how many there are
        jobs = self.n_jobs if self.n_jobs > 0 else os.cpu_count() or 1
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(lease(count, math.ceil(jobs * count / gpus)))
