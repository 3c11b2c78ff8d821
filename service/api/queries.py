"""Query execution: on the event loop if cheap, else in a few threads with a bounded queue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import TypeVar, TypeVarTuple

from service.errors import OverloadedError
from service.observe.metrics import Metrics

#: A query estimated to block the event loop for longer than this many microseconds goes to a thread.
INLINE_MICROSECONDS = 1000
#: The number of long queries that may wait per thread.
WAITING_PER_THREAD = 16

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class Queries:
    """Runs the queries of one app in at most ``threads`` threads; at most ``waiting_limit`` wait for a thread."""

    def __init__(self, threads: int, metrics: Metrics, waiting_limit: int | None = None) -> None:
        waiting = WAITING_PER_THREAD * threads if waiting_limit is None else waiting_limit
        self._limit = threads + waiting
        self._metrics = metrics
        self._admitted = 0
        self._free_threads = asyncio.Semaphore(threads)
        self._beginning = asyncio.Semaphore(threads)
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="query")
        metrics.queries.set_function(lambda: self._admitted)

    async def run(self, estimate_us: float, function: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        """Return ``function(*arguments)``. Raises OverloadedError if too many are already waiting.

        If the client disconnects, a waiting query leaves the queue at once, with all that it references; a running one
        keeps its thread until it ends.
        """
        if estimate_us <= INLINE_MICROSECONDS:
            return function(*arguments)
        self._refuse_if_full()
        return await self._admit(function, *arguments)

    async def run_in_turns(self, estimate_us: float, turns: Iterator[Result | None]) -> Result:
        """Return the first that ``turns`` yields other than None. Raises OverloadedError before the first turn alone.

        After each turn, the queries that wait for a thread have theirs; where the client went away there is no other.
        """
        if estimate_us <= INLINE_MICROSECONDS:
            return next(result for result in turns if result is not None)
        self._refuse_if_full()
        async with self._begun():
            while (result := await self._admit(next, turns)) is None:
                pass
            return result

    @asynccontextmanager
    async def _begun(self) -> AsyncIterator[None]:
        """Wait while as many as there are threads have begun: what each has found so far takes memory."""
        self._admitted += 1
        try:
            await self._beginning.acquire()
        except asyncio.CancelledError:
            self._metrics.queries_abandoned.inc()
            raise
        finally:
            self._admitted -= 1
        try:
            yield
        finally:
            self._beginning.release()

    def _refuse_if_full(self) -> None:
        if self._admitted >= self._limit:
            raise OverloadedError("Too many long queries are already waiting; try again in a second, or ask for less.")

    async def _admit(self, function: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        self._admitted += 1
        try:
            return await self._in_thread(function, *arguments)
        except asyncio.CancelledError:
            self._metrics.queries_abandoned.inc()
            raise

    async def _in_thread(self, function: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        # The executor's own queue would keep cancelled queries, so nothing is submitted before a thread is free.
        try:
            await self._free_threads.acquire()
        except asyncio.CancelledError:
            self._admitted -= 1
            raise
        loop = asyncio.get_running_loop()
        running = self._executor.submit(function, *arguments)
        running.add_done_callback(lambda _: self._leave_from_thread(loop))
        return await asyncio.wrap_future(running)

    def _leave_from_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        with suppress(RuntimeError):  # the server has stopped meanwhile
            loop.call_soon_threadsafe(self._leave)

    def _leave(self) -> None:
        self._admitted -= 1
        self._free_threads.release()

    def close(self) -> None:
        """Drop the waiting queries; running ones finish."""
        self._executor.shutdown(wait=False, cancel_futures=True)
