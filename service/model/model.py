"""A proved model laid out for serving: users in id order, items by descending norm, and what derives from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from service.model.codes import Codes, quantize
from service.model.factors import Factors, Float32, Int32, Int64, Seen
from service.model.ids import Ids


@dataclass(frozen=True, slots=True)
class Popularity:
    """How many users had each item, and the items in that order.

    users: int64 [items], by item row. order: int32 [items], item rows by descending ``users``; equal ones
    by ascending id.
    """

    users: Int64
    order: Int32


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Model:
    """A model ready to answer queries; every array may be a read-only memory map.

    user_factors: float32 [users, factors], C order, rows in ascending id order.
    item_factors: float32 [items, factors], C order, rows by descending norm, equal norms by ascending id.
    item_norms: float32 [items], Euclidean, never below the true norm by more than rounding.
    codes: the item factors again, rounded to int8.
    item_gram: float32 [factors, factors], the sum of v v' over all items.
    item_weights: float32 [items], what multiplies the weights of an item's pairs.
    seen: item rows as in ``item_factors``; None where the source had none, and then popularity is None too.
    """

    user_ids: Ids
    item_ids: Ids
    user_factors: Float32
    item_factors: Float32
    item_norms: Float32
    codes: Codes
    item_gram: Float32
    seen: Seen | None
    popularity: Popularity | None
    item_weights: Float32
    regularization: float
    alpha: float

    @property
    def limited(self) -> bool:
        """Say whether there are no factors, so that nothing can be answered but what is popular."""
        return not self.item_factors.shape[1]


def arrange(factors: Factors) -> Model:
    """Lay a proved model out for serving; the source's arrays are not kept."""
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
    users = np.bincount(seen.items, minlength=len(by_id)).astype(np.int64)
    order = by_id[np.argsort(-users[by_id], kind="stable")]
    return Popularity(users, order.astype(np.int32))
