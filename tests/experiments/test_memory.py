"""Freed memory stays with the process: a block that is asked for again costs no new pages."""

import platform

import pytest
from helpers import environment, run_python

FAULTS = """
import resource
from reid_lightning.experiments.malloc import keep_freed_memory

{call}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

for _ in range(3):
    before = faults()
    blocks = [b"x" * (40_000_000 + i) for i in range(2)]
    del blocks
print(faults() - before)
"""


def faults(call="keep_freed_memory()", **variables):
    """Return how often a new page was needed for 80 MB that had been asked for and freed twice before."""
    where = environment("MALLOC_", **variables)
    return int(run_python("-c", FAULTS.format(call=call), where=where).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to keep memory")
def test_freed_memory_is_used_again():
    assert faults() < 100
    assert faults("") > 5000
    assert faults(MALLOC_TRIM_THRESHOLD_="131072", MALLOC_MMAP_THRESHOLD_="131072") > 5000
