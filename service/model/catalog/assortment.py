"""The assortment: which of a model's items may be shown right now, and what is known of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.model.catalog.catalog import Catalog, places_among
from service.model.factors import Int32
from service.model.model import Model

_NONE = np.empty(0, "S1")


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Assortment:
    """One model's items and users as a catalog and lists describe them; immutable.

    catalog_rows: int32 [items], each item's row in the catalog, -1 where it lists no such item; None without a catalog.
    available: bool [items], the items that may be shown; None if all may. hidden: bool [users], the users who count as
    unknown; None if there are none.
    """

    catalog: Catalog | None = None
    catalog_rows: Int32 | None = None
    available: NDArray[np.bool_] | None = None
    hidden: NDArray[np.bool_] | None = None


#: Without a catalog or lists, everything may be shown to everybody.
EVERYTHING = Assortment()


def assort(
    model: Model,
    catalog: Catalog | None = None,
    unavailable: NDArray[Any] = _NONE,
    hidden_users: NDArray[Any] = _NONE,
    *,
    listed_only: bool = False,
) -> Assortment:
    """Pair a model with the current catalog and lists; takes about a second for a million items.

    unavailable, hidden_users: ids of items and of users, fixed-width bytes, ascending, without repeats. listed_only:
    whether an item that the catalog does not list is unavailable.
    """
    rows = None if catalog is None else catalog.rows_of(model.item_ids.values)
    return Assortment(
        catalog,
        rows,
        _available(model, catalog, rows, unavailable, listed_only=listed_only),
        _found(hidden_users, model.user_ids.values),
    )


@dataclass(frozen=True, slots=True)
class Coverage:
    """How a catalog and a model overlap: the model's items, how many the catalog lists, its rows beyond them."""

    items: int
    listed: int
    unknown: int


def coverage(catalog: Catalog, model: Model) -> Coverage:
    """Compare a catalog with a model; takes up to a second for a million items."""
    listed = int(np.count_nonzero(catalog.rows_of(model.item_ids.values) >= 0))
    return Coverage(len(model.item_ids), listed, len(catalog) - listed)


def _available(
    model: Model, catalog: Catalog | None, rows: Int32 | None, unavailable: NDArray[Any], *, listed_only: bool
) -> NDArray[np.bool_] | None:
    available = np.ones(len(model.item_ids), np.bool_)
    if catalog is not None and rows is not None and catalog.available is not None:
        available &= np.append(catalog.available, True).take(rows)  # row -1 takes the last
    if rows is not None and listed_only:
        available &= rows >= 0
    if (withdrawn := _found(unavailable, model.item_ids.values)) is not None:
        available &= ~withdrawn
    return None if available.all() else available


def _found(listed: NDArray[Any], ids: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Return which of the ids are listed, None if none is."""
    found = places_among(listed, ids) >= 0
    return found if found.any() else None
