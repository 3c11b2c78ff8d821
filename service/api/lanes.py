"""The lanes in which long queries wait for a thread, each with a budget of estimated work.

A lane takes a burst that it can work off in time. While more is asked of it than its threads can do, it keeps only a
few queries waiting: as many answers come from a short queue as from a long one, but sooner.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heapreplace
from typing import Any

from service.errors import OverloadedError
from service.observe.metrics import Metrics

#: The most queries that may wait for each thread, whatever they cost: each holds the body of its request.
MOST_WAITING = 32
#: The fewest that may wait in an overload. With one, a single thread is idle a tenth of the time at its capacity, and a
#: fifth of it a little above (simulated with requests at random moments; with two, a tenth there).
_FEWEST_WAITING = 2
#: How much an earlier query counts for the pace, next to the one after it.
_MEMORY = 0.9


@dataclass(eq=False, slots=True)
class Query:
    """A query in a lane: its estimate in seconds, and how it takes a turn, in a thread.

    in_turns: whether a turn that returns None is followed by another. left: the seconds that it is still likely to
    take; since: when its turn began, if it is in a thread; spent: the seconds of its turns so far.
    """

    estimate: float
    turn: Callable[[], Any]
    in_turns: bool
    answer: asyncio.Future[Any]
    entered: float = 0.0
    left: float = 0.0
    since: float | None = None
    spent: float = 0.0
    begun: bool = False

    def remaining(self, now: float) -> float:
        """Return the seconds until its thread is likely to be free."""
        return max(0.0, self.left - (now - self.since)) if self.since is not None else self.left


class Lane:
    """Queries of one kind; the caller of a method holds the lock of all lanes."""

    def __init__(self, name: str, threads: int, patience: float, metrics: Metrics) -> None:
        """``patience``: the seconds that a query may wait."""
        self.patience = patience
        self.waiting: deque[Query] = deque()
        self.running: set[Query] = set()
        self._threads = threads
        self._refused = metrics.queries_refused.labels(name)
        self._waits = metrics.query_wait_seconds.labels(name)
        # The seconds of work that was asked for, less what the threads could do since.
        self._asked, self._asked_at = 0.0, 0.0
        # Of the last queries: the seconds that they were estimated to take, and that they took.
        self._estimated = self._taken = 0.0

    def __len__(self) -> int:
        return len(self.waiting) + len(self.running)

    def admit(self, query: Query, now: float) -> None:
        """Have a query wait. Raises OverloadedError if it would wait for too long, or others because of it."""
        query.entered, query.left = now, query.estimate * self._pace()
        self._pass_time(now)
        full = self._is_full(now)
        self._asked = min(self._asked + query.left, 2 * self._budget)
        if full:
            raise self.refuse()
        self.waiting.append(query)

    def refuse(self) -> OverloadedError:
        """Count a refusal, and return it."""
        self._refused.inc()
        return OverloadedError("The server has more long queries than it can answer; try again in a second.")

    def begin(self, now: float) -> Query:
        """Return the query whose turn it is: one that has begun, else the one that has waited longest.

        So no more have begun than there are threads; what each has found so far takes memory.
        """
        query = self.waiting.popleft()
        if not query.begun:
            query.begun = True
            self._waits.observe(now - query.entered)
        query.since = now
        self.running.add(query)
        return query

    def end(self, query: Query, seconds: float, *, more: bool) -> None:
        """Note that a turn has ended after so many seconds, and whether there are more."""
        self.running.discard(query)
        query.since = None
        query.spent += seconds
        if more:
            query.left = max(0.0, query.left - seconds)
            self.waiting.appendleft(query)
        else:
            self._estimated = _MEMORY * self._estimated + query.estimate
            self._taken = _MEMORY * self._taken + query.spent

    def leave(self, query: Query) -> bool:
        """Remove a query; return whether it waited."""
        if query in self.waiting:
            self.waiting.remove(query)
            return True
        return False

    def _pace(self) -> float:
        """Return how long a query takes next to its estimate, which was made when nothing else ran."""
        return self._taken / self._estimated if self._estimated else 1.0

    def _pass_time(self, now: float) -> None:
        self._asked = max(0.0, self._asked - self._threads * (now - self._asked_at))
        self._asked_at = now

    @property
    def _budget(self) -> float:
        return self._threads * self.patience

    def _is_full(self, now: float) -> bool:
        overloaded = self._asked > self._budget
        most = max(self._threads, _FEWEST_WAITING) if overloaded else MOST_WAITING * self._threads
        return len(self.waiting) >= most or self._expected_wait(now) > self.patience

    def _expected_wait(self, now: float) -> float:
        """Return the seconds until a thread is likely to be free for one more, if other lanes are empty."""
        idle = self._threads - len(self.running)
        free_in = sorted([*(0.0 for _ in range(idle)), *(query.remaining(now) for query in self.running)])
        for query in self.waiting:
            heapreplace(free_in, free_in[0] + query.left)
        return free_in[0]
