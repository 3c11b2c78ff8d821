"""The exact last step of training: every user's factors from the final item factors.

The iterations of ALS end with the items, and solve for users by a few steps of conjugate gradients, so what they leave
is near what a fold-in of the same items gives, and not the same. After this step it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TypeAlias

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from service.model.factors import Float32, Int64
from service.model.scoring.folding import least_squares

_Float64: TypeAlias = NDArray[np.float64]

#: The most numbers to work on at once.
_BATCH = 2**22
#: A regularization that is smaller than this share of all squares leaves too few digits to the fast way.
_SMALLEST_SHARE = 1e-9


def exact_users(confidence: csr_matrix[np.float32], item_factors: Float32, regularization: float) -> Float32:
    """Return float32 [users, factors], what :func:`~service.model.scoring.folding.fold_in` gives for each user.

    confidence: signed, [users, items]. Takes twice the memory of the item factors beside the result.
    """
    users = np.zeros((confidence.shape[0], item_factors.shape[1]), np.float32)
    items = item_factors.astype(np.float64)
    gram = items.T @ items
    root = _root(gram, regularization)
    if root is None:
        return _one_by_one(np.arange(len(users)), confidence, items, gram, regularization, users)
    whitened = np.ascontiguousarray(scipy.linalg.solve_triangular(root, items.T, lower=True).T)
    counts = np.diff(confidence.indptr).astype(np.int64)
    few = counts <= item_factors.shape[1]
    for batch in _batches(np.flatnonzero(few), counts, item_factors.shape[1]):
        pairs = confidence.indptr[batch][:, None] + np.arange(counts[batch[0]])
        combined = _combine(whitened[confidence.indices[pairs]], confidence.data[pairs].astype(np.float64))
        users[batch] = scipy.linalg.solve_triangular(root, combined.T, lower=True, trans="T").T
    return _one_by_one(np.flatnonzero(~few), confidence, items, gram, regularization, users)


def _root(gram: _Float64, regularization: float) -> _Float64 | None:
    """Return the lower Cholesky factor of ``V'V + lambda I``; None where rounding would show."""
    if regularization > _SMALLEST_SHARE * np.trace(gram):
        with suppress(scipy.linalg.LinAlgError):
            root: _Float64 = scipy.linalg.cholesky(gram + regularization * np.eye(len(gram)), lower=True)
            return root
    return None


def _combine(whitened: _Float64, confidence: _Float64) -> _Float64:
    """Return L'x, [users, factors], of users with the same number of items each.

    whitened: [users, items, factors], the rows v L'^-1 of their items; confidence: [users, items]. With D = |c| - 1 and
    K = (v L'^-1)(v L'^-1)', Woodbury's identity makes of the usual equations L'x = (v L'^-1)' (I + D K)^-1 c, which is
    small where a user had few items.
    """
    kernel = whitened @ whitened.transpose(0, 2, 1)
    equations = (np.abs(confidence) - 1)[:, :, None] * kernel + np.eye(confidence.shape[1])
    shares = np.linalg.solve(equations, np.maximum(confidence, 0)[:, :, None])
    combined: _Float64 = (whitened.transpose(0, 2, 1) @ shares)[:, :, 0]
    return combined


def _batches(users: Int64, counts: Int64, factors: int) -> Iterator[Int64]:
    """Yield users with the same number of items, at least one, few enough to be worked on at once."""
    users = users[np.argsort(counts[users], kind="stable")]
    for alike in np.split(users, np.flatnonzero(np.diff(counts[users])) + 1):
        count = int(counts[alike[0]]) if len(alike) else 0
        size = max(1, _BATCH // max(count * (count + factors), 1))
        yield from (alike[start : start + size] for start in range(0, len(alike) if count else 0, size))


def _one_by_one(
    rows: Int64,
    confidence: csr_matrix[np.float32],
    items: _Float64,
    gram: _Float64,
    regularization: float,
    users: Float32,
) -> Float32:
    for row in rows.tolist():
        pairs = slice(*confidence.indptr[row : row + 2].tolist())
        had = items[confidence.indices[pairs]]
        users[row] = least_squares(gram, had, confidence.data[pairs].astype(np.float64), regularization)
    return users
