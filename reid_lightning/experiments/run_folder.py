"""The folder of a run: one process at a time works in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reid_lightning.distributed.ddp_launcher import is_first_process
from reid_lightning.files import file_lock, remove_leftovers, require_writable

LOCK = ".lock"


@contextmanager
def alone_in(folder: Path, locked: bool = False) -> Iterator[None]:
    """Hold a run's folder; of the processes of one job the first holds it for all.

    What killed processes have left half written there is removed.

    Args:
        folder: The run's folder; it is made.
        locked: Whether the caller holds its lock already.

    Raises:
        InputError: Another run is active there, or the folder cannot be written to.
    """
    if not is_first_process():
        yield
    elif not locked:
        refusal = f"another run is active in {folder}: wait for its end, or choose another hydra.run.dir"
        require_writable(folder)
        with file_lock(folder / LOCK, refusing=refusal), alone_in(folder, locked=True):
            yield
    else:
        for part in (folder, folder / "checkpoints", folder / "refit" / "checkpoints"):
            if part.is_dir():
                remove_leftovers(part / "*")
        yield
