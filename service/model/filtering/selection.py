"""Selections: the item rows that requests may be answered with, found once for each assortment and filter."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from service.errors import BadFilterError
from service.model.catalog.assortment import Assortment
from service.model.catalog.catalog import Catalog
from service.model.factors import Int32
from service.model.filtering.capping import Groups, groups_of
from service.model.filtering.evaluation import column_of, evaluate
from service.model.filtering.forms import compact
from service.model.scoring.ranking import Eligible, Mask

# The most bytes that one assortment's selection keeps, in all and for each item. A filter takes up to 2.4 bytes for
# each item, and the values of an attribute twelve.
_KEPT_BYTES, _KEPT_BYTES_PER_ITEM = 2**25, 16

# What a filter takes the first time: to be parsed, for each comparison of each row, and for each item.
_PARSING_MICROSECONDS = 1500.0
_ROW_MICROSECONDS = 0.002
_ITEM_MICROSECONDS = 0.006
# What numbering the values of an attribute takes the first time, for each row.
_NUMBERING_MICROSECONDS = 0.2
# About what an entry takes besides its text and arrays.
_ENTRY_BYTES = 500

Found = TypeVar("Found")


class Selection:
    """The eligible items of one assortment; every method may be called by any thread."""

    def __init__(self, assortment: Assortment) -> None:
        # Its parts, because it must not live as long as this does.
        self._catalog, self._catalog_rows = assortment.catalog, assortment.catalog_rows
        self._available = assortment.available
        #: The items that may be shown, None if all may.
        self.available = None if assortment.available is None else compact(assortment.available)
        items = 0 if self._catalog_rows is None else len(self._catalog_rows)
        self._kept = _Kept(_KEPT_BYTES + items * _KEPT_BYTES_PER_ITEM)

    def microseconds(self, text: str, capped: str = "") -> float:
        """Estimate what :meth:`matching` and :meth:`groups` take; next to nothing for what was used lately."""
        if self._catalog is None or self._catalog_rows is None:
            return 0.0
        estimate = 0.0
        if text and ("filter", text) not in self._kept:
            comparisons = 1 + text.upper().count("AND") + text.upper().count("OR")
            estimate += _PARSING_MICROSECONDS + comparisons * len(self._catalog) * _ROW_MICROSECONDS
            estimate += len(self._catalog_rows) * _ITEM_MICROSECONDS
        if capped and ("groups", capped) not in self._kept:
            estimate += len(self._catalog) * _NUMBERING_MICROSECONDS
        return estimate

    def matching(self, text: str) -> Eligible | None:
        """Return the available items of which a filter is true, None for all. Raises BadFilterError."""

        def find() -> tuple[Eligible | None, int]:
            found = compact(self._mask(text))
            return found, len(text) + (0 if found is None else found.nbytes)

        return self._kept.get(("filter", text), find)

    def groups(self, attribute: str) -> Groups:
        """Return the items' values of an attribute, for ``max_per``. Raises BadFilterError."""

        def find() -> tuple[Groups, int]:
            catalog, rows = self._described()
            found = groups_of(column_of(catalog, attribute, "in max_per"), rows)
            return found, len(attribute) + found.nbytes

        return self._kept.get(("groups", attribute), find)

    def _mask(self, text: str) -> Mask:
        from service.model.filtering.language import parse  # here, because few servers are sent filters

        catalog, rows = self._described()
        mask = evaluate(parse(text), catalog).take(rows)  # row -1 takes the last
        if self._available is not None:
            mask &= self._available
        return mask

    def _described(self) -> tuple[Catalog, Int32]:
        if self._catalog is None or self._catalog_rows is None:
            raise BadFilterError("The server has no catalog (ALS_ITEMS), so there are no attributes to filter by.")
        return self._catalog, self._catalog_rows


class _Kept:
    """What was found last, in at most so many bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = 0
        self._entries: OrderedDict[tuple[str, str], tuple[Any, int]] = OrderedDict()
        self._lock = Lock()

    def __contains__(self, key: tuple[str, str]) -> bool:
        return key in self._entries

    def get(self, key: tuple[str, str], find: Callable[[], tuple[Found, int]]) -> Found:
        """Return what is kept, or is found now; ``find`` also returns its bytes."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                kept: Found = self._entries[key][0]
                return kept
        found, size = find()
        with self._lock:
            if key not in self._entries:
                self._entries[key] = found, size + _ENTRY_BYTES
                self._bytes += size + _ENTRY_BYTES
            while self._bytes > self._limit:
                self._bytes -= self._entries.popitem(last=False)[1][1]
        return found


_selections: WeakKeyDictionary[Assortment, Selection] = WeakKeyDictionary()
_lock = Lock()


def selection_of(assortment: Assortment) -> Selection:
    """Return the selection of an assortment, which lives as long as it."""
    with _lock:
        selection = _selections.get(assortment)
        if selection is None:
            selection = _selections[assortment] = Selection(assortment)
        return selection
