"""How much of a mapped snapshot is in memory, as the kernel tells it."""

from __future__ import annotations

import ctypes
import mmap

import numpy as np

from service.model.snapshot import Snapshot, arrays_of

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)


def resident_bytes(snapshot: Snapshot) -> int:
    """Return the bytes of a snapshot's arrays whose pages are in memory; runs without the interpreter lock.

    These are the pages of the page cache, whoever had them read: the others have to come from the disk. The kernel says
    so to a process that owns the files or may write them; any other is told that all of them are in memory.
    """
    return sum(
        _resident(array.ctypes.data, array.nbytes) for array in arrays_of(snapshot.model).values() if array.nbytes
    )


def _resident(address: int, size: int) -> int:
    """Count the pages in memory among those of an array, at most its size. Raises OSError."""
    before = address % mmap.PAGESIZE
    pages = np.empty(-(-(before + size) // mmap.PAGESIZE), np.uint8)
    if _libc.mincore(address - before, before + size, pages.ctypes.data):
        raise OSError(ctypes.get_errno(), "mincore failed")  # pragma: no cover - an array's own memory is mapped
    return min(size, int(np.count_nonzero(pages & 1)) * mmap.PAGESIZE)
