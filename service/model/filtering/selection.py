"""Selections: the item rows that requests may be answered with, found once for each assortment and filter."""

from __future__ import annotations

from threading import Lock
from weakref import WeakKeyDictionary

import numpy as np

from service.model.catalog.assortment import Assortment
from service.model.factors import Int32
from service.model.scoring.ranking import Eligible, Mask, is_mask

# Scanning a list of rows takes as long as scanning a mask where about a third of the items are eligible.
_LISTED_SHARE = 1 / 3


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
        #: The items that may be shown, None if all may.
        self.available = None if assortment.available is None else compact(assortment.available)


_selections: WeakKeyDictionary[Assortment, Selection] = WeakKeyDictionary()
_lock = Lock()


def selection_of(assortment: Assortment) -> Selection:
    """Return the selection of an assortment, which lives as long as it."""
    with _lock:
        selection = _selections.get(assortment)
        if selection is None:
            selection = _selections[assortment] = Selection(assortment)
        return selection
