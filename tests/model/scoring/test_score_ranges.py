"""Score ranges, and normalized scores."""

from __future__ import annotations

import dataclasses
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model.arranging import arrange
from service.model.factors import Seen
from service.model.model import Model
from service.model.scoring import score_ranges
from service.model.scoring.score_ranges import Range, ScoreRanges, analyse
from tests.support.models import make_factors

finite = st.floats(-1e38, 1e38)


def ranges(p1: float, p99: float) -> ScoreRanges:
    """Return score ranges of which only these percentiles matter."""
    recommendation = Range(min=p1, max=p99, mean=p1, std=0, p1=p1, p50=p1, p99=p99)
    return ScoreRanges(individual=recommendation, recommendation=recommendation, popularity=None)


def all_seen(model: Model) -> Model:
    """Return the same model, of users who had every item."""
    users, items = len(model.user_ids), len(model.item_ids)
    everything = Seen(
        indptr=np.arange(users + 1, dtype=np.int64) * items,
        items=np.tile(np.arange(items, dtype=np.int32), users),
        weights=np.ones(users * items, np.float32),
    )
    return dataclasses.replace(model, seen=everything)


def numbers(found: Range | None) -> list[float]:
    """Return all figures of a range."""
    return [] if found is None else list(found.statistics().values())


@given(finite, finite, finite)
def test_normalized_scores_lie_in_the_unit_interval(one: float, other: float, score: float) -> None:
    """Whatever the range and the score, the result is in [0, 1]; the ends of the range are 0 and 1."""
    low, high = sorted((one, other))
    made = ranges(low, high)
    assert 0 <= made.normalize(score) <= 1
    if low < high:
        assert (made.normalize(low), made.normalize(high)) == (0, 1)


@given(finite, finite, st.lists(finite, min_size=2))
def test_normalizing_keeps_the_order(one: float, other: float, unsorted: list[float]) -> None:
    """A greater score never gets the smaller result."""
    made = ranges(*sorted((one, other)))
    normalized = [made.normalize(score) for score in sorted(unsorted)]
    assert normalized == sorted(normalized)


def test_a_range_of_one_number_is_a_step() -> None:
    """Where all recommendations score alike, less is 0, alike is a half and more is 1."""
    made = ranges(2.0, 2.0)
    assert [made.normalize(score) for score in (1.9, 2.0, 2.1)] == [0, 0.5, 1]
    assert ranges(1.0, 3.0).normalize(1.5) == 0.25


@pytest.mark.parametrize("pairs", [None, 0, 200])
@pytest.mark.parametrize(("users", "items"), [(1, 1), (1, 50), (250, 30), (3, 5)])
def test_every_figure_is_a_number_and_in_order(users: int, items: int, pairs: int | None) -> None:
    """No NaN and no infinity, however small the model; min, p1, p50, p99 and max ascend."""
    found = analyse(arrange(make_factors(users=users, items=items, pairs=pairs)))
    for measured in (found.individual, found.recommendation, found.popularity):
        assert all(isinstance(number, float) and math.isfinite(number) for number in numbers(measured))
        if measured:
            ordered = [measured.min, measured.p1, measured.p50, measured.p99, measured.max]
            assert ordered == sorted(ordered)
            assert measured.min <= measured.mean <= measured.max
            assert measured.std >= 0
    assert (found.popularity is None) == (pairs is None)


def test_ranges_of_a_small_model_are_those_of_all_its_users() -> None:
    """With at most 200 users nothing is sampled: the figures are those of every user's 20 best unseen items."""
    model = arrange(make_factors(users=150, items=80, pairs=2000))
    assert model.seen is not None
    assert model.popularity is not None
    exact = (model.user_factors @ model.item_factors.T).astype(np.float64)
    for user in range(150):
        exact[user, model.seen.of(user)] = -np.inf
    best = np.sort(exact, axis=1)[:, -20:].ravel()
    expected = [best.min(), best.max(), best.mean(), best.std(), *np.percentile(best, [1, 50, 99])]
    np.testing.assert_allclose(numbers(analyse(model).recommendation), expected, rtol=1e-5)
    users = model.popularity.users
    expected = [users.min(), users.max(), users.mean(), users.std(), *np.percentile(users, [1, 50, 99])]
    np.testing.assert_allclose(numbers(analyse(model).popularity), expected)


def test_individual_scores_are_those_of_random_pairs() -> None:
    """Pairs are drawn over all users and all items, good or bad."""
    model = arrange(make_factors(users=200, items=20, pairs=None))
    exact = (model.user_factors @ model.item_factors.T).astype(np.float64)
    found = analyse(model).individual
    np.testing.assert_allclose([found.min, found.max], [exact.min(), exact.max()], rtol=1e-5)
    np.testing.assert_allclose(found.p50, np.median(exact), atol=0.05 * exact.std())


def test_users_who_had_everything_are_measured_by_what_they_had() -> None:
    """Where nothing is left to recommend, the range is that of the best items, seen or not."""
    model = arrange(make_factors())
    unseen = dataclasses.replace(model, seen=None, popularity=None)
    assert analyse(all_seen(model)).recommendation == analyse(unseen).recommendation


def test_the_same_seed_measures_the_same() -> None:
    """Two imports of one file agree to the last digit, and another seed draws others."""
    model = arrange(make_factors(users=score_ranges.SAMPLED_USERS * 5))
    assert analyse(model, seed=1) == analyse(model, seed=1) != analyse(model, seed=2)


def test_score_ranges_survive_the_manifest() -> None:
    """Written as JSON and read back, they are equal."""
    found = analyse(arrange(make_factors()))
    assert msgspec.json.decode(msgspec.json.encode(found), type=ScoreRanges) == found


def test_a_histogram_counts_every_number_once() -> None:
    """Its 40 parts reach from the least to the greatest, also where those are one."""
    model = arrange(make_factors(users=50, items=30))
    found = analyse(model)
    assert found.popularity
    assert model.popularity
    users = model.popularity.users
    assert sum(found.popularity.histogram) == len(users)
    assert found.popularity.histogram[-1] == sum(users > users.max() - (users.max() - users.min()) / 40)
    assert len(found.recommendation.histogram) == 40
    alike = dataclasses.replace(model, item_factors=np.zeros_like(model.item_factors))
    assert sum(analyse(alike).individual.histogram) == 50 * score_ranges._ITEMS_PER_USER


@given(st.lists(st.floats(-(2.0**120), 2.0**120, width=32, allow_subnormal=False), min_size=1, max_size=50))
def test_any_numbers_have_a_histogram(values: list[float]) -> None:
    """However close together or far apart they lie, each is counted once, the greatest in the last part."""
    found = score_ranges._range(values)
    assert sum(found.histogram) == len(values)
    assert found.histogram[-1] > 0 or found.min == found.max
