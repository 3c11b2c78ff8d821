"""The answers that were given last, so that equal requests are not computed again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from sys import getsizeof

import msgspec

from service.api.results import Answer
from service.model.rollout.arms import Arm
from service.observe.metrics import Metrics

#: About what an entry takes besides its body and the lists of its request: other parts, and the table's bookkeeping.
_ENTRY_BYTES = 500


class ResponseCache:
    """The last used answers of one arm's generation, by request, in at most ``limit`` bytes; 0 keeps none.

    A request is a function and its arguments, as parsed: equal ones have equal answers, however they were written. The
    first request to another generation drops all answers, so none is older than the model and the policy. Versions that
    requests have named have negative numbers; their answers are kept beside the others. All methods are for the event
    loop.
    """

    def __init__(self, limit: int, metrics: Metrics, arm: Arm = "served") -> None:
        self.bytes = 0
        self._limit = limit
        self._generation = 0
        self._hits = metrics.cache_hits.labels(arm)
        self._misses = metrics.cache_misses.labels(arm)
        self._entries: OrderedDict[Hashable, tuple[Answer, int]] = OrderedDict()
        metrics.cache_bytes.labels(arm).set_function(lambda: self.bytes)

    def get(self, generation: int, request: Hashable) -> Answer | None:
        """Return the answer that a generation, by its number, gave to an equal request; count whether there was one."""
        if generation > self._generation:
            self._generation, self.bytes = generation, 0
            self._entries.clear()
        if generation != self._generation:
            request = generation, request
        found = self._entries.get(request)
        if found is None:
            self._misses.inc()
            return None
        self._hits.inc()
        self._entries.move_to_end(request)
        return found[0]

    def put(self, generation: int, request: Hashable, answer: Answer) -> None:
        """Keep an answer, and drop those used longest ago that no longer fit."""
        size = len(answer.body) + _ENTRY_BYTES + (_bytes_of_options(request) if self._limit else 0)
        if generation < 0:
            request = generation, request
        elif generation != self._generation:
            return
        _, replaced = self._entries.pop(request, (answer, 0))
        self.bytes -= replaced
        if size > self._limit:
            return
        self._entries[request] = answer, size
        self.bytes += size
        while self.bytes > self._limit:
            _, (_, freed) = self._entries.popitem(last=False)
            self.bytes -= freed


def _bytes_of_options(request: Hashable) -> int:
    """Return what the texts and lists of ids take that a client sent."""
    options = request[-1] if isinstance(request, tuple) else None
    if not isinstance(options, msgspec.Struct):
        return 0
    given = [option for option in msgspec.structs.astuple(options) if isinstance(option, str | tuple) and option]
    ids = [each for option in given if isinstance(option, tuple) for each in option]
    return sum(map(getsizeof, given)) + sum(map(getsizeof, ids))
