"""Checkpoints are written atomically."""

import errno
import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from reid_lightning.files import atomic_path


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its target, waits until it is on the disk, and renames it.

    Until then the previous file stays. Lightning's own writer makes its temporary file in TMPDIR: on another file system
    the move is a copy, and a kill in it leaves a damaged file in place of the good one.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write a checkpoint.

        Args:
            checkpoint: State of module, loops, callbacks and optimizers.
            path: The file.
            storage_options: Of Lightning's interface; not used.

        Raises:
            InputError: The disk is full, or the folder cannot be written to; the previous file is as it was.
        """
        with atomic_path(Path(path)) as temporary, temporary.open("wb") as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from error  # torch closes its archive and fails a second time
                if "PytorchStreamWriter failed" in str(error):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
                raise

    def load_checkpoint(self, path: str | Path, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Read a checkpoint, whose list of checkpoints then names files beside it and no others.

        Where its folder has been moved, the paths follow. A path elsewhere is dropped, because Lightning deletes what the
        list names when a better checkpoint has been written.

        Args:
            path: The file, a string or a path.
            *arguments: Further ones of Lightning's interface, like `options`.
        """
        checkpoint = super().load_checkpoint(path, *arguments, **options)
        folder = os.path.realpath(Path(path).parent)
        for state in checkpoint.get("callbacks", {}).values():
            if "best_model_path" in state:
                _keep_beside(state, folder)
        return checkpoint


def _keep_beside(state: dict[str, Any], folder: str) -> None:
    """Let the paths in the state of a `ModelCheckpoint` name files in a folder, in place."""
    before = state.get("dirpath") or folder

    def beside(path: object) -> str:
        place, name = os.path.split(str(path))
        return os.path.join(folder, name) if place in (before, folder) and name not in ("", ".", "..") else ""

    for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
        state[name] = beside(state.get(name))
    kept = {beside(path): score for path, score in state.get("best_k_models", {}).items()}
    state["best_k_models"] = {path: score for path, score in kept.items() if path}
    state["dirpath"] = folder
