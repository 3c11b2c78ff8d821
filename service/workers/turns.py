"""Whose turn it is to accept a connection: the worker with the fewest connections goes first.

All workers wake up when a client connects, and the fastest would accept it: mostly the same few. Connections are kept
open for long, so those few would get most of the work.
"""

from __future__ import annotations

import math
import mmap
import os

_BYTES = mmap.PAGESIZE
#: The largest number of workers.
MOST = _BYTES // 8


class Turns:
    """The number of connections of each worker, in shared memory; infinite if there is no such worker."""

    def __init__(self, descriptor: int) -> None:
        self._connections = memoryview(mmap.mmap(descriptor, _BYTES)).cast("d")

    def clear(self, place: int) -> None:
        """Note that there is no worker at this place."""
        self._connections[place] = math.inf

    def is_mine(self, place: int, connections: int) -> bool:
        """Note the number of connections of the worker at this place; return whether no other has fewer."""
        self._connections[place] = connections
        return connections <= min(self._connections)


def make_turns() -> int:
    """Create the shared memory and return its descriptor. Raises OSError."""
    descriptor = os.memfd_create("als-serve turns")
    os.ftruncate(descriptor, _BYTES)
    turns = Turns(descriptor)
    for place in range(MOST):
        turns.clear(place)
    return descriptor
