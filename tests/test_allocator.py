"""Guards that freed memory is kept for reuse, and only where nobody else has decided on that."""

import ctypes
import os
import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from sonorant.allocator import keep_memory, keeps_memory
if {keep}:
    keep_memory()
assert keeps_memory() == {kept}
for turn in range(30):
    if turn == 20:  # blocks that are aligned need some turns until one of them fits into another's place
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = torch.ones(10 << 20)  # 40 MB
    del block
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*, keep, kept, **environment):
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS.format(keep=keep, kept=kept)],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="not glibc")
def test_freed_memory_is_used_again():
    pages = (10 << 20) * 4 // os.sysconf("SC_PAGE_SIZE")
    assert faults(keep=True, kept=True) < pages
    assert faults(keep=False, kept=False) > 5 * pages


def test_what_the_environment_says_stays():
    faults(keep=True, kept=False, MALLOC_TRIM_THRESHOLD_="1000000")
