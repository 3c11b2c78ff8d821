"""Scores: inner products in float32, added up in one fixed order."""

from __future__ import annotations

import numpy as np

from service.model.factors import Float32

_LANES = 16
_ROWS_AT_ONCE = 4096


def scores_of(items: Float32, vector: Float32) -> Float32:
    """Return the inner product of each row of ``items``, float32 [rows, factors], with ``vector``: float32 [rows].

    Product j is added to lane j mod 16, and then the upper half of the lanes to the lower, until one is left. BLAS adds
    up in an order that depends on the processor and on a row's neighbours; here, and in scan.c, a score has the same
    bits everywhere.
    """
    if len(items) <= _ROWS_AT_ONCE:
        return _scores(items, vector)
    starts = range(0, len(items), _ROWS_AT_ONCE)
    return np.concatenate([_scores(items[start : start + _ROWS_AT_ONCE], vector) for start in starts])


def _scores(items: Float32, vector: Float32) -> Float32:
    rows, factors = items.shape
    products = np.zeros((rows, -(-factors // _LANES), _LANES), np.float32)
    np.multiply(items, vector, out=products.reshape(rows, products.shape[1] * _LANES)[:, :factors])
    lanes = np.add.reduce(products, axis=1)  # one after the other, as NumPy adds along every axis but the last
    for half in (8, 4, 2, 1):
        lanes = lanes[:, :half] + lanes[:, half:]
    scores: Float32 = lanes[:, 0] + np.float32(0)  # -0 is 0
    return scores
