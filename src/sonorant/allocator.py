"""How glibc's allocator treats the memory of tensors that are gone."""

import ctypes
import os

_TRIM, _PAD, _MAP = -1, -2, -3  # mallopt's numbers for them, in malloc.h
KEPT = 64 << 20
_SETTINGS = {
    "MALLOC_TRIM_THRESHOLD_": (_TRIM, (1 << 31) - 1),
    "MALLOC_TOP_PAD_": (_PAD, KEPT),
    "MALLOC_MMAP_THRESHOLD_": (_MAP, KEPT),
}


def keep_memory() -> None:
    """From now on blocks below 64 MB are kept when they are freed, here and in processes started from here.

    Left to itself glibc gives blocks back to the system from some size between 128 kB and 32 MB on; the next
    one of that size costs a fault a page. Nothing is changed without glibc, nor where the environment already
    says how to allocate.
    """
    if any(os.environ.get(name) for name in ("GLIBC_TUNABLES", "LD_PRELOAD", *_SETTINGS)):
        return  # by the process that started this one, or by somebody who knows better
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for name, (number, value) in _SETTINGS.items():
        mallopt(number, value)
        os.environ[name] = str(value)


def keeps_memory() -> bool:
    """Whether `keep_memory` did so here."""
    return all(os.environ.get(name) == str(value) for name, (_, value) in _SETTINGS.items())
