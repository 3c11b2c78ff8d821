"""A validated model arranged for serving: users in id order, items by descending norm, and derived arrays."""

from __future__ import annotations

from dataclasses import dataclass

from service.model.codes import Codes
from service.model.factors import Float32, Int32, Int64, Seen
from service.model.ids import Ids


@dataclass(frozen=True, slots=True)
class Popularity:
    """The number of users of each item, and the items in that order.

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
    item_weights: float32 [items], multiplied with the weights of an item's pairs.
    activity_discount: a user's weights are divided by the number of the user's items to this power.
    seen: item rows as in ``item_factors``; None if the source had none, and then popularity is None too.
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
    activity_discount: float

    @property
    def limited(self) -> bool:
        """Return whether there are no factors, only popularity."""
        return not self.item_factors.shape[1]
