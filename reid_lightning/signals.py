"""Signals that ask a process to end: SIGTERM (`kill`, Docker, SLURM), SIGINT (Ctrl+C), SIGUSR2 (SLURM's warning).

SIGUSR2 is what submitit asks SLURM to send before a job's time is over, so that it is the one signal of SLURM here. In a job
that submitit has started (`hydra/launcher=slurm`) submitit handles it and queues the job again. Lightning's own handlers,
which would requeue on SIGUSR1 and turn SIGTERM into exit status 0, are not used (`engine/callbacks/stop_at_signal.py`).
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR2: 143}
_UNHANDLED = (signal.SIG_DFL, signal.default_int_handler)
_received: list[int] = []  # in this process, the first one first
_process = 0  # that handles them; what it forks inherits the handlers


class Stopped(SystemExit):
    """A signal has asked this process to end; `code` is the exit status."""


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """End the block by `Stopped` at a signal, whatever else the signal causes on the way out.

    A signal that has a handler already (submitit's, an outer block's) keeps it. Nothing is handled outside the main
    thread. The first signal interrupts, further ones are ignored, except that a second Ctrl+C kills the process.

    Raises:
        Stopped: A signal came.
    """
    global _process
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in EXIT_STATUS}
        before = {number: handler for number, handler in before.items() if handler in _UNHANDLED}
    if before:
        _process = os.getpid()
        _received.clear()
    try:
        for number in before:
            signal.signal(number, _stop)
        yield
    except BaseException as error:
        if _received and not isinstance(error, Stopped):
            raise Stopped(EXIT_STATUS[signal.Signals(_received[0])]) from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def raise_if_stopped() -> None:
    """Raise `Stopped` again where a library has swallowed it, which may happen in a destructor or a callback from C."""
    if _received and os.getpid() == _process:
        raise Stopped(EXIT_STATUS[signal.Signals(_received[0])])


def _stop(number: int, frame: FrameType | None) -> None:
    if os.getpid() != _process:  # a worker process: it has nothing to finish
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return
    _received.append(number)
    if number == signal.SIGINT:
        signal.signal(number, signal.SIG_DFL)
    if len(_received) == 1:
        raise_if_stopped()
