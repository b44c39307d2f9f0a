"""Who embeds which chunks: this process, or several that each load the model and take a share of the threads or devices."""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from reid_lightning.errors import InputError
from reid_lightning.experiments.quiet import quiet
from reid_lightning.inference.embedding.parts import Parts
from reid_lightning.inference.embedding.rows import embedded
from reid_lightning.inference.load import load
from reid_lightning.inference.model import Model

LOOK = 0.2  # seconds between two looks at other processes


@dataclass(frozen=True)
class Share:
    """What a process is to do.

    Attributes:
        parts: Where vectors go.
        chunks: Number of each chunk and its image files.
        dtype: In which vectors are stored.
        skip_damaged: Whether images that cannot be read are left out.
    """

    parts: Parts
    chunks: Sequence[tuple[int, Sequence[str]]]
    dtype: str
    skip_damaged: bool


def work(model: Model, share: Share, is_wanted: Callable[[], bool] = lambda: True) -> Iterator[int]:
    """Embed the chunks of a share; yield the number of images of each when it is on the disk.

    Raises:
        InputError: An image cannot be read, or the disk is full.
    """
    for chunk, paths in share.chunks:
        damaged: dict[int, str] | None = {} if share.skip_damaged else None
        table = pd.DataFrame({"path": pd.Series(list(paths), dtype=object)})
        ((read, vectors),) = embedded(model, table, len(table), damaged)
        if not is_wanted():
            return
        share.parts.write(chunk, _stored(vectors, share.dtype, read["path"]), damaged or {})
        yield len(paths)


def _stored(vectors: NDArray[np.float32], dtype: str, paths: pd.Series) -> NDArray[Any]:
    """Return vectors in the type of the file.

    Raises:
        InputError: One is not finite in it, which no command would read.
    """
    with np.errstate(over="ignore"):
        stored = vectors.astype(np.dtype(dtype))
    wrong = ~np.isfinite(stored).all(axis=1)
    if wrong.any():
        row = int(wrong.argmax())
        cause = "it is too large for float16: give --dtype float32"
        if not np.isfinite(vectors[row]).all():
            cause = "the model has diverged, or its weights are damaged: use another checkpoint"
        raise InputError(f"The vector of {paths.iloc[row]} is not finite; {cause}.")
    return stored


def work_in_processes(
    checkpoint: str,
    overrides: Sequence[str],
    trust: Sequence[str],
    device: torch.device,
    shares: Sequence[Share],
) -> Iterator[int]:
    """Embed the chunks of several shares, a process each; yield as `work` does.

    Raises:
        InputError: An image cannot be read, the disk is full, or a process has ended.
    """
    context = multiprocessing.get_context("spawn")  # no fork: this process has threads
    threads = max(1, len(os.sched_getaffinity(0)) // len(shares))
    devices = torch.cuda.device_count() if device.type == "cuda" else 0
    started: list[tuple[Any, Connection]] = []
    try:
        for number, share in enumerate(shares):
            here, there = context.Pipe(duplex=False)
            own = f"cuda:{number % devices}" if devices else str(device)
            process = context.Process(
                target=_serve,
                args=(there, os.getpid(), checkpoint, overrides, trust, own, threads, share),
                daemon=True,
            )
            process.start()
            there.close()
            started.append((process, here))
        yield from _heard(started)
    finally:
        for process, pipe in started:
            process.terminate()
            process.join()
            pipe.close()


def _heard(started: Sequence[tuple[Any, Connection]]) -> Iterator[int]:
    """Yield what processes report, until all have ended."""
    at_work = list(started)
    while at_work:
        for process, pipe in list(at_work):
            with suppress(EOFError):
                while pipe.poll():
                    said = pipe.recv()
                    if isinstance(said, str):
                        raise InputError(said)
                    yield said
                continue
            process.join()
            at_work.remove((process, pipe))
            if process.exitcode:
                raise InputError(
                    f"a process has ended with status {process.exitcode}, which happens if memory is full; run the same "
                    "command again to continue, with fewer --processes"
                )
        time.sleep(LOOK)


def _serve(
    pipe: Connection,
    parent: int,
    checkpoint: str,
    overrides: Sequence[str],
    trust: Sequence[str],
    device: str,
    threads: int,
    share: Share,
) -> None:
    """Embed a share in a process of its own, as long as the process that started it is there."""
    quiet()
    torch.set_num_threads(threads)
    try:
        model = load(checkpoint, device, trust, overrides)
        for count in work(model, share, lambda: os.getppid() == parent):
            pipe.send(count)
    except InputError as error:
        pipe.send(str(error))
    except (BrokenPipeError, KeyboardInterrupt):
        pass  # nobody listens any more
