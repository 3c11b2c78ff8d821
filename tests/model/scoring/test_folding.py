"""Folding in: factors from given items, and explanations."""

from __future__ import annotations

import dataclasses
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix

from service.errors import NoSeenItemsError
from service.model.arranging import arrange
from service.model.factors import Factors, Float32, Int32, Seen
from service.model.model import Model
from service.model.scoring import folding, scoring
from service.model.scoring.ranking import NO_ROWS, NO_SCORES
from tests.support.models import make_factors


def as_implicit(model: Model) -> AlternatingLeastSquares:
    """Return implicit's own model with the same factors and parameters."""
    theirs = AlternatingLeastSquares(
        factors=model.item_factors.shape[1],
        regularization=model.regularization,
        alpha=model.alpha,
        num_threads=1,
    )
    theirs.user_factors, theirs.item_factors = model.user_factors.copy(), model.item_factors.copy()
    return theirs


def as_csr(items: Int32, weights: Float32, model: Model) -> csr_matrix:
    """Return one user's row as implicit takes it, which knows no weights of items."""
    return csr_matrix((weights * model.item_weights[items], items, [0, len(items)]), shape=(1, len(model.item_ids)))


moderate = make_factors(users=5, items=60, factors=4, pairs=120, seed=1)
weights_of_any_sign = st.floats(-5, 5, width=32).filter(lambda weight: abs(weight) > 0.01)
# implicit asks for one BLAS thread, which is the server's setting and of no matter here.
implicit_warns_of_threads = pytest.mark.filterwarnings("ignore:OpenBLAS is configured:RuntimeWarning")


@implicit_warns_of_threads
@given(st.dictionaries(st.integers(0, 59), weights_of_any_sign, min_size=1, max_size=20))
def test_folding_in_agrees_with_implicit(had: dict[int, float]) -> None:
    """A new user's factors are those that implicit's recalculate_user computes, dislikes included."""
    model = arrange(moderate)
    items, weights = np.array(list(had), np.int32), np.array(list(had.values()), np.float32)
    theirs = as_implicit(model).recalculate_user(0, as_csr(items, weights, model))
    np.testing.assert_allclose(scoring.fold_in(model, items, weights), theirs, rtol=1e-3, atol=1e-4)


@implicit_warns_of_threads
@pytest.mark.parametrize("count", [1, 4, 16])
def test_a_busy_users_weights_are_discounted(count: int) -> None:
    """Where training divided weights by a power of how many items a user had, a newcomer's are, too."""
    discounted = arrange(dataclasses.replace(moderate, activity_discount=0.5))
    items, weights = np.arange(count, dtype=np.int32), np.full(count, 3, np.float32)
    found = scoring.fold_in(discounted, items, weights)
    np.testing.assert_allclose(found, scoring.fold_in(arrange(moderate), items, weights / count**0.5), rtol=1e-5)


def test_an_item_named_twice_counts_with_the_sum_of_its_weights() -> None:
    """Repeats and order do not matter; their weights add up."""
    model = arrange(moderate)
    once = scoring.fold_in(model, np.array([3, 7], np.int32), np.array([3.0, 1.0], np.float32))
    twice = scoring.fold_in(model, np.array([7, 3, 3], np.int32), np.array([1.0, 1.0, 2.0], np.float32))
    assert once.tolist() == twice.tolist()
    assert once.dtype == np.float32


def test_a_user_of_whom_nothing_is_known_is_a_zero_vector() -> None:
    """No items, or only disliked ones, express no preference."""
    model = arrange(moderate)
    assert not scoring.fold_in(model, NO_ROWS, NO_SCORES).any()
    assert not scoring.fold_in(model, np.array([3], np.int32), np.array([-1.0], np.float32)).any()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("alpha", [0.0, 1.0, 40.0])
def test_singular_equations_have_the_shortest_solution(seed: int, alpha: float) -> None:
    """Without regularization and with items in a subspace only, the answer lies in it."""
    rng = np.random.default_rng(seed)
    subspace = rng.normal(size=(3, 4))
    flat = (rng.normal(size=(60, 3)) @ subspace).astype(np.float32)
    model = arrange(dataclasses.replace(moderate, item_factors=flat, regularization=0.0, alpha=alpha))
    vector = scoring.fold_in(model, np.array([1, 5, 9], np.int32), np.array([1.0, 2.0, 1.0], np.float32))
    within = np.linalg.pinv(subspace) @ (subspace @ vector)
    np.testing.assert_allclose(vector, within, atol=1e-5)
    assert vector.any() == (alpha > 0)


@pytest.mark.parametrize("seed", range(5))
def test_too_little_regularization_is_no_failure(seed: int) -> None:
    """Where rounding outweighs lambda, items in a subspace still get the scores they would have without it."""
    rng = np.random.default_rng(seed)
    flat = (rng.normal(size=(60, 2)) @ rng.normal(size=(2, 8))).astype(np.float32)
    items, weights = np.array([1, 5, 9], np.int32), np.ones(3, np.float32)
    folded = [
        scoring.fold_in(
            arrange(dataclasses.replace(moderate, item_factors=flat, regularization=little)), items, weights
        )
        for little in (0.0, 1e-12)
    ]
    np.testing.assert_allclose(flat @ folded[1], flat @ folded[0], atol=1e-4)


@pytest.mark.parametrize("alpha", [1.0, 1e9])
def test_what_rounding_has_left_of_tiny_items_is_not_divided_by(alpha: float) -> None:
    """With almost no regularization, a tiny item beside a large one still has finite scores and explanations."""
    items = np.array([[1, 0], [0, 1e-30], [0, 1e-25]], np.float32)
    tiny = dataclasses.replace(make_factors(users=2, items=3, factors=2, pairs=6), item_factors=items)
    model = arrange(dataclasses.replace(tiny, regularization=1e-300, alpha=alpha, item_weights=None))
    for row in range(3):
        vector = scoring.fold_in(model, np.array([row], np.int32), np.ones(1, np.float32))
        assert np.isfinite(model.item_factors @ vector).all()
        assert np.isfinite(scoring.explain(model, 0, row, 3).scores).all()


@implicit_warns_of_threads
@pytest.mark.parametrize("user", range(5))
def test_explanations_agree_with_implicit(user: int) -> None:
    """The items named and what each contributes are implicit's own; together they make the folded-in score."""
    model = arrange(moderate)
    assert model.seen is not None
    had, weights = model.seen.of(user), model.seen.weights_of(user)
    total, contributions, _ = as_implicit(model).explain(0, as_csr(had, weights, model), 7, N=5)
    found = scoring.explain(model, user, 7, 5)
    assert found.rows.tolist() == [row for row, _ in contributions]
    np.testing.assert_allclose(found.scores, [score for _, score in contributions], rtol=1e-3, atol=1e-4)
    everything = scoring.explain(model, user, 7, 1000)
    folded = model.item_factors[7] @ scoring.fold_in(model, had, weights)
    np.testing.assert_allclose(everything.scores.sum(), folded, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(total, folded, rtol=1e-3, atol=1e-4)


def test_what_a_user_disliked_explains_nothing() -> None:
    """Items with a negative weight shape the factors and are never named as a reason."""
    assert moderate.seen is not None
    weights = np.where(moderate.seen.items % 2 == 0, -1, 1).astype(np.float32)
    seen = Seen(moderate.seen.indptr, moderate.seen.items, weights)
    model = arrange(dataclasses.replace(moderate, seen=seen))
    assert model.seen is not None
    liked = model.seen.of(0)[model.seen.weights_of(0) > 0]
    found = scoring.explain(model, 0, 7, 1000)
    assert set(found.rows.tolist()) == set(liked.tolist())
    folded = scoring.fold_in(model, model.seen.of(0), model.seen.weights_of(0))
    np.testing.assert_allclose(found.scores.sum(), model.item_factors[7] @ folded, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("user", range(5))
def test_an_explanation_is_the_same_in_any_number_of_turns(monkeypatch: pytest.MonkeyPatch, user: int) -> None:
    """With the factors of three items at a time, it yields between them, and finds what it finds with those of all."""
    model = arrange(moderate)
    assert model.seen is not None
    expected = scoring.explain(model, user, 7, 1000)
    monkeypatch.setattr(folding, "_PRODUCTS_PER_TURN", 3 * model.item_factors.shape[1] ** 2)
    *turns, found = scoring.explain_in_turns(model, user, 7, 1000)
    assert turns == [None] * (2 * -(-len(model.seen.of(user)) // 3))
    assert found
    assert found.rows.tolist() == expected.rows.tolist()
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5, atol=1e-7)


def test_an_explanation_takes_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many items a user had: the factors of all as they are added up would take 26 MB here."""
    monkeypatch.setattr(folding, "_PRODUCTS_PER_TURN", 2**18)
    items = 100_000
    seen = Seen(np.array([0, items]), np.arange(items, dtype=np.int32), np.ones(items, np.float32))
    ids, factors = np.arange(items), np.ones((items, 32), np.float32)
    model = arrange(Factors(factors[:1], factors, ids[:1], ids, seen, 0.05, 2.0))
    tracemalloc.start()
    try:
        scoring.explain(model, 0, 7, 10)
        assert tracemalloc.get_traced_memory()[1] < 8e6
    finally:
        tracemalloc.stop()


def test_a_user_without_items_has_no_explanation() -> None:
    """Nothing seen gives an empty answer."""
    model = arrange(make_factors(pairs=0))
    assert scoring.explain(model, 0, 0, 5).rows.tolist() == []


def test_without_seen_items_nothing_is_explained() -> None:
    """A model that came without interactions says so instead of guessing."""
    with pytest.raises(NoSeenItemsError, match="does not include seen items"):
        scoring.explain(arrange(make_factors(pairs=None)), 0, 0, 5)
