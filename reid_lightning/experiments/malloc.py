"""Memory of a training on a CPU."""

import contextlib
import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's malloc.h


def keep_freed_memory() -> None:
    """Let the process keep the memory that it frees, for the next step to use.

    glibc gives large blocks back to the system as soon as they are free, and every step asks for the same blocks again:
    the system clears each of their pages again, which takes up to half of a step's time. Does nothing with another C
    library, and where a `MALLOC_...` variable of the environment says how memory is to be handled.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_TRIM_THRESHOLD, -1)  # never
        mallopt(M_MMAP_MAX, 0)  # no block comes from the system alone
