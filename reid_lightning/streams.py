"""The streams of a command: what an encoding lacks is replaced, and a reader who has gone away ends it in silence."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_GONE = 128 + 13  # the exit status of a program that SIGPIPE ends


@contextmanager
def own_streams() -> Iterator[None]:
    """Write to standard output and error whatever their encoding, as long as somebody reads.

    Raises:
        SystemExit: The reader of standard output has gone away, as `| head` does, or standard output cannot take more,
            which is said.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace" if stream is sys.stderr else "replace")
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except OSError as error:
        if not _output_fails():
            raise  # another pipe, or the disk of another file
        _silence()
        if isinstance(error, BrokenPipeError):
            raise SystemExit(_GONE) from None
        print(f"error: standard output cannot be written: {error.strerror}", file=sys.stderr)
        raise SystemExit(1) from None


def _output_fails() -> bool:
    """Tell whether standard output is what cannot be written: what it could not write is in its buffer still."""
    try:
        sys.stdout.write("\n")
        sys.stdout.flush()
    except OSError:
        return True
    return False


def _silence() -> None:
    """Let what is left in the buffer of standard output go nowhere, instead of failing again at the interpreter's end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def require_current_folder() -> None:
    """Refuse to work in a folder that has been removed.

    Raises:
        SystemExit: The current folder is not there.
    """
    try:
        os.getcwd()
    except OSError:
        print("error: the current folder has been removed: cd to another one", file=sys.stderr)
        raise SystemExit(2) from None
