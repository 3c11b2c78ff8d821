"""Query execution: on the event loop if cheap, else in a few threads, for which two lanes of queries wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from threading import Lock
from time import monotonic
from typing import Any, TypeVar, TypeVarTuple

from service.api.lanes import Lane, Query
from service.observe.metrics import Metrics

#: A query estimated to block the event loop for longer than this many microseconds goes to a thread.
INLINE_MICROSECONDS = 1000
#: How long a query in turns may wait, as a multiple of others.
PATIENCE_IN_TURNS = 50
#: After so many seconds of single queries, those in turns have one turn, of some 5 ms: a fifth of the threads.
_SINGLE_SECONDS = 0.02

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class Queries:
    """Runs the queries of one app; those that would block the event loop, in at most ``threads`` threads.

    Single queries and queries in turns wait in separate lanes. The former go first, but leave a part of the threads to
    the latter. A query that is likely to wait for longer than ``queue_ms`` milliseconds (in turns:
    ``PATIENCE_IN_TURNS`` times as long) is refused at once; one that does wait so long is refused then.
    """

    def __init__(self, threads: int, queue_ms: float, metrics: Metrics) -> None:
        self._threads = threads
        self._metrics = metrics
        self._lock = Lock()
        self._single = Lane("single", threads, queue_ms / 1000, metrics)
        self._in_turns = Lane("batch", threads, PATIENCE_IN_TURNS * queue_ms / 1000, metrics)
        self._working = 0
        self._single_seconds = 0.0
        self._executor = ThreadPoolExecutor(threads, "query")
        metrics.queries.set_function(lambda: len(self._single) + len(self._in_turns))

    async def run(self, estimate_us: float, function: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        """Return ``function(*arguments)``. Raises OverloadedError if it waits, or is likely to wait, for too long.

        If the client disconnects, a waiting query leaves the queue at once, with all that it references; a running one
        keeps its thread until it ends.
        """
        if estimate_us <= INLINE_MICROSECONDS:
            return function(*arguments)
        result: Result = await self._answer(self._single, estimate_us, partial(function, *arguments))
        return result

    async def run_in_turns(self, estimate_us: float, turns: Iterator[Result | None]) -> Result:
        """Return the first that ``turns`` yields other than None. Raises OverloadedError before the first turn alone.

        After each turn, single queries have theirs; where the client went away there is no other.
        """
        if estimate_us <= INLINE_MICROSECONDS:
            return next(result for result in turns if result is not None)
        result: Result = await self._answer(self._in_turns, estimate_us, partial(next, turns), in_turns=True)
        return result

    async def _answer(
        self, lane: Lane, estimate_us: float, turn: Callable[[], object], *, in_turns: bool = False
    ) -> Any:
        loop = asyncio.get_running_loop()
        query = Query(estimate_us / 1e6, turn, in_turns, loop.create_future())
        self._admit(lane, query)
        deadline = loop.call_later(lane.patience, self._expire, lane, query)
        try:
            return await query.answer
        except asyncio.CancelledError:
            self._metrics.queries_abandoned.inc()
            with self._lock:
                lane.leave(query)
            raise
        finally:
            deadline.cancel()

    def _admit(self, lane: Lane, query: Query) -> None:
        """Have a query wait, and a thread look for it if one is free. Raises OverloadedError."""
        with self._lock:
            lane.admit(query, monotonic())
            if self._working == self._threads:
                return
            self._working += 1
        self._executor.submit(self._work)

    def _expire(self, lane: Lane, query: Query) -> None:
        """Refuse a query that has waited for too long."""
        with self._lock:
            late = not query.begun and lane.leave(query)
        if late:
            _settle(query.answer, None, lane.refuse())

    def _work(self) -> None:
        """Have one query after another take its turn, in a thread, until none waits.

        A thread takes the next one by itself: it would idle while the event loop is busy with refusals.
        """
        while lane := self._next_lane():
            self._take_turn(*lane)

    def _next_lane(self) -> tuple[Lane, Query] | None:
        with self._lock:
            lane = self._choose()
            if lane is None:
                self._working -= 1
                return None
            return lane, lane.begin(monotonic())

    def _choose(self) -> Lane | None:
        """Return the lane whose turn it is, None if nothing waits."""
        owed = self._single_seconds >= _SINGLE_SECONDS
        if self._in_turns.waiting and (owed or not self._single.waiting):
            self._single_seconds = 0.0
            return self._in_turns
        return self._single if self._single.waiting else None

    def _take_turn(self, lane: Lane, query: Query) -> None:
        started, answer = monotonic(), query.answer
        result, error = _outcome(query.turn)
        seconds = monotonic() - started
        with self._lock:
            more = query.in_turns and result is None and error is None and not answer.cancelled()
            lane.end(query, seconds, more=more)
            self._single_seconds += 0.0 if query.in_turns else seconds
        if not more:
            with suppress(RuntimeError):  # the server has stopped meanwhile
                answer.get_loop().call_soon_threadsafe(_settle, answer, result, error)

    def close(self) -> None:
        """Drop the waiting queries; running ones finish."""
        with self._lock:
            self._single.waiting.clear()
            self._in_turns.waiting.clear()
        self._executor.shutdown(wait=False)


def _outcome(turn: Callable[[], object]) -> tuple[object, BaseException | None]:
    try:
        return turn(), None
    except BaseException as error:  # raised again where the answer is awaited
        return None, error


def _settle(answer: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(result)
    else:
        answer.set_exception(error)
