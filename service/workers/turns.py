"""Whose turn it is to accept a connection: that of a worker that has no more of them than any other.

All workers wake when a client connects, and the first to wake would take it: mostly the same few. Connections are kept
for long, so those few would have most of the work.
"""

from __future__ import annotations

import math
import mmap
import os

_BYTES = mmap.PAGESIZE
#: How many workers there can be: one number each.
MOST = _BYTES // 8


class Turns:
    """How many connections each worker has, in memory that all share; for one that is gone or yet to come, infinite."""

    def __init__(self, descriptor: int) -> None:
        self._connections = memoryview(mmap.mmap(descriptor, _BYTES)).cast("d")

    def clear(self, place: int) -> None:
        """Expect nothing of the worker at this place until it counts."""
        self._connections[place] = math.inf

    def is_mine(self, place: int, connections: int) -> bool:
        """Note how many connections the worker at this place has, and say whether none has fewer."""
        self._connections[place] = connections
        return connections <= min(self._connections)


def make_turns() -> int:
    """Make the memory and return its descriptor. Raises OSError."""
    descriptor = os.memfd_create("als-serve turns")
    os.ftruncate(descriptor, _BYTES)
    turns = Turns(descriptor)
    for place in range(MOST):
        turns.clear(place)
    return descriptor
