"""The audience of an item."""

from __future__ import annotations

import dataclasses
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.model.arranging import arrange
from service.model.factors import Factors, Int32, Seen
from service.model.model import Model
from service.model.scoring import audience, scoring
from service.model.scoring.products import scores_of
from service.model.scoring.ranking import Mask
from tests.support.models import make_factors


def found(model: Model, item: int, n: int, offset: int = 0, hidden: Mask | None = None) -> scoring.Ranked:
    """Return what is yielded at last."""
    turns = scoring.audience(model, item, n, offset=offset, hidden=hidden)
    return next(ranked for ranked in turns if ranked is not None)


def by_brute_force(model: Model, item: int, hidden: Mask | None = None) -> Int32:
    """Return all users who have not had the item and are not hidden, by a full sort."""
    had = [] if hidden is None else np.flatnonzero(hidden).tolist()
    had += [user for user in range(len(model.user_ids)) if model.seen and item in model.seen.of(user).tolist()]
    scores = scores_of(model.user_factors, model.item_factors[item])
    order = np.lexsort((np.arange(len(scores)), -scores))
    return order[~np.isin(order, had)].astype(np.int32)


@given(
    seed=st.integers(0, 30),
    whole=st.booleans(),
    scale=st.sampled_from([1e-22, 1.0, 1e8]),
    pairs=st.sampled_from([None, 0, 300]),
    item=st.integers(0, 9),
    n=st.integers(1, 90),
    offset=st.integers(0, 90),
    hidden=st.none() | st.lists(st.booleans(), min_size=80, max_size=80),
    per_turn=st.sampled_from([(1, 1), (40, 7), (2**22, 2**22)]),
)
@settings(max_examples=200, deadline=None)
def test_it_is_what_a_full_sort_gives(
    seed: int,
    whole: bool,
    scale: float,
    pairs: int | None,
    item: int,
    n: int,
    offset: int,
    hidden: list[bool] | None,
    per_turn: tuple[int, int],
) -> None:
    """In however many turns: the users with the greatest scores, to the last bit, equal ones by row; nobody had it."""
    mask = None if hidden is None else np.array(hidden)
    made = make_factors(users=80, items=10, seed=seed, pairs=pairs, whole=whole)
    model = arrange(dataclasses.replace(made, user_factors=made.user_factors * np.float32(scale)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audience, "_PRODUCTS_PER_TURN", per_turn[0])
        patch.setattr(audience, "_PAIRS_PER_TURN", per_turn[1])
        ranked = found(model, item, n, offset, mask)
    expected = by_brute_force(model, item, mask)[offset : offset + n]
    assert ranked.rows.tolist() == expected.tolist()
    assert ranked.scanned == 80
    one_by_one = [scoring.item_scores(model, user, np.array([item])) for user in expected.tolist()]
    assert ranked.scores.tolist() == [score.item() for score in one_by_one]


def test_scores_that_differ_by_rounding_are_in_the_right_order() -> None:
    """Where BLAS adds up in another order, users hardly apart do not change places."""
    rng = np.random.default_rng(3)
    made = make_factors(users=20_000, items=3, factors=50, pairs=None)
    close = made.user_factors[:1] * (1 + rng.integers(-3, 4, (20_000, 50)).astype(np.float32) * np.float32(2e-7))
    model = arrange(dataclasses.replace(made, user_factors=close.astype(np.float32)))
    for item in range(3):
        assert found(model, item, 500).rows.tolist() == by_brute_force(model, item)[:500].tolist()


def test_a_dislike_counts_as_had() -> None:
    """A user who disliked an item is not in its audience, as it is not recommended to them."""
    made = make_factors(users=5, items=3, pairs=0)
    disliked = Seen(np.array([0, 1, 1, 1, 1, 1]), np.array([2], np.int32), np.array([-1], np.float32))
    model = arrange(dataclasses.replace(made, seen=disliked))
    item = model.item_ids.row(int(made.item_ids[2]))
    user = model.user_ids.row(int(made.user_ids[0]))
    assert item is not None
    assert set(found(model, item, 5).rows.tolist()) == set(range(5)) - {user}


@pytest.mark.parametrize(("users", "each"), [(400_000, 1), (2_000, 2_500)])
def test_it_takes_little_memory(users: int, each: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many users and pairs there are, only those of one turn are looked at at a time."""
    monkeypatch.setattr(audience, "_PRODUCTS_PER_TURN", 2**16)
    monkeypatch.setattr(audience, "_PAIRS_PER_TURN", 2**16)
    had = np.tile(np.arange(each, dtype=np.int32), users)
    seen = Seen(np.arange(users + 1) * each, had, np.ones(len(had), np.float32))
    factors = np.ones((users, 8), np.float32), np.ones((each + 1, 8), np.float32)
    model = arrange(Factors(*factors, np.arange(users), np.arange(each + 1), seen, 0.05, 2.0))
    tracemalloc.start()
    try:
        assert found(model, each, 10).rows.tolist() == list(range(10))
        assert not len(found(model, 0, 10).rows)
        assert tracemalloc.get_traced_memory()[1] < 2e6
    finally:
        tracemalloc.stop()
