"""Processes of a job that something else has started: `torchrun`, or `srun` in a SLURM job, on one machine or several.

All of them get the same command line at about the same time. What the command line leaves open, and each would settle for
itself, is settled here alike for all: the folder of the run.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reid_lightning.config.resolve import quoted
from reid_lightning.errors import InputError

_RUN_DIR = "hydra.run.dir="
_INTERACTIVE = ("bash", "interactive")  # names of SLURM jobs in which Lightning expects nothing to be started
# What gloo, NCCL and the store at which processes meet say about one that is gone.
_LOST = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Connection refused",
    "Broken pipe",
    "connection was likely closed",
    "connection was closed",
    "failed to recv, got 0 bytes",
    "Timed out waiting",
    "remote process exited",
    "Failed to recv",
)


@dataclass(frozen=True)
class Launched:
    """What has started the processes of this job.

    Attributes:
        by: `torchrun` or `srun`.
        processes: All processes of the job.
        nodes: Machines.
        rank: Number of this process among all.
        name: What all processes call the job; None where it has no name.
    """

    by: str
    processes: int
    nodes: int
    rank: int
    name: str | None


def launched(environment: Mapping[str, str] = os.environ) -> Launched | None:
    """Return what has started this process as one of a job's; None where nothing has.

    Args:
        environment: The process's variables.
    """
    get = environment.get
    if "TORCHELASTIC_RUN_ID" in environment:
        name = get("TORCHELASTIC_RUN_ID")
        return Launched(
            "torchrun",
            int(get("WORLD_SIZE", "1")),
            int(get("GROUP_WORLD_SIZE", "1")),
            int(get("RANK", "0")),
            None if name in (None, "", "none") else f"torchrun_{name}",
        )
    if "SLURM_STEP_NUM_TASKS" in environment and get("SLURM_JOB_NAME") not in _INTERACTIVE:
        array = get("SLURM_ARRAY_TASK_ID")
        name = f"{get('SLURM_ARRAY_JOB_ID')}_{array}" if array else get("SLURM_JOB_ID")
        return Launched(
            "srun",
            int(get("SLURM_STEP_NUM_TASKS", "1")),
            int(get("SLURM_STEP_NUM_NODES", "1")),
            int(get("SLURM_PROCID", "0")),
            f"slurm_{name}" if name else None,
        )
    return None


def part_here(environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Return which part of a work is this process's, counted from 1, and how many there are.

    Args:
        environment: The process's variables.

    Examples:
        >>> part_here({"SLURM_ARRAY_TASK_ID": "6", "SLURM_ARRAY_TASK_MIN": "2", "SLURM_ARRAY_TASK_STEP": "2",
        ...            "SLURM_ARRAY_TASK_COUNT": "8"})
        (3, 8)
        >>> part_here({"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "WORLD_SIZE": "4"})
        (2, 4)
        >>> part_here({})
        (1, 1)
    """
    job = launched(environment)
    rank, processes = (job.rank, job.processes) if job else (0, 1)
    task, first, step, count = (
        int(environment.get(f"SLURM_ARRAY_TASK_{name}", default))
        for name, default in (("ID", "0"), ("MIN", "0"), ("STEP", "1"), ("COUNT", "1"))
    )
    return (task - first) // step * processes + rank + 1, count * processes


def part_of(text: str) -> tuple[int, int]:
    """Read `--part`: K/N, or auto for what `part_here` tells.

    Raises:
        InputError: It is not a part of a whole.

    Examples:
        >>> part_of("2/8")
        (2, 8)
    """
    if text == "auto":
        return part_here()
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise InputError(
            f"--part {text} is not a part of a whole: write 2/8 for the second of eight, or auto in a job of torchrun or "
            "SLURM."
        )
    return int(found[1]), int(found[2])


def local_rank(environment: Mapping[str, str] = os.environ) -> int:
    """Return the number of this process among those that torchrun or srun has started on its machine."""
    job = launched(environment)
    name = {"torchrun": "LOCAL_RANK", "srun": "SLURM_LOCALID"}.get(job.by if job else "", "")
    return int(environment.get(name, "0"))


def with_shared_folder(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the command line of a run with a folder that all processes agree on.

    Hydra's own name for a folder is a time, which differs between processes. Here it is the job's name: a SLURM job that
    is queued again finds its folder. Processes after the first leave Hydra's files and the log to the first.

    Args:
        arguments: The command line without the program, of one run.
        environment: The process's variables.

    Raises:
        InputError: Several processes have no name in common, and no folder is given.

    Examples:
        >>> srun = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0", "SLURM_JOB_ID": "7"}
        >>> with_shared_folder(["seed=1"], srun)
        ['seed=1', "hydra.run.dir='outputs/slurm_7'"]
        >>> with_shared_folder(["seed=1"], {})
        ['seed=1']
    """
    job = launched(environment)
    if job is None or job.processes == 1 or {"-m", "--multirun"} & set(arguments):
        return list(arguments)
    added = []
    if not any(line.startswith(_RUN_DIR) for line in arguments):
        if job.name is None:
            raise InputError(
                f"{job.by} has started {job.processes} processes, which need one folder: add hydra.run.dir=DIR, or "
                "start torchrun with --rdzv-id=NAME"
            )
        added.append(f"{_RUN_DIR}{quoted(f'outputs/{job.name}')}")
    if job.rank > 0:
        added += ["hydra.output_subdir=null", "hydra/job_logging=none"]
    return [*arguments, *added]


def require_fitting(devices: int, nodes: int, environment: Mapping[str, str] = os.environ) -> None:
    """Refuse a trainer that does not fit the processes that were started, which would wait for each other in vain.

    Args:
        devices: Processes on a machine, as the config says.
        nodes: Machines, as the config says.
        environment: The process's variables.

    Raises:
        InputError: Says what to set, or how to start the processes.
    """
    if "REID_LIGHTNING_FIRST_PROCESS" in environment:
        return  # the first process of the job has started this one
    job = launched(environment)
    if job is None:
        if nodes > 1 and not {"RANK", "WORLD_SIZE"} <= set(environment):  # as other launchers set them
            raise InputError(
                f"trainer.num_nodes={nodes} needs processes on {nodes} machines, and nothing has started them: run the "
                "command under torchrun, or under srun in a SLURM job (docs/cluster.md)"
            )
        return
    if (job.processes, job.nodes) != (devices * nodes, nodes):
        raise InputError(
            f"{job.by} has started {job.processes} processes on {job.nodes} machines, and trainer.devices={devices} "
            f"trainer.num_nodes={nodes} makes {devices * nodes} on {nodes}: set trainer.num_nodes={job.nodes} "
            f"trainer.devices={job.processes // job.nodes}, or start other processes"
        )
    if (
        job.by == "srun" and job.processes > 1 and "SLURM_NTASKS_PER_NODE" not in environment
    ):  # Lightning needs it
        raise InputError(f"start srun with --ntasks-per-node={devices} instead of --ntasks or -n")


def why_lost(error: BaseException, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return what to say of an error that comes from another process's end; None for any other error.

    Args:
        error: What a collective operation has raised.
        environment: The process's variables.
    """
    job = launched(environment)
    said = " ".join(str(error).split())
    if job is None or not any(text in said for text in _LOST):
        return None
    place = next(text for text in _LOST if text in said)
    if address := re.search(rf"{re.escape(place)} (\[\S+)", said):
        place = f"{place} {address[1].rstrip('.')}"
    return (
        f"process {job.rank} of {job.processes} has lost another process of this run ({place}): the output of {job.by} "
        "on the other machines says why; start the run again with resume=auto to continue after its last whole epoch"
    )
