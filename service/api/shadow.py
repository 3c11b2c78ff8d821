"""The shadow: the candidate also answers a share of the requests in the background, for comparison only."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import combinations
from queue import Full, Queue
from time import perf_counter
from typing import NamedTuple, TypeAlias

import msgspec

from service.api.results import Answer
from service.errors import AlsServeError
from service.live.generation import Generation
from service.model.factors import Id
from service.observe.logs import log_event
from service.observe.metrics import Metrics

#: How many requests may wait for the candidate; any more are not compared.
MOST_WAITING = 64
#: How many items of each list are compared.
TOP = 10
#: The thread's priority is lower than that of those that answer clients.
_NICE = 10

Answering: TypeAlias = Callable[[Generation], Answer]


class _Entry(msgspec.Struct):
    item_id: Id


class _List(msgspec.Struct):
    items: list[_Entry]


_list = msgspec.json.Decoder(_List)


class _Shadowed(NamedTuple):
    """A request: the candidate, how it answers, and what the served model has answered."""

    candidate: Generation
    answering: Answering
    served: bytes


class Shadow:
    """Compares the candidate's lists with the served ones, one at a time, in a thread that no client waits for."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._waiting: Queue[_Shadowed] = Queue(MOST_WAITING)
        self._thread: threading.Thread | None = None
        self._reported = ""

    def consider(self, generation: Generation, served: bytes, answering: Answering) -> None:
        """Have the candidate of a generation answer, too, if it is this request's turn; nothing waits for that."""
        candidate = generation.candidate
        if candidate is None or random.random() >= candidate.experiment.shadow:  # noqa: S311 - a sample, not a secret
            return
        if self._thread is None:
            # Not of an executor, whose threads the end of the process waits for.
            self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
            self._thread.start()
        try:
            self._waiting.put_nowait(_Shadowed(candidate.generation, answering, served))
        except Full:
            self._metrics.shadow_requests.labels("dropped").inc()

    def _work(self) -> None:
        with suppress(OSError):  # Linux sets it for this thread alone
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        while True:
            self._look(self._waiting.get())

    def _look(self, shadowed: _Shadowed) -> None:
        try:
            self._compare(shadowed)
        except Exception as error:  # whatever a bad model leads to: the next request is compared all the same
            self._metrics.shadow_requests.labels("failed").inc()
            if not isinstance(error, AlsServeError):  # an unknown user, for example, is not for the log
                self._report(shadowed.candidate.version, error)

    def _compare(self, shadowed: _Shadowed) -> None:
        started = perf_counter()
        answer = shadowed.answering(shadowed.candidate)
        seconds = perf_counter() - started
        served, found = _top(shadowed.served), _top(answer.body)
        if served or found:
            self._metrics.shadow_overlap.observe(overlap(served, found))
        if (correlation := rank_correlation(served, found)) is not None:
            self._metrics.shadow_correlation.observe(correlation)
        self._metrics.shadow_seconds.observe(seconds)
        self._metrics.shadow_requests.labels("compared").inc()

    def _report(self, version: str, error: Exception) -> None:
        """Log the first unexpected failure of each candidate."""
        if version != self._reported:
            self._reported = version
            log_event("shadow_failed", exc_info=True, model_version=version, detail=type(error).__name__)


def overlap(served: Sequence[Id], found: Sequence[Id]) -> float:
    """Return the share of items that two lists have in common, of the longer one."""
    return len({*served} & {*found}) / max(len(served), len(found))


def rank_correlation(served: Sequence[Id], found: Sequence[Id]) -> float | None:
    """Return the share of the pairs of common items that two lists have in the same order; None if there is no pair.

    This is (Kendall's tau + 1) / 2, because a histogram must not have numbers below 0.
    """
    ranks = {item: rank for rank, item in enumerate(found)}
    pairs = list(combinations([ranks[item] for item in served if item in ranks], 2))
    if not pairs:
        return None
    return sum(first < second for first, second in pairs) / len(pairs)


def _top(body: bytes) -> list[Id]:
    return [entry.item_id for entry in _list.decode(body).items[:TOP]]
