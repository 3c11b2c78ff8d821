"""The exact top-N by NumPy: used if there is no kernel, or if it declines."""

from __future__ import annotations

import math

import numpy as np

from service.model.factors import Float32, Int32
from service.model.model import Model
from service.model.scoring.products import scores_of
from service.model.scoring.ranking import Bound, Eligible, Ranked, Rows, Score, is_mask, rank

UNIT_ROUNDOFF = 2.0**-24
_SMALLEST = 2.0**-149


def top_n(model: Model, vector: Float32, n: int, without: Int32, eligible: Eligible | None) -> Ranked:
    """Return the ``n`` items with the greatest scores; see :func:`service.model.scoring.scoring.top_n`.

    BLAS computes the scores of whole blocks, each off by some rounding. All rows are candidates that may so have lost
    their place, and are scored once more, as everywhere.
    """
    if eligible is not None and not is_mask(eligible):
        return _of_listed(model, vector, n, without, eligible.astype(np.int32, copy=False))
    items = model.item_factors

    def score(start: int, stop: int) -> Float32:
        scores: Float32 = np.dot(items[start:stop], vector)
        if eligible is not None:
            scores[~eligible[start:stop]] = -np.inf
        return scores

    bound, margin = bounds(model.item_norms, vector)
    found = rank(score, bound, len(items), n, without=without, margin=margin)
    return _rescored(model, vector, n, found.rows, found.scanned)


def _of_listed(model: Model, vector: Float32, n: int, without: Int32, listed: Int32) -> Ranked:
    rows = listed[~np.isin(listed, without)] if len(without) else listed
    bound, margin = bounds(model.item_norms[rows], vector)
    found = rank(_score_of(model, vector, rows), bound, len(rows), n, margin=margin)
    return _rescored(model, vector, n, rows[found.rows], found.scanned)


def _score_of(model: Model, vector: Float32, rows: Int32) -> Score:
    def score(start: int, stop: int) -> Float32:
        scores: Float32 = np.dot(model.item_factors[rows[start:stop]], vector)
        return scores

    return score


def _rescored(model: Model, vector: Float32, n: int, rows: Rows, scanned: int) -> Ranked:
    scores = scores_of(model.item_factors.take(rows, axis=0), vector)
    order = np.lexsort((rows, -scores))[:n]
    read = (scanned + len(rows)) * model.item_factors.itemsize * len(vector)
    return Ranked(rows[order], scores[order], scanned, read)


def bounds(norms: Float32, vector: Float32) -> tuple[Bound, float]:
    """Bound the computed score of an item, and so of all after it, by the product of the norms, rounding included.

    Also return how far below the n-th score a row may be that is among the n best once all are added up in another
    order: each of the two scores may change by twice the greatest error. A float32 inner product of f terms, summed in
    any order, is off by at most gamma_f |u|'|v|, with gamma_k = k u / (1 - k u) and u = 2^-24 (Higham, Accuracy and
    Stability of Numerical Algorithms, 2nd ed., section 3.1), hence at most (1 + gamma_f) ‖u‖ ‖v‖. Four more roundings
    are allowed for the stored norm, and an absolute term for products and norms in the subnormal range, where the
    relative error is not bounded.
    """
    length = math.hypot(*vector.tolist())
    errors = (len(vector) + 4) * UNIT_ROUNDOFF
    gamma = errors / (1 - errors)
    reach = length * (1 + gamma)
    subnormal = 2 * (length + len(vector)) * _SMALLEST if length else 0.0
    largest = norms.item(0) if len(norms) else 0.0
    return lambda row: norms.item(row) * reach + subnormal, 4 * (gamma * reach * largest + subnormal)
