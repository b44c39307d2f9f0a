"""What `reid embed` does: the vectors of any number of images into one file."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from reid_lightning import __version__
from reid_lightning.data.cells import identifiers
from reid_lightning.distributed.launched import local_rank, part_of
from reid_lightning.errors import InputError
from reid_lightning.experiments.model_places import local_path
from reid_lightning.experiments.quiet import quiet
from reid_lightning.files import require_output
from reid_lightning.inference.embed import list_images
from reid_lightning.inference.embedding.parts import Parts, digest_of
from reid_lightning.inference.embedding.workers import Share, work, work_in_processes
from reid_lightning.inference.embedding.writers import WRITERS, to_arrow
from reid_lightning.inference.load import load
from reid_lightning.inference.model import Model
from reid_lightning.inference.options import require_choice, require_option
from reid_lightning.reporting.cells import write_csv
from reid_lightning.reporting.terminal import say

DTYPES = ("float32", "float16")
NAMED = 20  # images left out that are named on the terminal
QUIET = 10.0  # seconds between two lines of progress


def embed(
    checkpoint: Path,
    images: Path,
    output: Path,
    overrides: Sequence[str] = (),
    trust: Sequence[str] = (),
    *,
    processes: int = 1,
    part: str | None = None,
    dtype: str = "float32",
    skip_damaged: bool = False,
) -> None:
    """Write the vectors of images, however many; a command that was killed continues when it is run again.

    Vectors so far lie in a folder beside the output, `OUTPUT.parts`, which is removed at the end. Memory does not grow with
    the number of images, but for their table.

    Args:
        checkpoint: A checkpoint file written by a run, or the folder of a saved model.
        images: An image, a folder, or a table with a column `path`, whose other columns a Parquet file carries.
        output: A `.npz` file, which other commands read, or a `.parquet` file.
        overrides: Hydra overrides of the checkpoint's config.
        trust: Packages of your own that the checkpoint's config may name; their code is run.
        processes: Processes that share the work, each with its share of the threads, or a GPU of its own.
        part: "K/N" does the K-th of N parts, for several machines with one file system; who ends last joins them.
            "auto" takes K and N from the SLURM array, torchrun or srun that has started this process.
        dtype: "float32" or "float16".
        skip_damaged: Whether images that cannot be read are left out and named, instead of ending the command.

    Raises:
        InputError: There are no images, one cannot be read, the output cannot be written, or there are vectors of another
            unfinished command.
    """
    require_choice("--dtype", dtype, DTYPES)
    require_option("--processes", processes >= 1, "be 1 or more", processes)
    this, of = (1, 1) if part is None else part_of(part)
    quiet()
    require_output(output, tuple(WRITERS))
    table = list_images(images, all_columns=True)
    if output.suffix.lower() == ".parquet":
        to_arrow(table, output)  # names what it cannot hold before any work
    elif "camera_id" in table.columns:
        table["camera_id"] = identifiers(table, "camera_id", str(images))
    parts = Parts(output, len(table))
    if part is not None and output.exists() and not parts.folder.is_dir():
        raise InputError(f"{output} is there already, with all parts; remove it to embed the images again.")
    place = local_path(checkpoint)
    model = load(place, _own_gpu() if part == "auto" else None, trust, overrides)
    own = f"part {this} of {of} of {output}" if part else f"{output}"
    with parts.at_work(this, of, own):
        parts.begin(_work(model, table, dtype))
        parts.remove_leftovers()
        todo = parts.todo(this, of)
        files = table["path"].tolist()
        shares = [
            Share(
                parts,
                [(chunk, files[parts.rows(chunk)]) for chunk in todo[k::processes]],
                dtype,
                skip_damaged,
            )
            for k in range(min(processes, len(todo)))
        ]
        if len(shares) > 1:
            counts = work_in_processes(str(place), list(overrides), list(trust), model.device, shares)
        else:
            counts = (count for share in shares for count in work(model, share))
        images_todo = sum(len(paths) for share in shares for _, paths in share.chunks)
        _say_progress(counts, images_todo, len(table) - images_todo if part is None else 0)
        if missing := len(parts) - len(parts.done()):
            say(
                f"{own} is done; the others have {missing} of {len(parts)} pieces to do, and the last one joins them"
            )
            return
        _join(parts, output, table, model, dtype, skip_damaged)


def _own_gpu() -> str | None:
    """Return a GPU for each of the processes of a machine in turn; None where there is one at most."""
    count = torch.cuda.device_count()
    return f"cuda:{local_rank() % count}" if count > 1 else None


def _work(model: Model, table: pd.DataFrame, dtype: str) -> dict[str, Any]:
    return {**_facts(model), "batch_size": model.batch_size, "dtype": dtype, "images": digest_of(table)}


def _facts(model: Model) -> dict[str, Any]:
    """Return what is to be known of vectors: those that agree in all of it may be compared."""
    return {
        "model": model.fingerprint,
        "vectors": model.preprocessing.line(model.protocol.describe().split(";")[0]),
        "distance": model.protocol.distance,
    }


def _say_progress(counts: Iterator[int], todo: int, before: int) -> None:
    """Say from time to time how far it is."""
    if before:
        say(f"continuing after {before:,} images", "dim")
    start = said = time.monotonic()
    done = 0
    for count in counts:
        done += count
        now = time.monotonic()
        if now - said >= QUIET and done < todo:
            said, rate = now, done / (now - start)
            left = (todo - done) / rate
            say(
                f"{before + done:,} of {before + todo:,} images ({rate:,.0f} a second, {_time(left)} left)",
                "dim",
            )


def _time(seconds: float) -> str:
    """Return a time in words.

    Examples:
        >>> _time(50), _time(500), _time(50_000)
        ('1 min', '8 min', '13.9 h')
    """
    return f"{max(1, round(seconds / 60))} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _join(
    parts: Parts, output: Path, table: pd.DataFrame, model: Model, dtype: str, skip_damaged: bool
) -> None:
    """Write the output from all parts and remove them."""
    with parts.joining() as mine:
        if not mine:
            return
        damaged = parts.damaged()
        if damaged and not skip_damaged:
            raise InputError(
                f"{next(iter(damaged.values())).rstrip('.')}; {len(damaged):,} images were left out before: repeat the "
                f"command with --skip-damaged, or remove {parts.folder} to start again."
            )
        if len(damaged) == len(table):
            parts.remove()
            raise InputError(f"None of {len(table):,} images can be read: {damaged[0]}")
        kept = table.drop(index=list(damaged)).reset_index(drop=True)
        chunks = (vectors for _, vectors in parts.vectors(damaged, model.vector_size, dtype))
        facts = {**_facts(model), "version": __version__}
        WRITERS[output.suffix.lower()](output, kept, chunks, model.vector_size, dtype, facts)
        _name(damaged, table, output)
        parts.remove()
    say(f"{output}: vectors of {len(kept):,} images")


def _name(damaged: dict[int, str], table: pd.DataFrame, output: Path) -> None:
    """Name images that were left out: all of them in a file, the first ones on the terminal."""
    listed = output.with_name(f"{output.name}.damaged.csv")
    if not damaged:
        listed.unlink(missing_ok=True)  # of an earlier output of this name
        return
    rows = sorted(damaged)
    write_csv(
        pd.DataFrame({"path": table["path"].iloc[rows].tolist(), "reason": [damaged[row] for row in rows]}),
        listed,
    )
    for row in rows[:NAMED]:
        say(f"left out: {damaged[row]}")
    say(f"{listed}: {len(damaged):,} images that were left out")
