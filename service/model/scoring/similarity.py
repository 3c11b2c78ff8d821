"""Similarity: by the cosine of factors, over all rows.

A zero vector has no direction: it has no similar rows and is never in a result.
"""

from __future__ import annotations

import math

import numpy as np

from service.model.factors import Float32
from service.model.model import Model
from service.model.scoring.blocks import UNIT_ROUNDOFF
from service.model.scoring.products import scores_of
from service.model.scoring.ranking import NO_ROWS, NO_SCORES, Eligible, Ranked, is_mask, mask_of, rank

# Between these limits, a float32 sum of squares has not underflowed or overflowed.
_SAFE_SQUARES = (1e-30, 1e30)
# Reading more of the rows from a list takes longer than reading all.
_LISTED_SHARE = 0.2
_NOTHING = Ranked(NO_ROWS, NO_SCORES, scanned=0)


def similar_items(model: Model, item: int, n: int, *, offset: int = 0, eligible: Eligible | None = None) -> Ranked:
    """Return the ``n`` other items whose factors have the greatest cosine with this one's, in [-1, 1].

    offset, eligible: as for :func:`service.model.scoring.scoring.top_n`. BLAS computes the cosines; those of the best
    are computed once more, in one fixed order, so that they have the same bits whether rows are read in blocks or from
    a list.
    """
    factors, norms = model.item_factors, model.item_norms
    direction = _unit(factors[item])
    if direction is None:
        return _NOTHING
    if eligible is not None and len(eligible) > _LISTED_SHARE * len(factors):
        eligible = mask_of(eligible, len(factors))
    found = _ranked(factors, norms, item, n + offset, direction, eligible, _margin(len(direction)))
    exact = (scores_of(factors.take(found.rows, axis=0), direction) / norms[found.rows]).clip(-1, 1)
    order = np.lexsort((found.rows, -exact))[offset : offset + n]
    return Ranked(found.rows[order], exact[order], found.scanned)


def similar_users(model: Model, user: int, n: int, *, eligible: Eligible | None = None) -> Ranked:
    """Return the ``n`` other users whose factors have the greatest cosine with this one's, in [-1, 1].

    eligible: a mask, bool [users], or rows, ascending, no repeats; None for all.
    """
    direction = _unit(model.user_factors[user])
    return _NOTHING if direction is None else _ranked(model.user_factors, None, user, n, direction, eligible)


def _ranked(
    factors: Float32,
    norms: Float32 | None,
    row: int,
    n: int,
    direction: Float32,
    eligible: Eligible | None,
    margin: float = 0.0,
) -> Ranked:
    """Return the best of the eligible rows but this one, by the cosines as computed, and all within the margin."""
    listed = None if eligible is None or is_mask(eligible) else eligible[eligible != row]

    def cosines(start: int, stop: int) -> Float32:
        rows = slice(start, stop) if listed is None else listed[start:stop]
        block = factors[rows]
        found = _cosines(np.dot(block, direction), lengths(block) if norms is None else norms[rows])
        if listed is None and eligible is not None:
            found[~eligible[rows]] = -np.inf
        return found

    if listed is None:
        return rank(cosines, lambda _: 1.0, len(factors), n, without=np.array([row], np.int32), margin=margin)
    found = rank(cosines, lambda _: 1.0, len(listed), n, margin=margin)
    return Ranked(listed[found.rows], found.scores, found.scanned)


def _margin(factors: int) -> float:
    """Return how far two computed cosines may be off together: see :func:`service.model.scoring.blocks.bounds`."""
    errors = (factors + 4) * UNIT_ROUNDOFF
    return 4 * errors / (1 - errors)


def _unit(vector: Float32) -> Float32 | None:
    exact = vector.astype(np.float64)
    length = math.sqrt(np.dot(exact, exact))
    return (exact / length).astype(np.float32) if length else None


def _cosines(projections: Float32, lengths: Float32) -> Float32:
    """Divide by the lengths; results are clipped to [-1, 1], and zero vectors get -inf."""
    directed = lengths > 0
    cosines = np.divide(projections, lengths, out=np.zeros_like(projections), where=directed)
    np.clip(cosines, -1, 1, out=cosines)
    cosines[~directed] = -np.inf
    return cosines


def lengths(block: Float32) -> Float32:
    """Return the Euclidean norms, float32 [rows], without another copy of the block."""
    with np.errstate(over="ignore"):
        squares = np.vecdot(block, block)
    low, high = _SAFE_SQUARES
    lengths: Float32 = np.sqrt(squares)
    doubtful = np.flatnonzero(~((squares > low) & (squares < high)))
    if len(doubtful):
        exact = block[doubtful].astype(np.float64)
        lengths[doubtful] = np.sqrt(np.vecdot(exact, exact))
    return lengths
