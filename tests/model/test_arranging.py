"""The order of users and items in a model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model.arranging import arrange
from service.model.factors import Factors, Id, Seen
from service.model.ids import IdKind, Ids
from service.model.model import Model
from tests.support.models import make_factors

sources = st.builds(
    make_factors,
    users=st.integers(1, 30),
    items=st.integers(1, 30),
    factors=st.integers(1, 6),
    seed=st.integers(0, 1000),
    ids=st.sampled_from(["int", "str"]),
    pairs=st.none() | st.integers(0, 100),
    whole=st.booleans(),
)


def named(ids: Ids) -> list[Id]:
    """Return all ids in row order."""
    return ids.at(np.arange(len(ids)))


def seen_pairs(seen: Seen, users: Ids, items: Ids) -> dict[tuple[Id, Id], float]:
    """Return the weight of each (user id, item id) pair."""
    return {
        (user, item): float(weight)
        for row, user in enumerate(named(users))
        for item, weight in zip(items.at(seen.of(row)), seen.weights_of(row), strict=True)
    }


@given(sources)
def test_every_pair_keeps_its_score(source: Factors) -> None:
    """Under their own ids, every user's and item's factors are those of the source, number by number."""
    model = arrange(source)
    for ids, factors, source_ids, source_factors in (
        (model.user_ids, model.user_factors, source.user_ids, source.user_factors),
        (model.item_ids, model.item_factors, source.item_ids, source.item_factors),
    ):
        rows = [ids.row(name) for name in Ids(source_ids).at(np.arange(len(source_ids)))]
        assert sorted(row for row in rows if row is not None) == list(range(len(source_ids)))
        np.testing.assert_array_equal(factors[np.array(rows)], source_factors)


@given(sources)
def test_every_seen_pair_keeps_its_weight(source: Factors) -> None:
    """What a user already had stays with that user and those items; within a user the item rows ascend."""
    model = arrange(source)
    if source.seen is None:
        assert model.seen is None
        return
    assert model.seen is not None
    before = seen_pairs(source.seen, Ids(source.user_ids), Ids(source.item_ids))
    assert seen_pairs(model.seen, model.user_ids, model.item_ids) == before
    assert all((np.diff(model.seen.of(user)) > 0).all() for user in range(len(model.user_ids)))
    assert model.seen.items.dtype == np.int32


@given(sources)
def test_users_stand_by_id_and_items_by_norm(source: Factors) -> None:
    """Users ascend by id; items descend by norm, and of equal norms the smaller id comes first."""
    model = arrange(source)
    assert (np.argsort(model.user_ids.values, kind="stable") == np.arange(len(model.user_ids))).all()
    by_norm = np.lexsort((model.item_ids.values, -model.item_norms))
    assert (by_norm == np.arange(len(model.item_ids))).all()


@given(sources)
def test_what_derives_from_the_items_agrees_with_them(source: Factors) -> None:
    """Norms, the Gram matrix and popularity are those of the rows as stored; equally popular items go by id."""
    model = arrange(source)
    exact = model.item_factors.astype(np.float64)
    np.testing.assert_allclose(model.item_norms, np.linalg.norm(exact, axis=1), rtol=1e-6)
    np.testing.assert_allclose(model.item_gram, exact.T @ exact, rtol=1e-3, atol=1e-4 * np.square(exact).sum())
    if model.popularity is not None and model.seen is not None:
        had = np.array([np.count_nonzero(model.seen.items == row) for row in range(len(model.item_ids))])
        np.testing.assert_array_equal(model.popularity.users, had)
        np.testing.assert_array_equal(model.popularity.order, np.lexsort((model.item_ids.values, -had)))


@pytest.mark.parametrize("ids", ["int", "str"])
def test_the_source_is_left_as_it_was(ids: IdKind) -> None:
    """Arranging neither changes nor shares the source's factors."""
    source, same = make_factors(ids=ids), make_factors(ids=ids)
    model: Model = arrange(source)
    for name in ("user_factors", "item_factors", "user_ids", "item_ids"):
        np.testing.assert_array_equal(getattr(source, name), getattr(same, name))
    assert not np.shares_memory(model.item_factors, source.item_factors)
    assert not np.shares_memory(model.user_factors, source.user_factors)
