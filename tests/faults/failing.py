"""A callback that fails in one process of a run."""

import os
import signal

from lightning import Callback

from reid_lightning.errors import InputError


class Fail(Callback):
    """Fails at the third call of a hook.

    Args:
        hook: Such as `on_train_batch_start`.
        how: "kill", or "sentence" for a user's error.
        process: In which process.
    """

    def __init__(self, hook: str, how: str, process: int = 1) -> None:
        self.calls = 0

        def fail(trainer, *_, **__):
            self.calls += trainer.global_rank == process
            if self.calls < (3 if "batch" in hook else 1) or trainer.global_rank != process:
                return
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise InputError("data.root=/nowhere cannot be read by this process; mount it there too")

        setattr(self, hook, fail)
