"""Several processes on one job, also inside a sweep.

Lightning starts the other ranks with the command line of the first. Under `--multirun` every rank would then run
the whole sweep, in a folder of its own, and a sampling sweeper would hand each rank other values. Here the first
rank writes its resolved config into the run's folder and the others are started on exactly that file.
"""

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.distributed import _set_num_threads_if_needed
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from lightning.pytorch.utilities import rank_zero_only

from reid_lightning.config.resolve import quoted
from reid_lightning.distributed.launched import why_lost
from reid_lightning.errors import InputError
from reid_lightning.signals import EXIT_STATUS

RANK_VARIABLES = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
FIRST, ERRORS = (
    "REID_LIGHTNING_FIRST_PROCESS",
    "REID_LIGHTNING_ERRORS",
)  # a process's number, and an open file's
_LONGEST = 65_536  # bytes of an error, which a pipe holds


class JobLauncher(_SubprocessScriptLauncher):
    """Starts ranks 1..n-1 of this node on the resolved config of this very job."""

    def __init__(self, *arguments: Any, config_file: Path, children: "Children") -> None:
        super().__init__(*arguments)
        self.config_file = config_file
        self.children = children

    def launch(
        self, function: Callable[..., Any], *arguments: Any, trainer: Any = None, **keywords: Any
    ) -> Any:
        """Start the other ranks, unless the cluster has, and run `function` in this one."""
        self.cluster_environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        if not self.cluster_environment.creates_processes_externally:
            self._call_children_scripts()
            self.children.watch()
        _set_num_threads_if_needed(num_processes=self.num_processes)
        return function(*arguments, **keywords)

    def _call_children_scripts(self) -> None:
        self._check_can_spawn_children()
        environment = self.cluster_environment
        os.environ["MASTER_ADDR"] = environment.main_address
        os.environ["MASTER_PORT"] = str(environment.main_port)
        os.environ["NODE_RANK"] = str(environment.node_rank())
        os.environ["LOCAL_RANK"] = str(environment.local_rank())
        os.environ["WORLD_SIZE"] = str(self.num_processes * self.num_nodes)
        _require_free(environment.main_address, environment.main_port)
        command = child_command(self.config_file)
        with _signals_ignored():
            self.procs = [self.children.start(command, rank) for rank in range(1, self.num_processes)]


def _require_free(address: str, port: int) -> None:
    """Refuse a port that another process listens at, before the processes of a job wait for each other there."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return  # an address of another kind: torch sees to it
            raise InputError(
                f"port {port}, where the processes of this run would meet, is in use: unset MASTER_PORT, or set it to "
                "a free port"
            ) from error


@contextmanager
def _signals_ignored() -> Iterator[None]:
    """Let processes that start here ignore the signals that end a job, which come to the whole group of processes.

    The first process ends them. One that ended by itself would leave the first in a collective operation, where it sees no
    signal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in EXIT_STATUS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Children:
    """The processes that rank 0 has started for one job.

    Lightning's own observer kills rank 0 for any child that ends with an error, also after the job is over; here
    the watch ends with the job, so that the next job of a sweep is safe.
    """

    grace_s = 15.0  # for rank 0 to fail by itself (gloo does), before it is ended where it hangs
    settle_s = 10.0  # for a child that has lost its connection, or has cut it, to end

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self._over = threading.Event()
        self._pipes: list[int] = []  # of each child: where its error is read

    def start(self, command: list[str], rank: int) -> "subprocess.Popen[bytes]":
        """Start a child, which writes the sentence of its error into a pipe."""
        read, written = os.pipe()
        os.set_blocking(read, False)
        environment = {"LOCAL_RANK": str(rank), FIRST: str(os.getpid()), ERRORS: str(written)}
        process = subprocess.Popen(command, env=os.environ | environment, pass_fds=[written])
        os.close(written)
        self.processes.append(process)
        self._pipes.append(read)
        return process

    def watch(self) -> None:
        """Start the watch in a thread."""
        threading.Thread(target=self._watch, name="job-children", daemon=True).start()

    def _watch(self) -> None:
        while not self._over.wait(1.0):
            if any(process.poll() for process in self.processes):
                if not self._over.wait(self.grace_s):
                    print(f"error: {self.why_failed()}", file=sys.stderr, flush=True)
                    self.end(failed=True)
                    os._exit(1)  # the main thread waits in a collective operation, which no exception ends
                return

    def why_failed(self, wait_s: float = 0.0) -> str | None:
        """Return a sentence about the first child that has failed; None where none has.

        Args:
            wait_s: Seconds that a child may still take to end.
        """
        end = time.monotonic() + wait_s
        while True:
            for pipe in self._pipes:
                with suppress(BlockingIOError):
                    if said := os.read(pipe, _LONGEST):
                        return said.decode(errors="replace")
            for rank, process in enumerate(self.processes, start=1):
                if code := process.poll():
                    return _how_it_ended(rank, code)
            if not self.processes or time.monotonic() > end:
                return None
            time.sleep(0.05)

    def end(self, failed: bool) -> None:
        """Wait for the children after success, end them after a failure."""
        for process in self.processes:
            if failed and process.poll() is None:
                process.kill()
            process.wait()
        self._over.set()
        while self._pipes:
            os.close(self._pipes.pop())


def is_first_process() -> bool:
    """Tell whether this is the first process of its job, which writes for all."""
    return int(getattr(rank_zero_only, "rank", 0) or 0) == 0


def _how_it_ended(rank: int, code: int) -> str:
    """Say how a child failed that has not said it itself."""
    if code > 0:
        return f"process {rank} of this run ended with exit status {code}; its own message stands above"
    return (
        f"process {rank} of this run was ended by {signal.Signals(-code).name}, which the system sends where memory runs "
        "out: continue with resume=last or start again, with smaller batches or fewer processes if it happens again"
    )


def child_command(config_file: Path) -> list[str]:
    """Return the command that runs one more rank of a job from its resolved config."""
    folder = config_file.parent.resolve()
    return [
        sys.executable,
        "-m",
        "reid_lightning.cli.train",
        f"--config-path={folder}",
        f"--config-name={config_file.stem}",
        f"hydra.run.dir={quoted(folder)}",
        "hydra.output_subdir=null",
        "hydra/job_logging=none",
    ]


def _end_with(first: int) -> None:
    """End this process when the first one of its job is gone, whatever it waits for."""
    while os.getppid() == first:
        time.sleep(1.0)
    os._exit(1)


class JobDDPStrategy(DDPStrategy):
    """DistributedDataParallel whose processes are made for one job and end with it.

    Args:
        config_file: The job's resolved config, written before training starts.
        children: Where the started processes are kept until the job's end.
        process_group_backend: `nccl` or `gloo`; None chooses by device.
    """

    def __init__(
        self, config_file: str | Path, children: Children, process_group_backend: str | None = None
    ) -> None:
        super().__init__(process_group_backend=process_group_backend)
        self.config_file = Path(config_file)
        self.children = children

    def _configure_launcher(self) -> None:
        assert self.cluster_environment is not None
        self._launcher = JobLauncher(
            self.cluster_environment,
            self.num_processes,
            self.num_nodes,
            config_file=self.config_file,
            children=self.children,
        )


def world_size(devices: int | str | list[int], num_nodes: int, accelerator: str) -> int:
    """Return how many processes a trainer config asks for.

    Args:
        devices: Count, list of device numbers, "auto" or -1 (all of them).
        num_nodes: Machines.
        accelerator: `auto`, `cpu`, `gpu` or another name that Lightning knows.
    """
    return processes_per_node(devices, accelerator) * int(num_nodes)


def processes_per_node(devices: int | str | list[int], accelerator: str) -> int:
    """Return how many processes a trainer config asks for on each machine; see `world_size`."""
    if isinstance(devices, list | tuple):
        return len(devices)
    if str(devices) in ("auto", "-1"):
        return 1 if accelerator == "cpu" else max(1, torch.cuda.device_count())
    if isinstance(devices, str) and "," in devices:
        return len([number for number in devices.split(",") if number.strip()])
    return int(devices)


@contextmanager
def processes_of_one_job() -> Iterator[Children]:
    """End a job's other processes and group with the job, so that the next job of the process starts clean."""
    before = {name: os.environ.get(name) for name in RANK_VARIABLES}
    children = Children()
    failed = True
    if FIRST in os.environ:
        threading.Thread(target=_end_with, args=(int(os.environ[FIRST]),), daemon=True).start()
    try:
        yield children
        failed = False
    except InputError as error:
        if ERRORS not in os.environ:
            raise
        os.write(int(os.environ[ERRORS]), str(error).encode(errors="replace")[:_LONGEST])
        raise SystemExit(1) from error  # the first process says it
    except Exception as error:
        lost = isinstance(error, RuntimeError)  # so are those of torch's collective operations
        sentence = children.why_failed(children.settle_s if lost else 0.0)
        if sentence is None and lost:
            sentence = why_lost(error)
        if sentence is None:
            raise
        raise InputError(sentence) from error
    finally:
        children.end(failed)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
