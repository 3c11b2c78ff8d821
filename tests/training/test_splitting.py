"""Splits of interactions into training and test."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from service.errors import TrainingError
from service.training.interactions import Interactions
from service.training.splitting import hold_out


def made(users: int = 30, items: int = 12, seed: int = 0, *, timed: bool = False) -> Interactions:
    """Draw interactions: the first user has every item, others some or none; of few distinct times."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(1, 6, (users, items)) * (rng.random((users, items)) < rng.random((users, 1)))
    weights[0] = 1
    matrix = csr_matrix(weights.astype(np.float32))
    times = rng.integers(0, 4, matrix.nnz).astype(np.float64) if timed else None
    return Interactions(np.arange(users) * 10, np.array([f"i{item:03}" for item in range(items)]), matrix, times, 99)


def of_one(times: list[float] | None, count: int) -> Interactions:
    """Return one user's interactions with items 0…count-1."""
    matrix = csr_matrix(np.ones((1, count), np.float32))
    return Interactions(np.array([7]), np.arange(count), matrix, None if times is None else np.array(times))


def times_of(interactions: Interactions) -> dict[tuple[int, int], float]:
    """Return when each (row, column) first met."""
    assert interactions.first_met is not None
    pairs = interactions.weights.tocoo()
    return dict(zip(zip(pairs.row.tolist(), pairs.col.tolist(), strict=True), interactions.first_met, strict=True))


sources = st.builds(
    made, users=st.integers(1, 20), items=st.integers(10, 25), seed=st.integers(0, 1000), timed=st.booleans()
)
timed_sources = st.builds(made, users=st.integers(1, 20), seed=st.integers(0, 1000), timed=st.just(True))
shares = st.sampled_from(["0.1", "0.2", "0.29", "0.5", "0.7", "0.99", "1"])
seeds = st.integers(0, 5)


@given(sources, shares, seeds)
def test_no_pair_is_lost_or_doubled(source: Interactions, share: str, seed: int) -> None:
    """What remains and what is held out are disjoint, and together they are what was there, weight by weight."""
    remaining, held = hold_out(source, share=float(share), seed=seed)
    assert remaining.weights.nnz + held.nnz == source.weights.nnz
    assert np.array_equal((remaining.weights + held).toarray(), source.weights.toarray())


@given(sources, shares, seeds)
def test_both_parts_are_in_the_old_form(source: Interactions, share: str, seed: int) -> None:
    """Ids, rows and columns mean what they meant, and both matrices are canonical ones of float32."""
    remaining, held = hold_out(source, share=float(share), seed=seed)
    for matrix in (remaining.weights, held):
        assert matrix.shape == source.weights.shape
        assert matrix.dtype == np.float32
        assert matrix.has_canonical_format
    assert remaining.user_ids is source.user_ids
    assert remaining.item_ids is source.item_ids
    assert remaining.rows == source.rows


@given(sources, shares, seeds)
def test_how_many_are_held_out(source: Interactions, share: str, seed: int) -> None:
    """Of a user's n items floor(share * n) are held out, in decimals as asked for, and one remains in any case."""
    _, held = hold_out(source, share=float(share), seed=seed)
    had = np.diff(source.weights.indptr).tolist()
    expected = [min(floor(Fraction(share) * count), max(count - 1, 0)) for count in had]
    assert np.diff(held.indptr).tolist() == expected


@given(timed_sources, shares, seeds)
def test_the_latest_are_held_out(source: Interactions, share: str, seed: int) -> None:
    """Where there are times, no user keeps a pair that is later than one that was held out."""
    remaining, held = hold_out(source, share=float(share), seed=seed)
    kept, all_times = times_of(remaining), times_of(source)
    assert kept == {pair: all_times[pair] for pair in kept}
    out = held.tocoo()
    for user, item in zip(out.row.tolist(), out.col.tolist(), strict=True):
        assert all_times[user, item] >= max(time for (other, _), time in kept.items() if other == user)


@given(sources, shares, seeds)
def test_the_same_seed_gives_the_same(source: Interactions, share: str, seed: int) -> None:
    """The same interactions, share and seed give the same split."""
    first, again = (hold_out(source, share=float(share), seed=seed)[1] for _ in range(2))
    assert np.array_equal(first.toarray(), again.toarray())


@pytest.mark.parametrize("times", [None, [5.0] * 40], ids=["no times", "equal times"])
def test_another_seed_gives_another(times: list[float] | None) -> None:
    """Chance decides where times do not, for each user by itself, and the seed decides chance."""
    first, other = (hold_out(of_one(times, 40), share=0.5, seed=seed)[1].indices.tolist() for seed in (0, 1))
    assert first != other
    assert first != list(range(20))
    assert first != list(range(20, 40))


def test_an_example() -> None:
    """Two of ten items are a fifth: the two latest, wherever they stand."""
    source = of_one([3, 90, 1, 2, 80, 7, 6, 5, 4, 8], 10)
    remaining, held = hold_out(source)
    assert held.indices.tolist() == [1, 4]
    assert remaining.weights.indices.tolist() == [0, 2, 3, 5, 6, 7, 8, 9]
    assert remaining.first_met is not None
    assert remaining.first_met.tolist() == [3, 1, 2, 7, 6, 5, 4, 8]


def test_a_share_is_meant_in_decimals() -> None:
    """29 % of 100 items are 29, although 0.29 * 100 is less in binary."""
    assert hold_out(of_one(None, 100), share=0.29)[1].nnz == 29


def test_without_times_none_appear() -> None:
    """Interactions without times remain without."""
    assert hold_out(made())[0].first_met is None


@pytest.mark.parametrize(("count", "share"), [(4, 0.2), (1, 1.0), (4, 0.0)])
def test_too_few_items(count: int, share: float) -> None:
    """Where nobody has enough items to spare one, a sentence says so."""
    few = replace(of_one(None, count), weights=csr_matrix(np.vstack([np.ones(count), np.zeros(count)])))
    with pytest.raises(TrainingError) as caught:
        hold_out(few, share=share)
    assert str(caught.value) == (
        f"Nothing can be held out: the user with the most items has {count}, too few for a share of {share:g}; "
        "train without an evaluation."
    )
