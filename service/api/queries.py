"""Where a query runs: on the event loop where that is cheap, else in a few threads with a bounded queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

from service.errors import OverloadedError

#: A query estimated to hold the event loop for longer than this many microseconds goes to a thread.
INLINE_MICROSECONDS = 1000
#: How many long queries may wait for each thread.
WAITING_PER_THREAD = 16

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class Queries:
    """Runs the queries of one app, in at most ``threads`` threads; at most ``waiting_limit`` wait for one."""

    def __init__(self, threads: int, waiting_limit: int | None = None) -> None:
        waiting = WAITING_PER_THREAD * threads if waiting_limit is None else waiting_limit
        self._limit = threads + waiting
        self._admitted = 0
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="query")

    async def run(self, estimate_us: float, function: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        """Return ``function(*arguments)``. Raises OverloadedError where too many wait already.

        Cancelled, because the client went away, it gives its place in the queue back at once; a query that has
        begun runs to its end.
        """
        if estimate_us <= INLINE_MICROSECONDS:
            return function(*arguments)
        if self._admitted >= self._limit:
            raise OverloadedError("Too many long queries are waiting already; try again in a second, or ask for less.")
        self._admitted += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)
        finally:
            self._admitted -= 1

    def close(self) -> None:
        """Drop the queries that wait; those that run end by themselves."""
        self._executor.shutdown(wait=False, cancel_futures=True)
