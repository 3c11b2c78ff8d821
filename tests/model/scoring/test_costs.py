"""Estimates of what queries cost."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from service.model.arranging import arrange
from service.model.scoring import costs, scoring
from service.model.scoring.costs import QueryCosts, measure
from tests.support.models import make_factors


def test_a_top_n_costs_what_the_next_measured_one_does() -> None:
    """An estimate errs towards the dearer; beyond the largest measured n it grows in proportion."""
    made = QueryCosts(
        recommend_10=1, recommend_100=2, recommend_1000=3, similar_items=4, similar_users=5, fold_in=6, explain=7
    )
    assert [made.recommend(n) for n in (1, 10, 11, 100, 101, 1000, 5000)] == [1, 1, 2, 2, 3, 3, 15]


@pytest.mark.parametrize(("users", "items"), [(1, 1), (300, 200)])
def test_every_kind_of_query_is_measured(users: int, items: int) -> None:
    """Every figure is a positive number of microseconds, even for the smallest model."""
    found = measure(arrange(make_factors(users=users, items=items)))
    assert all(0 < cost < 60e6 for cost in msgspec.structs.astuple(found))


def test_what_cannot_be_explained_costs_nothing() -> None:
    """A model without seen items has no explanations to time, and everything else is still measured."""
    found = measure(arrange(make_factors(pairs=None)))
    assert found.explain == 0
    assert found.recommend_1000 > 0


def test_a_slow_query_costs_its_microseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A figure is the median duration in microseconds: by a clock that gains 3 ms a query, 3000."""
    ticks = iter(range(0, 10**12, 3_000_000))
    monkeypatch.setattr(costs, "perf_counter_ns", lambda: next(ticks))
    found = measure(arrange(make_factors()))
    assert set(msgspec.structs.astuple(found)) == {3000}


def test_the_measured_queries_are_the_ones_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """Top-N is measured at 10, 100 and 1000, with seen items left out, for the same users each time."""
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(scoring, "recommend", lambda model, user, n: asked.append((user, n)))
    model = arrange(make_factors())
    measure(model, seed=3)
    again: list[Any] = asked.copy()
    asked.clear()
    measure(model, seed=3)
    assert asked == again
    assert {n for _, n in asked} == {10, 100, 1000}


def test_costs_survive_the_manifest() -> None:
    """Written as JSON and read back, they are equal."""
    found = measure(arrange(make_factors()))
    assert msgspec.json.decode(msgspec.json.encode(found), type=QueryCosts) == found
