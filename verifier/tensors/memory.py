"""What the C library does with the memory of arrays that are no longer used."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

LARGE = 1_500_000_000
"""Bytes of a process below which nothing is given back."""
GROWN = 1.2
"""By what factor a process must have grown since it last gave memory back to do so again."""

_after_last = [0]
"""What the process had when it last gave memory back."""


def keep_freed() -> None:
    """Let glibc's malloc keep large freed blocks instead of returning them to the system.

    Arrays of a few hundred kilobytes come and go thousands of times a second; mapping them anew
    each time costs more than computing with them (measured: a factor 2 on CROWN of small networks).
    """
    mallopt = getattr(_libc(), "mallopt", None)
    if mallopt is not None:
        m_trim_threshold, m_mmap_threshold, one_gigabyte = -1, -3, 1 << 30
        mallopt(m_mmap_threshold, one_gigabyte)
        mallopt(m_trim_threshold, one_gigabyte)


def give_back() -> None:
    """Return what was freed to the system, if the process has become large.

    What is kept lies between arrays that are still used, in pieces that the next, larger arrays do
    not fit into: without this, searches that let arrays grow take several times what they hold.
    """
    if resident() <= max(GROWN * _after_last[0], LARGE):
        return
    malloc_trim = getattr(_libc(), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
    _after_last[0] = resident()


def resident() -> int:
    """Bytes of memory that the process has; 0 where nobody says."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


@cache
def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if sys.platform.startswith("linux") else None
