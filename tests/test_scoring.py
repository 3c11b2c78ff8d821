from __future__ import annotations

import dataclasses
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from service.errors import NoSeenItemsError
from service.model import ranking, scoring
from service.model.factors import Float32, Int32, Seen
from service.model.ordering import Model, arrange
from tests.models import make_factors

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
    assert found.rows.dtype == np.int32
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
    bound = scoring._cauchy_schwarz(model, vector)
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
    bound = scoring._cauchy_schwarz(model, vector)
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


def test_without_seen_items_nothing_is_popular_or_explained() -> None:
    """A model that came without interactions says so instead of guessing."""
    model = arrange(make_factors(pairs=None))
    with pytest.raises(NoSeenItemsError, match="does not carry what users already had"):
        scoring.popular(model, 5)
    with pytest.raises(NoSeenItemsError, match="does not carry what users already had"):
        scoring.explain(model, 0, 0, 5)


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


# ---------------------------------------------------------------- folding in and explaining


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
    """Return one user's row as implicit takes it."""
    return csr_matrix((weights, items, [0, len(items)]), shape=(1, len(model.item_ids)))


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
    assert not scoring.fold_in(model, ranking.NO_ROWS, ranking.NO_SCORES).any()
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


def test_a_user_without_items_has_no_explanation() -> None:
    """Nothing seen gives an empty answer."""
    model = arrange(make_factors(pairs=0))
    assert_ranks(scoring.explain(model, 0, 0, 5), ranking.NO_SCORES, ranking.NO_ROWS)
