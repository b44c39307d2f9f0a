"""What many tests do: start a Python process, let two processes meet, write a picture or a job's folder."""

import io
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from forked import Started, shared_commands

REPOSITORY = Path(__file__).resolve().parents[1]
TIMEOUT = 600  # seconds that a started process may take


def environment(*unset: str, **variables: str) -> dict[str, str]:
    """Return this process's environment for a child.

    Args:
        *unset: Beginnings of the names of variables to leave out.
        **variables: Variables to set. A folder in `PYTHONPATH` stands before what is there already.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(unset)}
    if "PYTHONPATH" in variables and inherited.get("PYTHONPATH"):
        variables["PYTHONPATH"] = os.pathsep.join((variables["PYTHONPATH"], inherited["PYTHONPATH"]))
    return inherited | variables


def run_python(
    *arguments: object, code: int | None = 0, where: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run this Python in the repository's root and return what it wrote.

    Args:
        *arguments: What follows `python`.
        code: The exit status that is asserted; None: any.
        where: The whole environment of the process, as `environment` returns it; None: this process's.

    Raises:
        AssertionError: The exit status is another one; the message ends with what the process wrote.
    """
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True, text=True, timeout=TIMEOUT, check=False, cwd=REPOSITORY, env=where,
    )  # fmt: skip
    assert code in (None, done.returncode), (
        f"exit status {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    )
    return done


def start_python(
    *arguments: object, where: Mapping[str, str] | None = None, **streams: Any
) -> subprocess.Popen[str]:
    """Start this Python in the repository's root without waiting for it; `streams` are those of `Popen`."""
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)], text=True, cwd=REPOSITORY, env=where, **streams
    )


def train_arguments(*overrides: str, folder: Path, multirun: bool = False) -> list[str]:
    """Return what follows `python` for one run into a folder, or for a sweep into it."""
    place = f"hydra.sweep.dir={folder}" if multirun else f"hydra.run.dir={folder}"
    return ["train.py", *(["--multirun"] if multirun else []), place, *overrides]


def train(
    *overrides: str,
    folder: Path,
    multirun: bool = False,
    code: int | None = 0,
    where: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `train.py` in a forked process of one thread; see `train_arguments`, `run_forked` and `forked.py`."""
    return run_forked(*train_arguments(*overrides, folder=folder, multirun=multirun), code=code, where=where)


def start_forked(
    *arguments: object, where: Mapping[str, str] | None = None, cwd: Path = REPOSITORY
) -> Started:
    """Start a script or `reid` (the first argument) in a forked process of one thread, without waiting for it."""
    return shared_commands().start(*arguments, cwd=cwd, where=environment() if where is None else where)


def run_forked(
    *arguments: object,
    code: int | None = 0,
    where: Mapping[str, str] | None = None,
    cwd: Path = REPOSITORY,
) -> subprocess.CompletedProcess[str]:
    """Run a script or `reid` (the first argument) in a forked process of one thread; otherwise as `run_python`."""
    ended = start_forked(*arguments, where=where, cwd=cwd).wait()
    assert code in (None, ended.code), f"exit status {ended.code}\n{ended.out[-3000:]}\n{ended.err[-3000:]}"
    return subprocess.CompletedProcess([*map(str, arguments)], ended.code, ended.out, ended.err)


def command(*arguments: object) -> Any:
    """Run a command of `reid` inside this process; return typer's result, with `exit_code` and `stdout`.

    Raises:
        InputError: As the command raises it; `main` turns it into one line.
    """
    from typer.testing import CliRunner

    from reid_lightning.cli.main import app

    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def wait_until(
    condition: Callable[[], object],
    process: subprocess.Popen[Any] | Started | None = None,
    seconds: float = 180,
) -> None:
    """Wait until a condition is true.

    Raises:
        AssertionError: The process ended before, or the time is over.
    """
    end = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, "the process has ended"
        assert time.monotonic() < end, f"not true within {seconds} s"
        time.sleep(0.02)


class Processes:
    """Processes joined by gloo that work together whenever they are asked; they are started at the first time.

    Starting one takes seconds, so that all tests of a session share them.
    """

    def __init__(self, folder: Path, count: int = 2) -> None:
        self.folder = folder
        self.count = count
        self.started: list[tuple[Any, Any]] = []  # process, and this end of its pipe

    def __call__(self, work: Callable[..., Any], *arguments: object) -> list[Any]:
        """Return what each process returns from `work(rank, *arguments)`, run on one thread.

        Args:
            work: A function that a child process can import.
            *arguments: Its further arguments.

        Raises:
            AssertionError: The work failed in a process, or took too long; the next call starts new processes.
        """
        import torch

        if not self.started:
            self._start()
        for _, pipe in self.started:
            pipe.send((work, arguments))
        results = []
        for rank, (_, pipe) in enumerate(self.started):
            try:
                failure, written = pipe.recv() if pipe.poll(TIMEOUT) else ("no answer", None)
            except EOFError:
                failure, written = "it has ended", None
            if failure:
                self.end()
                raise AssertionError(f"process {rank}: {failure}")
            results.append(torch.load(io.BytesIO(written)))
        return results

    def end(self) -> None:
        """Stop the processes."""
        for process, pipe in self.started:
            process.kill()
            process.join()
            pipe.close()
        self.started = []

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        meeting = tempfile.mkdtemp(dir=self.folder)
        for rank in range(self.count):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(rank, self.count, meeting, there), daemon=True)
            process.start()
            there.close()
            self.started.append((process, here))


def _serve(rank: int, count: int, meeting: str, pipe: Any) -> None:
    import torch
    from torch import distributed

    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{meeting}/store", rank=rank, world_size=count)
    while True:
        work, arguments = pipe.recv()
        written = io.BytesIO()
        try:
            torch.save(work(rank, *arguments), written)
        except Exception:
            pipe.send((traceback.format_exc(), None))
        else:
            pipe.send((None, written.getvalue()))


def write_plain_image(
    path: Path, color: tuple[int, int, int] = (0, 0, 0), size: tuple[int, int] = (8, 4)
) -> Path:
    """Write a picture of one color (red, green, blue) and of (height, width) pixels; its folder is made."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size[::-1], color).save(path)
    return path


def write_job(
    folder: Path, overrides: Sequence[str], seed: int, metrics: Mapping[str, Any] | None = None
) -> None:
    """Write what Hydra and a job leave in a folder; a job without metrics is unfinished.

    Args:
        folder: The job's folder, which must not be there.
        overrides: The job's overrides, without its seed.
        seed: The job's seed.
        metrics: Content of `metrics.json`.
    """
    import yaml

    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump([*overrides, f"seed={seed}"]))
    (folder / "config.yaml").write_text(yaml.safe_dump({"seed": seed}))
    if metrics is not None:
        (folder / "metrics.json").write_text(json.dumps(metrics))
