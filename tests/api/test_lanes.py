"""One lane, with the time given: what it admits, and in which order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

from service.api.lanes import MOST_WAITING, Lane, Query
from service.errors import OverloadedError
from service.observe.metrics import Metrics

PATIENCE = 1.0


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Return a loop for the answers that nobody waits for here."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


class Simulated:
    """A lane whose threads take as long as they should, on a clock that only :meth:`pass_time` moves."""

    def __init__(self, loop: asyncio.AbstractEventLoop, threads: int = 1) -> None:
        self.now = 100.0
        self.lane = Lane("single", threads, PATIENCE, Metrics(CollectorRegistry()))
        self.threads = threads
        self._loop = loop

    def arrive(self, estimate: float, *, in_turns: bool = False) -> Query | None:
        """Return a new query, or None if it was refused."""
        query = Query(estimate, lambda: None, in_turns, self._loop.create_future())
        try:
            self.lane.admit(query, self.now)
        except OverloadedError:
            return None
        self.fill_threads()
        return query

    def fill_threads(self) -> None:
        """Begin what can begin."""
        while self.lane.waiting and len(self.lane.running) < self.threads:
            self.lane.begin(self.now)

    def pass_time(self, seconds: float, pace: float = 1.0) -> None:
        """Let seconds pass; each query takes its estimate times ``pace``."""
        end = self.now + seconds
        while ends := sorted((query.since or 0.0) + pace * query.estimate for query in self.lane.running):
            if ends[0] > end:
                break
            self.now = ends[0]
            done = min(self.lane.running, key=lambda query: (query.since or 0.0) + pace * query.estimate)
            self.lane.end(done, pace * done.estimate, more=False)
            self.fill_threads()
        self.now = end

    def admitted(self, count: int, estimate: float) -> int:
        """Have so many arrive at once; return how many are admitted."""
        return sum(self.arrive(estimate) is not None for _ in range(count))


@pytest.mark.parametrize("threads", [1, 3])
def test_a_burst_is_admitted_as_far_as_it_is_soon_begun(loop: asyncio.AbstractEventLoop, threads: int) -> None:
    """Of queries of 0.25 s each, a thread ends four in the second that one more may wait."""
    assert Simulated(loop, threads).admitted(100, 0.25) == 4 * threads + 1


def test_a_burst_of_short_queries_is_bounded_in_number(loop: asyncio.AbstractEventLoop) -> None:
    """Each waiting query holds the body of its request."""
    assert Simulated(loop).admitted(1000, 0.001) == MOST_WAITING + 1


def test_one_query_is_admitted_however_long_it_takes(loop: asyncio.AbstractEventLoop) -> None:
    """While it runs, the next one is refused at once, until it would wait no longer than it may."""
    lane = Simulated(loop)
    assert lane.arrive(10.0)
    assert not lane.arrive(0.1)
    lane.pass_time(8.9)
    assert not lane.arrive(0.1)
    lane.pass_time(0.2)
    assert lane.arrive(0.1)


def test_a_free_thread_takes_the_next_query(loop: asyncio.AbstractEventLoop) -> None:
    """However long another thread is busy still."""
    lane = Simulated(loop, threads=2)
    assert lane.arrive(100.0)
    assert lane.arrive(100.0)
    assert not lane.arrive(0.1)


@pytest.mark.parametrize(("threads", "queries"), [(1, 3), (2, 2)])
def test_in_lasting_overload_the_queue_is_short(loop: asyncio.AbstractEventLoop, threads: int, queries: int) -> None:
    """At three times the capacity the threads are always busy, and nobody waits for long."""
    lane = Simulated(loop, threads)
    admitted, waits = 0, list[float]()
    for number in range(3000):
        if query := lane.arrive(0.03):
            admitted += number >= 1000
            waits.append(lane.lane._expected_wait(lane.now) if number >= 1000 else 0.0)
            assert query.entered == lane.now
        lane.pass_time(0.01 / threads)
    assert admitted == pytest.approx(2000 * 0.01 / 0.03, rel=0.01)
    assert max(waits) <= queries * 0.03 + 1e-9


def test_a_little_more_than_a_thread_can_do_leaves_it_little_time_idle(loop: asyncio.AbstractEventLoop) -> None:
    """At random moments, for an eighth of it at most; with only one query waiting it would be a fifth."""
    lane, moments = Simulated(loop), random.Random(1)
    answered = 0
    for _ in range(20_000):
        answered += lane.arrive(0.02) is not None
        lane.pass_time(moments.expovariate(1.2 / 0.02))
    assert answered * 1.2 / 20_000 >= 0.875


def test_clients_who_wait_for_their_answers_are_not_refused_after_an_overload(loop: asyncio.AbstractEventLoop) -> None:
    """Three who ask again as soon as they are answered keep one thread busy; refused, they would ask still more."""
    lane = Simulated(loop)
    for _ in range(1000):
        lane.arrive(0.03)
        lane.pass_time(0.01)
    lane.pass_time(1.0)
    for _ in range(1000):
        missing = 3 - len(lane.lane)
        assert lane.admitted(missing, 0.03) == missing
        lane.pass_time(0.03)


def test_after_an_overload_bursts_are_admitted_again(loop: asyncio.AbstractEventLoop) -> None:
    """At half of the capacity, after as long as the queue may wait twice."""
    lane = Simulated(loop)
    for _ in range(100):
        lane.arrive(0.1)
        lane.pass_time(0.03)
    assert lane.admitted(10, 0.1) <= 1
    for _ in range(20):
        lane.pass_time(0.2)
        lane.arrive(0.1)
    lane.pass_time(0.2)
    assert lane.admitted(20, 0.1) == 11


def test_queries_that_take_twice_their_estimate_count_twice(loop: asyncio.AbstractEventLoop) -> None:
    """Estimates are made while nothing else runs; the lane learns from the last queries."""
    lane = Simulated(loop)
    for _ in range(50):
        lane.arrive(0.1)
        lane.pass_time(1.0, pace=2.0)
    assert lane.admitted(20, 0.1) == 6


def test_what_is_done_of_a_query_is_not_waited_for(loop: asyncio.AbstractEventLoop) -> None:
    """A query in turns leaves the thread free the sooner, the more turns it has had."""
    lane = Simulated(loop)
    query = lane.arrive(10.0, in_turns=True)
    assert query
    assert not lane.arrive(0.1)
    lane.lane.end(query, 9.5, more=True)
    assert lane.lane.begin(lane.now) is query
    lane.pass_time(0.1)
    assert lane.lane._expected_wait(lane.now) == pytest.approx(0.4)


def test_what_has_begun_goes_on_before_another_begins(loop: asyncio.AbstractEventLoop) -> None:
    """What each has found so far takes memory."""
    lane = Simulated(loop)
    first, second = lane.arrive(0.3, in_turns=True), lane.arrive(0.3, in_turns=True)
    assert first
    assert second
    lane.lane.end(first, 0.1, more=True)
    assert lane.lane.begin(lane.now) is first
    lane.lane.end(first, 0.1, more=False)
    assert lane.lane.begin(lane.now) is second
    assert not lane.lane.leave(second)
