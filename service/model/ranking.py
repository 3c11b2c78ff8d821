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

    A row whose score is -inf is left out, as are those in ``without`` (ascending, no repeats).
    """
    best = _Best(n + offset)
    start, stop = 0, min(max(FIRST_BLOCK, 4 * best.wanted), count)
    while start < stop:
        scores = score(start, stop)
        _strike(scores, without, start, stop)
        best.add(scores, start)
        start, stop = stop, _next_stop(bound, best, start, stop, count)
    return best.ranked(offset, scanned=start)


def _next_stop(bound: Bound, best: _Best, start: int, stop: int, count: int) -> int:
    """Return where the block after start…stop-1 ends; at ``stop`` itself where no row beats the floor any more.

    A score that equals the floor does not beat it: the earlier row stands first. Blocks grow, so that their
    fixed cost is soon small beside their work, and at once where even the last row could beat the floor:
    then no end is in sight.
    """
    if stop == count:
        return count
    floor = best.raise_floor()
    if bound(stop) <= floor:
        return stop
    if bound(count - 1) > floor:
        return min(stop + LARGEST_BLOCK, count)
    end = min(stop + GROWTH * (stop - start), stop + LARGEST_BLOCK, count)
    return end if bound(end - 1) > floor else bisect_left(range(end), True, stop, key=lambda row: bound(row) <= floor)


def _strike(scores: Float32, without: Int32, start: int, stop: int) -> None:
    """Take the rows that are to be left out of the running."""
    low = bisect_left(without, start)
    struck = without[low : bisect_left(without, stop, low)]
    if len(struck):
        scores[struck - start] = _STRUCK


class _Best:
    """A superset of the ``wanted`` best rows so far, in row order, so that one stable sort at the end ranks them."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self._floor = -np.inf
        self._rows: Int64 = _NO_INT64
        self._scores: Float32 = NO_SCORES

    def add(self, scores: Float32, start: int) -> None:
        """Take in the scores of the rows from ``start`` on, which follow all that were taken in before."""
        if len(self._rows) < self.wanted:
            found = (scores >= self._opening_floor(scores)).nonzero()[0]
        else:
            found = (scores > self._floor).nonzero()[0]
        if start:
            self._rows = np.concatenate((self._rows, found + start))
            self._scores = np.concatenate((self._scores, scores[found]))
        else:
            self._rows, self._scores = found, scores[found]

    def raise_floor(self) -> float:
        """Return the lowest score among the ``wanted`` best so far, or -inf while there are fewer."""
        if len(self._scores) >= self.wanted:
            self._floor = float(_nth_largest(self._scores, self.wanted))
        return self._floor

    def _prune(self) -> None:
        """Let go of what is not among the best where it is much, as a partition costs less than a sort."""
        if len(self._scores) > 2 * self.wanted:
            kept = (self._scores >= self.raise_floor()).nonzero()[0]
            self._rows, self._scores = self._rows[kept], self._scores[kept]

    def ranked(self, offset: int, scanned: int) -> Ranked:
        """Sort what is left, and skip the first ``offset``."""
        self._prune()
        order = (-self._scores).argsort(kind="stable")[offset : self.wanted]
        return Ranked(self._rows[order].astype(np.int32), self._scores[order], scanned)

    def _opening_floor(self, scores: Float32) -> np.float32:
        """Return a score that ``wanted`` rows of the block reach: that many of its first rows do."""
        sample = scores[: max(SAMPLE, 2 * self.wanted)]
        return max(_LOWEST, _nth_largest(sample, self.wanted)) if self.wanted <= len(sample) else _LOWEST


def _nth_largest(scores: Float32, n: int) -> np.float32:
    place = len(scores) - n
    ordered = scores.copy()
    ordered.partition(place)
    lowest: np.float32 = ordered[place]
    return lowest
