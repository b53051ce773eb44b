"""Keeps freed memory in the process: fresh pages are the costliest thing a network asks of a Linux kernel.

A training step of the embedded network took 2 to 3 times as long in a virtual machine when glibc returned every large
buffer to the system and asked for it again, an image encoder of SAM 2 up to half longer. Programs call this (the
command line, Slicer's worker, training, the benchmarks); a library does not decide it for the process it is loaded
into.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


_keeps = False


def keep_freed_memory() -> bool:
    """Tells glibc to serve large buffers from the heap and to keep them; no effect on other systems.

    Returns:
        True where it took effect. Call it before large arrays are made.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    global _keeps
    limit = 2**31 - 1
    _keeps = (
        bool(mallopt(_M_MMAP_MAX, 0))
        and bool(mallopt(_M_TRIM_THRESHOLD, limit))
        and bool(mallopt(_M_TOP_PAD, 64 << 20))
    )
    return _keeps


def return_freed_memory() -> None:
    """Gives back to the system what was kept so far; no effect in a process that keeps nothing.

    Results that stay make what is kept between them useless for larger buffers, so a long job grows unless it does
    this now and then (10 ms, and some fresh pages afterwards).
    """
    if _keeps:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
