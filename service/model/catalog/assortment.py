"""The assortment: which of a model's items may be shown right now, and what is known of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.model.catalog.catalog import Catalog
from service.model.catalog.values import Value, attributes_of
from service.model.factors import Int32
from service.model.ids import Ids
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

    @property
    def listed_items(self) -> int:
        """The number of items that the catalog lists."""
        return 0 if self.catalog_rows is None else int(np.count_nonzero(self.catalog_rows >= 0))

    def are_available(self, rows: NDArray[np.integer[Any]]) -> list[bool]:
        """Return which of these item rows may be shown."""
        return [True] * len(rows) if self.available is None else self.available.take(rows).tolist()

    def attributes_of(self, row: int) -> dict[str, Value | list[Value]]:
        """Return an item's attributes, none if the catalog does not list it."""
        place = -1 if self.catalog_rows is None else self.catalog_rows.item(row)
        return {} if self.catalog is None or place < 0 else attributes_of(self.catalog, place)

    @property
    def unavailable_items(self) -> int:
        """The number of items that may not be shown."""
        return 0 if self.available is None else int(np.count_nonzero(~self.available))

    @property
    def hidden_users(self) -> int:
        """The number of users who count as unknown."""
        return 0 if self.hidden is None else int(np.count_nonzero(self.hidden))


#: Without a catalog or lists, everything may be shown to everybody.
EVERYTHING = Assortment()


def assort(
    model: Model,
    catalog: Catalog | None = None,
    unavailable: NDArray[Any] = _NONE,
    hidden_users: NDArray[Any] = _NONE,
    *,
    listed_only: bool = False,
    rows: Int32 | None = None,
) -> Assortment:
    """Pair a model with the current catalog and lists; takes up to a second for a million items.

    unavailable, hidden_users: ids of items and of users, fixed-width bytes, ascending, without repeats. listed_only:
    whether an item that the catalog does not list is unavailable. rows: the ``catalog_rows`` of this model and catalog,
    if they are known, which is most of the work.
    """
    if catalog is not None and rows is None:
        rows = _catalog_rows(model.item_ids, catalog)
    return Assortment(
        catalog,
        rows,
        _available(model, catalog, rows, unavailable, listed_only=listed_only),
        _found(hidden_users, model.user_ids),
    )


def _catalog_rows(ids: Ids, catalog: Catalog) -> Int32:
    rows = np.full(len(ids), -1, np.int32)
    found = ids.rows(catalog.ids)
    places = np.flatnonzero(found >= 0)
    rows[found.take(places)] = places
    return rows


@dataclass(frozen=True, slots=True)
class Coverage:
    """How a catalog and a model overlap: the model's items, how many the catalog lists, its rows beyond them."""

    items: int
    listed: int
    unknown: int


def coverage(catalog: Catalog, model: Model) -> Coverage:
    """Compare a catalog with a model; takes up to a second for a million items."""
    listed = int(np.count_nonzero(model.item_ids.rows(catalog.ids) >= 0))
    return Coverage(len(model.item_ids), listed, len(catalog) - listed)


def _available(
    model: Model, catalog: Catalog | None, rows: Int32 | None, unavailable: NDArray[Any], *, listed_only: bool
) -> NDArray[np.bool_] | None:
    available = np.ones(len(model.item_ids), np.bool_)
    if catalog is not None and rows is not None and catalog.available is not None:
        available &= np.append(catalog.available, True).take(rows)  # row -1 takes the last
    if rows is not None and listed_only:
        available &= rows >= 0
    if (withdrawn := _found(unavailable, model.item_ids)) is not None:
        available &= ~withdrawn
    return None if available.all() else available


def _found(listed: NDArray[Any], ids: Ids) -> NDArray[np.bool_] | None:
    """Return which of the ids are listed, None if none is."""
    found = np.zeros(len(ids), np.bool_)
    rows = ids.rows(listed)
    found[rows[rows >= 0]] = True
    return found if found.any() else None
