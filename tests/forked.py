"""Commands in processes of their own that share the imports: a server imports once and forks for each of them.

A process that imports everything anew takes eight seconds of a processor for that, a forked one none.
"""

import atexit
import functools
import gc
import multiprocessing
import os
import re
import runpy
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

TIMEOUT = 600  # seconds
REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Ended:
    """A command that has ended.

    Attributes:
        code: Exit status; of a killed process minus the signal.
        out: What it wrote to standard output.
        err: What it wrote to standard error.
    """

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The one sentence of a user error, without `error: `.

        Raises:
            AssertionError: The exit status is 0, or standard error holds anything else but hints.
        """
        said = [line for line in self.err.splitlines() if line.strip()]
        errors = [line for line in said if line.startswith("error: ")]
        assert self.code not in (0, None), f"exit status {self.code}\n{self.out[-2000:]}\n{self.err[-2000:]}"
        assert "Traceback" not in self.out + self.err, self.err[-3000:]
        assert len(errors) == 1, self.err[-3000:]
        assert not re.search(r"Error executing job|HYDRA_FULL_ERROR", self.out + self.err), self.err[-3000:]
        return errors[0].removeprefix("error: ")


class Started:
    """A command that runs."""

    def __init__(self, process: Any, out: Path, err: Path) -> None:
        self.process, self._out, self._err = process, out, err

    @property
    def runs(self) -> bool:
        """Whether it still runs."""
        return bool(self.process.is_alive())

    def poll(self) -> int | None:
        """Return the exit status, or None while it runs."""
        return None if self.runs else int(self.process.exitcode)

    @property
    def err(self) -> str:
        """What it has written to standard error."""
        return self._err.read_text(errors="replace")

    @property
    def out(self) -> str:
        """What it has written to standard output."""
        return self._out.read_text(errors="replace")

    def signal(self, number: int) -> None:
        """Send a signal to it and to what it has started."""
        os.killpg(self.process.pid, number)

    def kill(self) -> Ended:
        """Kill it and what it has started, at once."""
        if self.runs:
            self.signal(signal.SIGKILL)
        return self.wait()

    def until(self, condition: Callable[[], object], seconds: float = TIMEOUT) -> bool:
        """Wait until a condition is true; return False where the command ends before."""
        end = time.monotonic() + seconds
        while not condition():
            if not self.runs:
                return False
            assert time.monotonic() < end, f"not true within {seconds} s\n{self.err[-2000:]}"
            time.sleep(0.005)
        return True

    def after(self, seconds: float) -> None:
        """Let it run for some time, or until it ends."""
        self.process.join(seconds)

    def wait(self, seconds: float = TIMEOUT) -> Ended:
        """Wait for its end; whoever interrupts the waiting ends the command as well."""
        try:
            self.process.join(seconds)
        except BaseException:
            self.signal(signal.SIGKILL)
            raise
        if self.process.is_alive():
            self.signal(signal.SIGKILL)
            self.process.join()
            raise AssertionError(
                f"it has not ended within {seconds} s\n{self.out[-2000:]}\n{self.err[-2000:]}"
            )
        return Ended(self.process.exitcode, self.out, self.err)


class Commands:
    """Starts commands in forked processes.

    Args:
        folder: Receives what they write to standard output and error.
    """

    def __init__(self, folder: Path) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["imported"])
        self._folder, self._count = folder, 0
        inherited = dict(os.environ)
        os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), str(REPOSITORY)])
        os.environ |= {"OMP_NUM_THREADS": "1", "NO_ALBUMENTATIONS_UPDATE": "1"}
        try:
            forkserver.ensure_running()  # it imports with these variables
        finally:
            os.environ.clear()
            os.environ |= inherited

    def start(
        self,
        *arguments: object,
        cwd: Path = REPOSITORY,
        where: Mapping[str, str] | None = None,
        **environment: str,
    ) -> Started:
        """Start `reid` or a script (the first argument) with further arguments.

        Args:
            *arguments: Such as `"train.py", "seed=1"` or `"reid", "evaluate", checkpoint`.
            cwd: Working directory.
            where: The whole environment of the process; it computes on one thread all the same. None: little is inherited.
            **environment: Variables to set.
        """
        self._count += 1
        out, err = (self._folder / f"{self._count}.{name}" for name in ("out", "err"))
        for file in (out, err):
            file.touch()
        variables = {"WANDB_MODE": "offline", "NO_ALBUMENTATIONS_UPDATE": "1"}
        variables |= {name: value for name, value in os.environ.items() if name.startswith("REID_")}
        variables |= environment | {"OMP_NUM_THREADS": "1"}
        process = self._context.Process(
            target=_run, args=([*map(os.fspath, map(str, arguments))], cwd, variables, where, out, err)
        )
        process.start()
        return Started(process, out, err)

    def run(self, *arguments: object, cwd: Path = REPOSITORY, **environment: str) -> Ended:
        """Run a command to its end; see `start`."""
        return self.start(*arguments, cwd=cwd, **environment).wait()


@functools.cache
def shared_commands() -> Commands:
    """Return what `helpers.train` starts its processes with: one server for all tests of this process."""
    folder = tempfile.mkdtemp(prefix="forked-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Commands(Path(folder))


def _run(
    arguments: Sequence[str],
    cwd: Path,
    environment: dict[str, str],
    where: Mapping[str, str] | None,
    out: Path,
    err: Path,
) -> None:
    """Be the command; runs in the forked process."""
    gc.freeze()  # what the server has imported stays, and no collection looks at it
    os.setsid()
    os.chdir(cwd)
    if where is not None:
        os.environ.clear()
        environment = where | {"OMP_NUM_THREADS": "1"}
        sys.path[:0] = environment.get("PYTHONPATH", "").split(os.pathsep)
    os.environ.update(environment)
    for stream, file in ((1, out), (2, err)):
        handle = os.open(file, os.O_WRONLY | os.O_APPEND)
        os.dup2(handle, stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    program, *sys.argv[1:] = arguments
    sys.argv[0] = program
    code: Any = 0
    try:
        if program == "reid":
            from reid_lightning.cli.main import main

            main()
        else:
            sys.argv[0] = os.path.join(REPOSITORY, program)  # where it is not absolute
            runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as ended:
        code = ended.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # as an interpreter ends: threads first, then what is registered
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)
