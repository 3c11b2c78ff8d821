"""Similarity: by the cosine of factors, over all rows.

A zero vector has no direction: it has no similar rows and is never in a result.
"""

from __future__ import annotations

import math

import numpy as np

from service.model.factors import Float32
from service.model.model import Model
from service.model.scoring.ranking import NO_ROWS, NO_SCORES, Ranked, rank

# Between these limits, a float32 sum of squares has not underflowed or overflowed.
_SAFE_SQUARES = (1e-30, 1e30)


def similar_items(model: Model, item: int, n: int) -> Ranked:
    """Return the ``n`` other items whose factors have the greatest cosine with this one's, in [-1, 1]."""
    return _similar(model.item_factors, item, n, norms=model.item_norms)


def similar_users(model: Model, user: int, n: int) -> Ranked:
    """Return the ``n`` other users whose factors have the greatest cosine with this one's, in [-1, 1]."""
    return _similar(model.user_factors, user, n)


def _similar(factors: Float32, row: int, n: int, norms: Float32 | None = None) -> Ranked:
    direction = _unit(factors[row])
    if direction is None:
        return Ranked(NO_ROWS, NO_SCORES, scanned=0)

    def cosines(start: int, stop: int) -> Float32:
        block = factors[start:stop]
        return _cosines(np.dot(block, direction), lengths(block) if norms is None else norms[start:stop])

    return rank(cosines, lambda _: 1.0, len(factors), n, without=np.array([row], np.int32))


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
