"""Exact top-N of a long score vector, computed in blocks and only as far as necessary."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from typing import Any, TypeAlias, TypeGuard

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.model.factors import Float32, Int32, Int64

Rows: TypeAlias = NDArray[np.int32 | np.int64]
Mask: TypeAlias = NDArray[np.bool_]
#: Which rows may be in an answer: a mask, bool [rows], or the rows, ascending, no repeats.
Eligible: TypeAlias = Mask | NDArray[np.integer[Any]]
#: Scores of the rows start…stop-1, float32, in an array of its own.
Score: TypeAlias = Callable[[int, int], Float32]
#: An upper bound of all scores from this row on, rounding included; never increases with the row.
Bound: TypeAlias = Callable[[int], float]

FIRST_BLOCK = 1280
GROWTH = 6
LARGEST_BLOCK = 65536
SAMPLE = 256

NO_ROWS: Int32 = np.empty(0, np.int32)
NO_SCORES: Float32 = np.empty(0, np.float32)
_NO_INT64: Int64 = np.empty(0, np.int64)
_LOWEST: Float32 = np.array(np.finfo(np.float32).min)
_STRUCK = np.float32(-np.inf)


def is_mask(eligible: Eligible) -> TypeGuard[Mask]:
    """Say whether it is a mask, and no list of rows."""
    return eligible.dtype == np.bool_


def mask_of(eligible: Eligible, rows: int) -> Mask:
    """Return the eligible ones of so many rows as a mask. Raises IndexError if there is no such row."""
    if is_mask(eligible) and eligible.shape == (rows,):
        return eligible
    mask = np.zeros(rows, np.bool_)
    mask[eligible] = True
    return mask


def are_eligible(rows: Rows, eligible: Eligible) -> Mask:
    """Return which of these rows are eligible; of a list, a few are found sooner than its mask is made."""
    if is_mask(eligible) or not len(eligible):
        return eligible[rows] if is_mask(eligible) else np.zeros(len(rows), np.bool_)
    found: Mask = eligible[eligible.searchsorted(rows).clip(max=len(eligible) - 1)] == rows
    return found


class Ranked(msgspec.Struct, frozen=True):
    """Rows by descending score; equal scores by ascending row. There may be fewer than wanted, or none.

    rows: int32 or int64 [found]; scores: float32 [found], finite; scanned: how many rows had their score, or a bound of
    it, computed; read: how many bytes of factors that took, 0 where nobody counts them.
    """

    rows: Rows
    scores: Float32
    scanned: int
    read: int = 0

    def after(self, offset: int) -> Ranked:
        """Return what comes after the ``offset`` first."""
        return Ranked(self.rows[offset:], self.scores[offset:], self.scanned, self.read) if offset else self


def rank(score: Score, bound: Bound, count: int, n: int, *, without: Int32 = NO_ROWS, margin: float = 0.0) -> Ranked:
    """Return the ``n`` best of rows 0…count-1, exactly as a full sort would; and all that are ``margin`` or less below.

    A row whose score is -inf is left out, as are those in ``without`` (ascending, no repeats).
    """
    best = _Best(n, margin)
    start, stop = 0, min(max(FIRST_BLOCK, 4 * best.wanted), count)
    while start < stop:
        scores = score(start, stop)
        _strike(scores, without, start, stop)
        best.add(scores, start)
        start, stop = stop, _next_stop(bound, best.floor, start, stop, count)
    return Ranked(best.rows, best.scores, scanned=start)


def _next_stop(bound: Bound, floor: float, start: int, stop: int, count: int) -> int:
    """Return the end of the block after start…stop-1, or ``stop`` if no later row can beat the floor.

    A score that equals the floor does not beat it, because the earlier row comes first. Blocks grow, so that their
    fixed cost becomes relatively small, and they grow at once if even the last row could beat the floor.
    """
    if stop == count:
        return count
    if bound(stop) <= floor:
        return stop
    if bound(count - 1) > floor:
        return min(stop + LARGEST_BLOCK, count)
    end = min(stop + GROWTH * (stop - start), stop + LARGEST_BLOCK, count)
    return end if bound(end - 1) > floor else bisect_left(range(end), True, stop, key=lambda row: bound(row) <= floor)


def _strike(scores: Float32, without: Int32, start: int, stop: int) -> None:
    """Exclude the rows that are to be left out."""
    low = bisect_left(without, start) if start else 0
    high = bisect_left(without, stop, low)
    if low < high:
        scores.put(without[low:high] - start if start else without[:high], _STRUCK)


class _Best:
    """The ``wanted`` best rows so far, and those within the margin, best first, equal scores by row.

    ``floor`` is what a later one has to beat.
    """

    def __init__(self, wanted: int, margin: float) -> None:
        self.wanted = wanted
        self.margin = margin
        self.floor = -math.inf
        self.rows: Int64 = _NO_INT64
        self.scores: Float32 = NO_SCORES

    def add(self, scores: Float32, start: int) -> None:
        """Add the scores of the rows from ``start`` on, which follow all rows added before."""
        if self.floor > -math.inf:
            found = (scores > self.floor).nonzero()[0]
        else:
            found = (scores >= self._opening_floor(scores)).nonzero()[0]
        if not start:
            self._keep_best(found, scores[found])
        elif len(found):
            rows = np.concatenate((self.rows, found + start))
            self._keep_best(rows, np.concatenate((self.scores, scores[found])))

    def _keep_best(self, rows: Int64, scores: Float32) -> None:
        """Sort once, stably: earlier rows are already in order, and come before later rows of equal score."""
        if len(scores) > SAMPLE + 2 * self.wanted:  # then partitioning first is cheaper
            kept = (scores >= _nth_largest(scores, self.wanted) - self.margin).nonzero()[0]
            rows, scores = rows[kept], scores[kept]
        order = (-scores).argsort(kind="stable")
        if len(order) >= self.wanted:
            self.floor = scores.item(order.item(self.wanted - 1)) - self.margin
            order = order[: self._end(scores[order])]
        self.rows, self.scores = rows[order], scores[order]

    def _end(self, ordered: Float32) -> int:
        """Return how many of the ordered scores stay."""
        return int(np.count_nonzero(ordered > self.floor)) if self.margin else self.wanted

    def _opening_floor(self, scores: Float32) -> Float32:
        """Return a score that at least ``wanted`` rows of the block reach, less the margin, taken from its first rows.

        It is an array without dimensions, which NumPy compares with sooner than with a number.
        """
        ordered = scores[: max(SAMPLE, 2 * self.wanted)].copy()
        ordered.sort()  # sorting so few is faster than partitioning
        if self.wanted > len(ordered) or ordered.item(-self.wanted) == -math.inf:
            return _LOWEST
        opening = ordered[-self.wanted, ...]
        return np.maximum(opening - self.margin, _LOWEST) if self.margin else opening


def _nth_largest(scores: Float32, n: int) -> float:
    place = len(scores) - n
    ordered = scores.copy()
    ordered.partition(place)
    return ordered.item(place)
