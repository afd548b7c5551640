"""Keep freed memory in the process, so that a layer's time is not that of the system's pages."""

from __future__ import annotations

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h
LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tell glibc to keep what is freed for the next block; say whether it does, which is False without glibc.

    By default a freed block of some MB goes back to the system, and the next one faults in page by page: on some
    machines that costs more than the layer itself, and it is paid by whoever allocates next, not by who freed.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(M_MMAP_MAX, 0) and libc.mallopt(M_TRIM_THRESHOLD, LARGEST))
