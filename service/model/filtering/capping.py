"""Capping: at most so many items of each value of an attribute in one list."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from service.model.catalog.catalog import Column
from service.model.catalog.values import present
from service.model.factors import Float32, Int32
from service.model.filtering.forms import compact
from service.model.scoring.ranking import Eligible, Ranked, Rows, mask_of


class Rank(Protocol):
    """A way to rank items."""

    def __call__(self, n: int, *, offset: int = 0, eligible: Eligible | None = None) -> Ranked:
        """Return the ``n`` best of the eligible items after the ``offset`` best."""


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """The values of an attribute, as numbers: item row i has ``values[starts[i]:starts[i + 1]]``.

    starts: int32 [items + 1]. values: int32 [pairs]. rows: int32 [pairs], the item row of each pair.
    """

    starts: Int32
    values: Int32
    rows: Int32

    @property
    def nbytes(self) -> int:
        """The bytes of its arrays."""
        return self.starts.nbytes + self.values.nbytes + self.rows.nbytes

    def of(self, row: int) -> set[int]:
        """Return the values of one item."""
        start, stop = self.starts[row : row + 2].tolist()
        return set(self.values[start:stop].tolist())


def groups_of(column: Column, catalog_rows: Int32) -> Groups:
    """Return the values of the items in these rows of the catalog, -1 for an item that it does not list."""
    there = present(column)
    values = column.values[there]
    if column.kind in ("number", "date"):
        values = np.unique(values, return_inverse=True)[1]
    row_starts = np.concatenate(([0], np.cumsum(there))) if column.starts is None else column.starts
    lengths = np.append(np.diff(row_starts), 0).take(catalog_rows)  # row -1 takes the last
    starts = np.concatenate(([0], np.cumsum(lengths)))
    rows = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    places = np.arange(len(rows)) - starts[rows] + row_starts[catalog_rows[rows]]
    return Groups(starts.astype(np.int32), values[places].astype(np.int32), rows)


def capped(rank: Rank, groups: Groups, most: int, n: int, eligible: Eligible | None) -> Ranked:
    """Return the list of up to ``n`` items that takes the best item, again and again, whose values are not used up.

    A value is used up once ``most`` of the items taken have it; an item without a value is always taken. Each round
    ranks twice as many items as the one before, of those that can still be taken, so there are few.
    """
    count = Counter[int]()
    rows, scores, taken, scanned, read = list[Rows](), list[Float32](), 0, 0, 0
    size, left = n, eligible
    while True:
        found = rank(size, eligible=left)
        chosen = _take(found.rows, groups, most, n - taken, count)
        rows.append(found.rows[chosen])
        scores.append(found.scores[chosen])
        taken, scanned, read = taken + len(chosen), scanned + found.scanned, read + found.read
        if taken == n or len(found.rows) < size:
            return Ranked(np.concatenate(rows), np.concatenate(scores), scanned, read)
        left = _left(left, groups, rows[-1], [value for value, times in count.items() if times == most])
        size *= 2


def _take(rows: Rows, groups: Groups, most: int, wanted: int, count: Counter[int]) -> list[int]:
    """Return the places of the rows to be taken, and count their values."""
    chosen: list[int] = []
    for place, row in enumerate(rows.tolist()):
        if len(chosen) == wanted:
            break
        values = groups.of(row)
        if all(count[value] < most for value in values):
            count.update(values)
            chosen.append(place)
    return chosen


def _left(eligible: Eligible | None, groups: Groups, taken: Rows, used_up: list[int]) -> Eligible | None:
    """Return the eligible items that are neither taken nor have a value that is used up."""
    items = len(groups.starts) - 1
    mask = np.ones(items, np.bool_) if eligible is None else mask_of(eligible, items).copy()
    mask[taken] = False
    mask[groups.rows[np.isin(groups.values, used_up)]] = False
    return compact(mask)
