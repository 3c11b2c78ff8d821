"""The best rows of a long score vector that is computed in blocks, and no further than it has to be."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from service.model.factors import Float32, Int32, Int64

#: Scores of the rows start…stop-1, float32, in an array of its own.
Score: TypeAlias = Callable[[int, int], Float32]
#: What no score from this row on can exceed, rounding included; never rises with the row.
Bound: TypeAlias = Callable[[int], float]

FIRST_BLOCK = 2048
GROWTH = 4
LARGEST_BLOCK = 65536
SAMPLE = 256

NO_ROWS: Int32 = np.empty(0, np.int32)
NO_SCORES: Float32 = np.empty(0, np.float32)
_NO_INT64: Int64 = np.empty(0, np.int64)
_LOWEST = np.float32(np.finfo(np.float32).min)
_STRUCK = np.float32(-np.inf)


@dataclass(frozen=True, slots=True)
class Ranked:
    """Rows by descending score; equal scores by ascending row. Only real rows, so there may be few or none.

    rows: int32 [found]; scores: float32 [found], finite; scanned: how many rows had their score computed.
    """

    rows: Int32
    scores: Float32
    scanned: int


def rank(score: Score, bound: Bound, count: int, n: int, *, offset: int = 0, without: Int32 = NO_ROWS) -> Ranked:
    """Return the ``n`` best of rows 0…count-1 after the ``offset`` best, exactly as a full sort would.

    A row whose score is -inf is left out, as are those in ``without`` (ascending, no repeats). Blocks grow, so
    that where the bound never ends the scan, a block's fixed cost is soon small beside its work.
    """
    best = _Best(n + offset)
    start, size = 0, max(FIRST_BLOCK, 4 * best.wanted)
    while start < count and bound(start) > best.floor:
        stop = _reachable(bound, best.floor, start, min(start + size, count))
        scores = score(start, stop)
        _strike(scores, without, start, stop)
        best.add(scores, start)
        start, size = stop, max(size, min(size * GROWTH, LARGEST_BLOCK))
    return best.ranked(offset, scanned=start)


def _strike(scores: Float32, without: Int32, start: int, stop: int) -> None:
    """Take the rows that are to be left out of the running."""
    low = bisect_left(without, start)
    struck = without[low : bisect_left(without, stop, low)]
    if len(struck):
        scores[struck - start] = _STRUCK


def _reachable(bound: Bound, floor: float, start: int, stop: int) -> int:
    """Return the first row after ``start`` that cannot beat ``floor``, or ``stop``.

    A score that equals ``floor`` does not beat it: the earlier row stands first.
    """
    if bound(stop - 1) > floor:
        return stop
    return bisect_left(range(stop), True, start + 1, key=lambda row: bound(row) <= floor)


class _Best:
    """A superset of the ``wanted`` best rows so far, in row order, so that one stable sort at the end ranks them."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        #: The lowest score among the ``wanted`` best; -inf while there are fewer.
        self.floor = -np.inf
        self._rows: Int64 = _NO_INT64
        self._scores: Float32 = NO_SCORES

    def add(self, scores: Float32, start: int) -> None:
        """Take in the scores of the rows from ``start`` on, which follow all that were taken in before."""
        if len(self._rows) < self.wanted:
            found = (scores >= self._opening_floor(scores)).nonzero()[0]
        else:
            found = (scores > self.floor).nonzero()[0]
        if len(found):
            self._rows = np.concatenate((self._rows, found + start)) if start else found
            self._scores = np.concatenate((self._scores, scores[found])) if start else scores[found]
            self._raise_floor()

    def ranked(self, offset: int, scanned: int) -> Ranked:
        """Sort what is left, and skip the first ``offset``."""
        order = (-self._scores).argsort(kind="stable")[offset : self.wanted]
        return Ranked(self._rows[order].astype(np.int32), self._scores[order], scanned)

    def _opening_floor(self, scores: Float32) -> np.float32:
        """Return a score that ``wanted`` rows of the block reach: that many of its first rows do."""
        sample = scores[: max(SAMPLE, 2 * self.wanted)]
        return max(_LOWEST, _nth_largest(sample, self.wanted)) if self.wanted <= len(sample) else _LOWEST

    def _raise_floor(self) -> None:
        if len(self._scores) < self.wanted:
            return
        lowest = _nth_largest(self._scores, self.wanted)
        self.floor = float(lowest)
        if len(self._scores) > 2 * self.wanted:
            kept = (self._scores >= lowest).nonzero()[0]
            self._rows, self._scores = self._rows[kept], self._scores[kept]


def _nth_largest(scores: Float32, n: int) -> np.float32:
    place = len(scores) - n
    ordered = scores.copy()
    ordered.partition(place)
    lowest: np.float32 = ordered[place]
    return lowest
