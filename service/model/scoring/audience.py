"""The audience of an item: the users with the greatest scores for it, of those who have not had it.

Nothing but the factors is stored of a user, so all are scored; in turns, because that takes long for a million.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from service.model.factors import Float32, Int32
from service.model.model import Model
from service.model.scoring.blocks import bounds
from service.model.scoring.products import scores_of
from service.model.scoring.ranking import NO_ROWS, NO_SCORES, Mask, Ranked, rank
from service.model.scoring.similarity import lengths

# A turn takes some 5 ms.
_PRODUCTS_PER_TURN = 2**22
_PAIRS_PER_TURN = 2**22


def audience(
    model: Model, item: int, n: int, *, offset: int = 0, hidden: Mask | None = None
) -> Iterator[Ranked | None]:
    """Yield None after each turn, and at last the ``n`` best user rows after the ``offset`` best, equal ones by row.

    The scores are those of :func:`~service.model.scoring.scoring.item_scores`. Users who had the item, with whatever
    weight, are left out, if the model has seen items. hidden: bool [users], others to leave out.
    """
    vector, best = model.item_factors[item], Ranked(NO_ROWS, NO_SCORES, scanned=0)
    for start, stop in _turns(model):
        without = _had(model, item, start, stop)
        if hidden is not None:
            without = np.union1d(without, np.flatnonzero(hidden[start:stop])).astype(np.int32)
        found = _of_some(model, vector, n + offset, start, stop, without)
        best = _better(best, found, n + offset)
        yield None
    yield best.after(offset)


def _turns(model: Model) -> Iterator[tuple[int, int]]:
    """Yield the first and the last user row, exclusive, of each turn."""
    users, size = len(model.user_factors), max(1, _PRODUCTS_PER_TURN // model.user_factors.shape[1])
    start = 0
    while start < users:
        stop = min(start + size, users)
        if model.seen:
            most = model.seen.indptr.item(start) + _PAIRS_PER_TURN
            stop = max(start + 1, min(stop, int(model.seen.indptr.searchsorted(most, "right")) - 1))
        yield start, stop
        start = stop


def _of_some(model: Model, vector: Float32, n: int, start: int, stop: int, without: Int32) -> Ranked:
    """Return the ``n`` best of some users, and perhaps some more, without those counted from ``start``.

    BLAS computes the scores, each off by some rounding. All rows that may so have lost their place are candidates, and
    are scored once more, as everywhere.
    """
    factors = model.user_factors[start:stop]
    computed: Float32 = np.dot(factors, vector)
    _, margin = bounds(lengths(factors).max(keepdims=True), vector)
    found = rank(
        lambda low, high: computed[low:high], lambda _: math.inf, stop - start, n, without=without, margin=margin
    )
    return Ranked(found.rows + start, scores_of(factors.take(found.rows, axis=0), vector), scanned=stop - start)


def _had(model: Model, item: int, start: int, stop: int) -> Int32:
    """Return which of these users had the item, ascending, counted from ``start``."""
    if model.seen is None:
        return NO_ROWS
    indptr = model.seen.indptr[start : stop + 1]
    first, last = indptr[[0, -1]].tolist()
    places = np.flatnonzero(model.seen.items[first:last] == item) + first
    users: Int32 = (indptr.searchsorted(places, "right") - 1).astype(np.int32)
    return users


def _better(one: Ranked, other: Ranked, n: int) -> Ranked:
    """Return the ``n`` best of both."""
    rows, scores = np.concatenate((one.rows, other.rows)), np.concatenate((one.scores, other.scores))
    order = np.lexsort((rows, -scores))[:n]
    return Ranked(rows[order], scores[order], scanned=one.scanned + other.scanned)
