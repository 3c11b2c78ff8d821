"""A capped list is the greedy one, however many rounds it takes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model.catalog.catalog import Kind
from service.model.factors import Int32
from service.model.filtering.capping import capped, groups_of
from service.model.scoring.ranking import Eligible, Ranked, mask_of
from tests.support.catalogs import make_column

Values = list[Any]


class Ranking:
    """Ranks items by their row, and counts how often it is asked."""

    def __init__(self, items: int) -> None:
        self.items = items
        self.asked = 0

    def __call__(self, n: int, *, offset: int = 0, eligible: Eligible | None = None) -> Ranked:
        """Return the first eligible rows."""
        self.asked += 1
        rows = np.arange(self.items) if eligible is None else np.flatnonzero(mask_of(eligible, self.items))
        rows = rows[offset : offset + n].astype(np.int32)
        return Ranked(rows, -rows.astype(np.float32), scanned=len(rows), read=1)


def greedy(values: Values, catalog_rows: list[int], eligible: list[int], most: int, n: int) -> list[int]:
    """Return the greedy list by plain reading."""
    used, taken = Counter[Any](), list[int]()
    for row in eligible:
        value = values[catalog_rows[row]] if catalog_rows[row] >= 0 else None
        mine = {*value} if isinstance(value, list) else {value} - {None}
        if len(taken) < n and all(used[each] < most for each in mine):
            used.update(mine)
            taken.append(row)
    return taken


@st.composite
def columns(draw: st.DrawFn) -> tuple[Kind, bool, Values]:
    """Draw a column of any type, in which values are missing and repeated."""
    pools: dict[Kind, Values] = {"text": ["a", "b", "c"], "number": [0.0, -1.5, 2.0], "bool": [True, False]}
    kind = draw(st.sampled_from([*pools]))
    value = st.sampled_from(pools[kind])
    is_list = draw(st.booleans())
    each = st.lists(value, max_size=3) if is_list else st.none() | value
    return kind, is_list, draw(st.lists(each, min_size=1, max_size=12))


@given(columns(), st.integers(1, 80), st.integers(1, 4), st.integers(1, 30), st.integers(0, 1000), st.booleans())
def test_a_capped_list_takes_the_best_whose_values_are_not_used_up(
    column: tuple[Kind, bool, Values], items: int, most: int, n: int, seed: int, some: bool
) -> None:
    """Of all items, or of the eligible ones; those that the catalog does not list have no value."""
    rng = np.random.default_rng(seed)
    catalog_rows: Int32 = rng.integers(-1, len(column[2]), items).astype(np.int32)
    eligible = np.flatnonzero(rng.random(items) < 0.6).astype(np.int32) if some else None
    groups = groups_of(make_column(*column), catalog_rows)
    found = capped(Ranking(items), groups, most, n, eligible)
    rows = list(range(items)) if eligible is None else eligible.tolist()
    expected = greedy(column[2], catalog_rows.tolist(), rows, most, n)
    assert found.rows.tolist() == expected
    assert found.scores.tolist() == [-row for row in expected]


@pytest.mark.parametrize("values", [["a"], ["a", "b", "c"]])
def test_a_list_that_cannot_be_filled_takes_few_rounds(values: Values) -> None:
    """Items whose value is used up are not ranked again, so nobody goes through a million of them."""
    ranking = Ranking(100_000)
    rows = np.arange(100_000, dtype=np.int32) % len(values)
    found = capped(ranking, groups_of(make_column("text", False, values), rows), 2, 50, None)
    assert found.rows.tolist() == list(range(2 * len(values)))
    assert ranking.asked == 2
    assert (found.scanned, found.read) == (50, 2)


def test_rounds_grow() -> None:
    """Where a few values rule for long, one after another, there are still few rounds."""
    ranking = Ranking(10_000)
    rows = np.repeat(np.arange(100, dtype=np.int32), 100)
    values = [f"{number:03}" for number in range(100)]
    found = capped(ranking, groups_of(make_column("text", False, values), rows), 1, 50, None)
    assert found.rows.tolist() == list(range(0, 5000, 100))
    assert ranking.asked < 10
