"""A job ends at a signal at once, and not when Lightning would have it."""

import signal
from typing import Any

from lightning import Callback, LightningModule, Trainer

from reid_lightning.signals import raise_if_stopped


class StopAtSignal(Callback):
    """Keeps the handlers of signals that the process had before Lightning's trainer puts its own in their place.

    Lightning finishes the epoch at SIGTERM and ends with exit status 0; with several processes its handler joins in a
    collective operation, which hangs if the others are at another one. What can be continued is on the disk already: the
    checkpoint of the last whole epoch.
    """

    def __init__(self) -> None:
        self._handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}

    def _keep(self) -> None:
        try:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
        except ValueError:
            pass  # outside the main thread, where Lightning sets none

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the handlers back."""
        self._keep()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the handlers back."""
        self._keep()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """End here if a library has swallowed the end."""
        raise_if_stopped()

    def on_validation_batch_start(self, *_: Any) -> None:
        """End here if a library has swallowed the end."""
        raise_if_stopped()

    def on_test_batch_start(self, *_: Any) -> None:
        """End here if a library has swallowed the end."""
        raise_if_stopped()
