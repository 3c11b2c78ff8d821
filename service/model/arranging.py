"""Arranges a validated model for serving: only the process that imports it does this, and servers map the result."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from service.model.codes import quantize
from service.model.factors import Factors, Float32, Int64, Seen
from service.model.ids import Ids
from service.model.model import Model, Popularity


def arrange(factors: Factors) -> Model:
    """Arrange a validated model for serving; the source's arrays are not kept."""
    users = np.argsort(factors.user_ids, kind="stable")
    items, norms = _by_descending_norm(factors)
    item_ids = factors.item_ids[items]
    item_factors = np.ascontiguousarray(factors.item_factors[items])
    sorter = np.argsort(item_ids, kind="stable").astype(np.int64)
    seen = _reorder(factors.seen, users, items) if factors.seen else None
    return Model(
        user_ids=Ids(factors.user_ids[users]),
        item_ids=Ids(item_ids, sorter),
        user_factors=np.ascontiguousarray(factors.user_factors[users]),
        item_factors=item_factors,
        item_norms=norms,
        codes=quantize(item_factors),
        item_gram=item_factors.T @ item_factors,
        seen=seen,
        popularity=_popularity(seen, sorter) if seen else None,
        item_weights=np.ones(len(items), np.float32) if factors.item_weights is None else factors.item_weights[items],
        regularization=factors.regularization,
        alpha=factors.alpha,
        activity_discount=factors.activity_discount,
    )


def _by_descending_norm(factors: Factors) -> tuple[Int64, Float32]:
    """Return the item rows by descending norm (equal ones by ascending id) and their norms in that order."""
    norms = np.sqrt(np.einsum("ij,ij->i", factors.item_factors, factors.item_factors, dtype=np.float64))
    norms = norms.astype(np.float32)
    by_id = np.argsort(factors.item_ids, kind="stable")
    order = by_id[np.argsort(-norms[by_id], kind="stable")]
    return order, norms[order]


def _reorder(seen: Seen, users: NDArray[Any], items: NDArray[Any]) -> Seen:
    """Carry the seen pairs to the new user and item rows."""
    shape = (len(users), len(items))
    moved = csr_matrix((seen.weights, seen.items, seen.indptr), shape, copy=False)[users]
    new_row = np.empty(len(items), moved.indices.dtype)
    new_row[items] = np.arange(len(items))
    moved.indices = new_row[moved.indices]
    moved.has_sorted_indices = False
    moved.sort_indices()
    return Seen(moved.indptr.astype(np.int64), moved.indices.astype(np.int32), moved.data)


def _popularity(seen: Seen, by_id: Int64) -> Popularity:
    users = seen.users_of_items(len(by_id))
    order = by_id[np.argsort(-users[by_id], kind="stable")]
    return Popularity(users, order.astype(np.int32))
