"""Queries on a model, next to plain NumPy."""

from __future__ import annotations

import dataclasses
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from numpy.typing import NDArray

from service.errors import NoSeenItemsError
from service.model.arranging import arrange
from service.model.factors import Float32, Int32
from service.model.model import Model
from service.model.scoring import blocks, ranking, scoring
from tests.support.models import make_factors

USERS = 3


@pytest.fixture(autouse=True, scope="module")
def small_blocks() -> Iterator[None]:
    """Let a scan of a few hundred rows go through as many blocks as one of a million."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "FIRST_BLOCK", 4)
        patch.setattr(ranking, "GROWTH", 2)
        patch.setattr(ranking, "LARGEST_BLOCK", 64)
        patch.setattr(ranking, "SAMPLE", 3)
        yield


@st.composite
def models(draw: st.DrawFn, *, whole: bool | None = None, users: int = USERS, seen: bool | None = None) -> Model:
    """Draw a small model; whole-numbered ones have many equal scores, zero vectors and repeats."""
    items = draw(st.integers(1, 40) | st.integers(41, 400) | st.just(5000))
    has_seen = draw(st.booleans()) if seen is None else seen
    factors = make_factors(
        users=users,
        items=items,
        factors=draw(st.integers(1, 8)),
        seed=draw(st.integers(0, 10_000)),
        pairs=draw(st.integers(0, 3 * items)) if has_seen else None,
        whole=draw(st.booleans()) if whole is None else whole,
    )
    return arrange(factors)


exact_models = models(whole=True)
sizes = st.integers(1, 30) | st.sampled_from([100, 401, 1000])
some_rows = st.lists(st.integers(0, 10_000), max_size=60)


def rows_of(picked: list[int], model: Model) -> Int32:
    """Fold arbitrary numbers onto the model's item rows, repeats and disorder included."""
    return np.array(picked, np.int32) % np.int32(len(model.item_ids))


def by_sorting(scores: Float32, without: NDArray[np.integer] | None = None) -> Int32:
    """Rank all rows the plain way: a full sort, equal scores by row."""
    order = np.lexsort((np.arange(len(scores)), -scores))
    return (order if without is None else order[~np.isin(order, without)]).astype(np.int32)


def assert_ranks(found: scoring.Ranked, scores: Float32, expected: Int32) -> None:
    """Require exactly these rows, in order, with their very scores, in the promised types."""
    assert found.rows.tolist() == expected.tolist()
    assert found.scores.tolist() == scores[expected].tolist()
    assert found.rows.dtype in (np.int32, np.int64)
    assert found.scores.dtype == np.float32


# ---------------------------------------------------------------- top-N


@given(exact_models, sizes, st.integers(0, 60), st.booleans(), some_rows)
def test_recommendations_are_those_of_a_full_sort(
    model: Model, n: int, offset: int, exclude_seen: bool, picked: list[int]
) -> None:
    """Blocks and early stopping change nothing: same items, same order among equals, same scores, no padding."""
    exclude = rows_of(picked, model)
    for user in range(USERS):
        had = model.seen.of(user) if model.seen and exclude_seen else exclude[:0]
        scores = model.item_factors @ model.user_factors[user]
        expected = by_sorting(scores, np.concatenate((had, exclude)))[offset : offset + n]
        found = scoring.recommend(model, user, n, offset=offset, exclude_seen=exclude_seen, exclude=exclude)
        assert_ranks(found, scores, expected)


@given(models(whole=False), sizes)
def test_recommendations_by_real_factors_are_those_of_a_full_sort(model: Model, n: int) -> None:
    """With factors of any kind no better item is missed; only BLAS's last bit may differ between block shapes."""
    for vector in model.user_factors:
        scores = model.item_factors @ vector
        found = scoring.top_n(model, vector, n)
        rounding = 1e-5 * np.linalg.norm(vector) * model.item_norms[0]
        np.testing.assert_allclose(found.scores, np.sort(scores)[::-1][:n], atol=rounding)
        np.testing.assert_allclose(found.scores, scores[found.rows], atol=rounding)
        assert len(set(found.rows.tolist())) == len(found.rows) == min(n, len(scores))


@given(exact_models, st.integers(1, 20))
def test_pages_make_up_the_whole_list(model: Model, n: int) -> None:
    """Page after page of n is the one long list, with nothing twice and nothing skipped."""
    whole = scoring.recommend(model, 0, 100)
    pages = [scoring.recommend(model, 0, n, offset=offset) for offset in range(0, 100, n)]
    assert np.concatenate([page.rows for page in pages]).tolist()[:100] == whole.rows.tolist()
    assert np.concatenate([page.scores for page in pages]).tolist()[:100] == whole.scores.tolist()


@given(exact_models)
def test_nothing_is_left_where_everything_is_excluded(model: Model) -> None:
    """No item remains: the answer is empty, not padded."""
    everything = np.arange(len(model.item_ids), dtype=np.int32)
    for found in (scoring.recommend(model, 0, 5, exclude=everything), scoring.recommend(model, 0, 5, offset=10**6)):
        assert_ranks(found, np.empty(0, np.float32), everything[:0])


any_scale = (
    st.floats(-(2.0**50), 2.0**50, width=32)
    | st.floats(-(2.0**-126), 2.0**-126, width=32)
    | st.sampled_from([0.0, 1.0, -1.0, 2.0**-149, 2.0**-75])
)


@given(
    st_numpy.arrays(np.float32, st.tuples(st.integers(1, 40), st.just(3)), elements=any_scale),
    st_numpy.arrays(np.float32, 3, elements=any_scale),
    st.integers(1, 5),
)
@example(np.array([[1.5 * 2**-75]], np.float32), np.array([2**-75], np.float32), 1)  # the product rounds up to 2^-149
def test_the_bound_holds_for_every_computed_score(items: Float32, vector: Float32, n: int) -> None:
    """Rounding, underflow and subnormal norms included, no score exceeds the bound of its row or of one before."""
    model = with_items(items)
    bound = blocks.bounds(model.item_norms, vector)[0]
    bounds = [bound(row) for row in range(len(items))]
    assert bounds == sorted(bounds, reverse=True)
    assert (model.item_factors @ vector <= bounds).all()
    assert_same_without_bound(model, vector, n)


@given(st.integers(0, 10_000), st.integers(1, 200), st.integers(1, 20))
def test_the_bound_holds_where_only_rounding_tells_scores_apart(seed: int, factors: int, n: int) -> None:
    """Items that all point where the user does, their norms one rounding apart, are the hardest to tell apart."""
    rng = np.random.default_rng(seed)
    vector = rng.normal(size=factors).astype(np.float32)
    model = with_items(vector * (1 - np.arange(64, dtype=np.float32)[:, None] * np.float32(2**-23)))
    assert_same_without_bound(model, vector, n)


def with_items(items: Float32) -> Model:
    """Return a model of these items."""
    source = make_factors(users=1, items=len(items), factors=items.shape[1], pairs=None)
    return arrange(dataclasses.replace(source, item_factors=items))


def assert_same_without_bound(model: Model, vector: Float32, n: int) -> None:
    """Require that a scan with the early stop finds what one without it finds."""
    scores = model.item_factors @ vector
    bound = blocks.bounds(model.item_norms, vector)[0]
    found = ranking.rank(lambda start, stop: scores[start:stop].copy(), bound, len(scores), n)
    assert_ranks(found, scores, by_sorting(scores)[:n])


def test_the_scan_ends_where_no_item_can_be_better() -> None:
    """Where norms fall off, most items are never scored; where they do not, all are."""
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(1000, 4)).astype(np.float32)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    steep = flat / (1 + np.arange(1000, dtype=np.float32)[:, None])
    vector = np.ones(4, np.float32)
    assert scoring.top_n(with_items(steep), vector, 5).scanned < 100
    assert scoring.top_n(with_items(flat), vector, 900).scanned == 1000
    assert scoring.top_n(with_items(flat), np.zeros(4, np.float32), 5).scanned < 100


@given(exact_models, some_rows)
def test_item_scores_are_those_of_recommendations(model: Model, picked: list[int]) -> None:
    """One score per item asked for, in the order asked, repeats included."""
    items = rows_of(picked, model)
    found = scoring.item_scores(model, 1, items)
    assert found.tolist() == (model.item_factors @ model.user_factors[1])[items].tolist()
    assert found.dtype == np.float32


# ---------------------------------------------------------------- popularity


@given(models(seen=True), sizes, st.integers(0, 60), some_rows)
def test_popular_items_go_by_number_of_users(model: Model, n: int, offset: int, picked: list[int]) -> None:
    """Most users first, equal ones by id, excluded ones left out before the page is cut."""
    exclude = rows_of(picked, model)
    assert model.popularity is not None
    users = model.popularity.users
    order = np.lexsort((model.item_ids.values, -users))
    expected = order[~np.isin(order, exclude)][offset : offset + n].astype(np.int32)
    assert_ranks(scoring.popular(model, n, offset=offset, exclude=exclude), users.astype(np.float32), expected)


def test_without_seen_items_nothing_is_popular() -> None:
    """A model that came without interactions says so instead of guessing."""
    with pytest.raises(NoSeenItemsError, match="does not include seen items"):
        scoring.popular(arrange(make_factors(pairs=None)), 5)


# ---------------------------------------------------------------- similarity


def cosines(factors: Float32, row: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return each row's cosine with one row in float64, and which rows have a direction at all."""
    exact = factors.astype(np.float64)
    norms = np.linalg.norm(exact, axis=1)
    directed = norms > 0
    norms[~directed] = 1
    return exact @ exact[row] / (norms * norms[row]), directed


def assert_similar(found: scoring.Ranked, factors: Float32, row: int, n: int) -> None:
    """Require the n greatest cosines; rows may change places only where rounding cannot tell them apart."""
    expected, directed = cosines(factors, row)
    others = directed & (np.arange(len(factors)) != row)
    count = min(n, np.count_nonzero(others)) if directed[row] else 0
    np.testing.assert_allclose(found.scores, np.sort(expected[others])[::-1][:count], atol=2e-6)
    np.testing.assert_allclose(found.scores, expected[found.rows], atol=2e-6)
    assert others[found.rows].all()
    assert (np.abs(found.scores) <= 1).all()
    assert len(set(found.rows.tolist())) == len(found.rows)
    assert (np.diff(found.rows)[np.diff(found.scores) == 0] > 0).all()


@given(models(), st.integers(0, 10_000), sizes)
def test_similar_items_have_the_greatest_cosines(model: Model, item: int, n: int) -> None:
    """The item itself and zero vectors are left out, equal cosines go by row, and nothing leaves [-1, 1]."""
    item %= len(model.item_ids)
    assert_similar(scoring.similar_items(model, item, n), model.item_factors, item, n)


@given(models(users=150), st.integers(0, 149), sizes)
def test_similar_users_have_the_greatest_cosines(model: Model, user: int, n: int) -> None:
    """The same holds for users, whose norms are not kept."""
    assert_similar(scoring.similar_users(model, user, n), model.user_factors, user, n)


@pytest.mark.parametrize("scale", [1e-30, 1e-19, 1.0, 1e19, 1e30])
def test_similarity_does_not_depend_on_scale(scale: float) -> None:
    """Factors whose squares float32 cannot hold have a direction like any others."""
    factors = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    factors[::7] *= np.float32(scale)
    factors[3] = 0
    source = make_factors(users=50, items=50, factors=4)
    model = arrange(dataclasses.replace(source, user_factors=factors, item_factors=factors.clip(-1e10, 1e10)))
    for row in range(50):
        assert_similar(scoring.similar_users(model, row, 10), model.user_factors, row, 10)
        assert_similar(scoring.similar_items(model, row, 10), model.item_factors, row, 10)


def test_similar_users_need_no_copy_of_the_factors() -> None:
    """A query works block by block; the memory it takes is a small part of the factors' own."""
    model = arrange(make_factors(users=20_000, items=5, factors=32, pairs=None))
    tracemalloc.start()
    scoring.similar_users(model, 0, 10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < model.user_factors.nbytes / 10
