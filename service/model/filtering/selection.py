"""Selections: the item rows that requests may be answered with, found once for each assortment and filter."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from weakref import WeakKeyDictionary

import numpy as np

from service.errors import BadFilterError
from service.model.catalog.assortment import Assortment
from service.model.factors import Int32
from service.model.filtering.evaluation import evaluate
from service.model.scoring.ranking import Eligible, Mask, is_mask

#: The most bytes of one assortment's selection. A filter takes a byte for each item, or a third more.
CACHE_BYTES = 2**25

# Scanning a list of rows takes as long as scanning a mask where about a third of the items are eligible.
_LISTED_SHARE = 1 / 3
# What a filter takes the first time: to be parsed, for each comparison of each row, and for each item.
_PARSING_MICROSECONDS = 1500.0
_ROW_MICROSECONDS = 0.002
_ITEM_MICROSECONDS = 0.006
# About what an entry takes besides its text and rows.
_ENTRY_BYTES = 500


def compact(mask: Mask) -> Eligible | None:
    """Return a mask in the form that is scanned soonest: None if all are eligible, a list of rows if few are."""
    count = np.count_nonzero(mask)
    if count == len(mask):
        return None
    return mask if count > _LISTED_SHARE * len(mask) else np.flatnonzero(mask).astype(np.int32)


def among(rows: Int32, eligible: Eligible | None) -> Int32:
    """Return those of ``rows`` (ascending, no repeats) that are eligible."""
    if eligible is None:
        return rows
    return rows[eligible[rows]] if is_mask(eligible) else rows[np.isin(rows, eligible, assume_unique=True)]


class Selection:
    """The eligible items of one assortment; every method may be called by any thread."""

    def __init__(self, assortment: Assortment) -> None:
        # Its parts, because it must not live as long as this does.
        self._catalog, self._catalog_rows = assortment.catalog, assortment.catalog_rows
        self._available = assortment.available
        #: The items that may be shown, None if all may.
        self.available = None if assortment.available is None else compact(assortment.available)
        self._kept: OrderedDict[str, Eligible | None] = OrderedDict()
        self._kept_bytes = 0
        self._lock = Lock()

    def microseconds(self, text: str) -> float:
        """Estimate what :meth:`matching` takes; next to nothing for a filter that was used lately."""
        if self._catalog is None or self._catalog_rows is None or text in self._kept:
            return 0.0
        comparisons = 1 + text.upper().count("AND") + text.upper().count("OR")
        rows = comparisons * len(self._catalog) * _ROW_MICROSECONDS
        return _PARSING_MICROSECONDS + rows + len(self._catalog_rows) * _ITEM_MICROSECONDS

    def matching(self, text: str) -> Eligible | None:
        """Return the available items of which a filter is true, None for all. Raises BadFilterError."""
        with self._lock:
            if text in self._kept:
                self._kept.move_to_end(text)
                return self._kept[text]
        eligible = compact(self._mask(text))
        with self._lock:
            self._keep(text, eligible)
        return eligible

    def _mask(self, text: str) -> Mask:
        from service.model.filtering.language import parse  # here, because few servers are sent filters

        if self._catalog is None or self._catalog_rows is None:
            raise BadFilterError("There is no catalog of items, so there are no attributes to filter by.")
        mask = evaluate(parse(text), self._catalog).take(self._catalog_rows)  # row -1 takes the last
        if self._available is not None:
            mask &= self._available
        return mask

    def _keep(self, text: str, eligible: Eligible | None) -> None:
        if text not in self._kept:
            self._kept[text] = eligible
            self._kept_bytes += _bytes(text, eligible)
        while self._kept_bytes > CACHE_BYTES:
            self._kept_bytes -= _bytes(*self._kept.popitem(last=False))


def _bytes(text: str, eligible: Eligible | None) -> int:
    return len(text) + _ENTRY_BYTES + (0 if eligible is None else eligible.nbytes)


_selections: WeakKeyDictionary[Assortment, Selection] = WeakKeyDictionary()
_lock = Lock()


def selection_of(assortment: Assortment) -> Selection:
    """Return the selection of an assortment, which lives as long as it."""
    with _lock:
        selection = _selections.get(assortment)
        if selection is None:
            selection = _selections[assortment] = Selection(assortment)
        return selection
