"""Fold-in: a user's factors from the items they had; and explanations of scores by those items.

Both are the least-squares step of implicit ALS (Hu, Koren, Volinsky, Collaborative Filtering for Implicit Feedback
Datasets, 2008, sections 4 and 5), as in the library ``implicit``: an item of weight w is preferred with confidence c =
alpha w; one of negative weight is not preferred, with confidence |c|. If training used item weights, w is multiplied by
the item's weight; if it discounted activity, w is divided by the number of the user's items to that power.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from service.errors import NoSeenItemsError
from service.model.factors import Float32, Int32
from service.model.model import Model
from service.model.scoring.ranking import Ranked

# The Gram matrix is a float32 sum: directions in which it is smaller than this, relative to its size, are unknown.
_ROUNDING = float(np.finfo(np.float32).eps)
# A solution beyond this divides by what rounding has left of the equations. Its products with factors, whose squares
# float32 can hold, could overflow.
_LARGEST = 1e17

# A turn takes some 5 ms, and some 10 MB.
_PRODUCTS_PER_TURN = 2**25

_Float64 = NDArray[np.float64]


def fold_in(model: Model, items: Int32, weights: Float32) -> Float32:
    """Return the factors, float32 [factors], of a user who had these item rows with these weights.

    Solves (V'V + lambda I + sum (|c| - 1) v v') x = sum of c v over c > 0; the weights of an item that is named
    more than once add up. No known items give a zero vector; if the equations leave x undetermined (only for lambda =
    0), x is the shortest solution.
    """
    return next(found for found in fold_in_turns(model, items, weights) if found is not None)


def fold_in_turns(model: Model, items: Int32, weights: Float32) -> Iterator[Float32 | None]:
    """Yield None after each turn of some milliseconds, and at last what :func:`fold_in` returns.

    Only some items' factors are in memory at a time, however many there are.
    """
    rows, place = np.unique(items, return_inverse=True)
    totals = np.zeros(len(rows))
    np.add.at(totals, place, weights)
    equations, preferred = yield from _equations(model, rows, _confidence(model, rows, totals))
    yield _solve(equations, preferred, model.regularization).astype(np.float32)


def least_squares(gram: Float32 | _Float64, factors: _Float64, confidence: _Float64, regularization: float) -> _Float64:
    """Return x, float64 [factors], for items with these factors, [items, factors], and signed confidences c.

    gram: V'V over all items.
    """
    preferred = factors.T @ np.maximum(confidence, 0)
    equations = gram + regularization * np.eye(len(gram)) + _known(factors, confidence)
    return _solve(equations, preferred, regularization)


def explain(model: Model, user: int, item: int, n: int) -> Ranked:
    """Return the ``n`` of the user's items that contribute most to the item's score, and what each contributes.

    All contributions add up to the score of the item for the user's factors folded in again, which are the stored ones
    if als-serve trained the model. Items with a negative weight contribute nothing and are left out. Raises
    NoSeenItemsError if the model has no seen items.
    """
    return next(found for found in explain_in_turns(model, user, item, n) if found is not None)


def explain_in_turns(model: Model, user: int, item: int, n: int) -> Iterator[Ranked | None]:
    """Yield None after each turn of some milliseconds, and at last the answer of :func:`explain`.

    Only some items' factors are in memory at a time, however many the user had. Raises NoSeenItemsError.
    """
    if model.seen is None:
        raise NoSeenItemsError("The served model does not include seen items, so nothing can be explained.")
    rows = model.seen.of(user)
    confidence = _confidence(model, rows, model.seen.weights_of(user))
    equations, _ = yield from _equations(model, rows, confidence)
    weighted = _solve(equations, model.item_factors[item].astype(np.float64), model.regularization)
    scores = np.empty(len(rows), np.float32)
    for part in _parts(len(rows), model.item_factors.shape[1]):
        scores[part] = (_factors(model, rows[part]) @ weighted) * confidence[part]
        yield None
    preferred = np.flatnonzero(confidence >= 0)
    order = preferred[np.argsort(-scores[preferred], kind="stable")][:n]
    yield Ranked(rows[order], scores[order], scanned=len(rows))


def _parts(count: int, factors: int) -> Iterator[slice]:
    """Yield the rows of each turn."""
    size = max(1, _PRODUCTS_PER_TURN // factors**2)
    return (slice(start, start + size) for start in range(0, count, size))


def _factors(model: Model, rows: Int32) -> _Float64:
    return model.item_factors[rows].astype(np.float64)


def _confidence(model: Model, rows: Int32, weights: Float32 | _Float64) -> _Float64:
    """Return the signed confidence of these item rows."""
    scale = model.alpha * max(len(rows), 1) ** -model.activity_discount
    confidence: _Float64 = scale * model.item_weights[rows].astype(np.float64) * weights
    return confidence


def _equations(model: Model, rows: Int32, confidence: _Float64) -> Generator[None, None, tuple[_Float64, _Float64]]:
    """Return V'V + lambda I + the sum of (|c| - 1) v v', and the sum of c v over c > 0; yield after each turn."""
    count = model.item_factors.shape[1]
    equations, preferred = model.item_gram + model.regularization * np.eye(count), np.zeros(count)
    for part in _parts(len(rows), count):
        factors = _factors(model, rows[part])
        equations += _known(factors, confidence[part])
        preferred += factors.T @ np.maximum(confidence[part], 0)
        yield None
    return equations, preferred


def _known(factors: _Float64, confidence: _Float64) -> _Float64:
    """Return the sum of (|c| - 1) v v'."""
    known: _Float64 = factors.T @ (factors * (np.abs(confidence) - 1)[:, None])
    return known


def _solve(equations: _Float64, right: _Float64, regularization: float) -> _Float64:
    """Solve by Cholesky; near-singular equations get the shortest least-squares solution, which is never too large."""
    import scipy.linalg  # here, because it would take a third of the time that a server needs to start

    solution: _Float64
    if regularization > 0:
        with suppress(scipy.linalg.LinAlgError):  # relatively so small that rounding outweighs it
            solution = scipy.linalg.cho_solve(scipy.linalg.cho_factor(equations), right)
            if abs(solution).max() <= _LARGEST:
                return solution
    solution = scipy.linalg.lstsq(equations, right, cond=len(right) * _ROUNDING)[0]
    return solution
