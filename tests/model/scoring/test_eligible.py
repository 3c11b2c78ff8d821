"""Popular and similar items among those that are eligible; for top-N, see test_scan.py."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model.arranging import arrange
from service.model.model import Model
from service.model.scoring import scoring
from service.model.scoring.ranking import Eligible, Mask, Ranked
from tests.support.models import make_factors

N = st.integers(1, 30) | st.sampled_from([100, 401])
SHARES = st.sampled_from([0.0, 0.02, 0.3, 0.7, 1.0])


@st.composite
def chosen(draw: st.DrawFn) -> tuple[Model, Mask]:
    """Draw a model, whole-numbered or not, and a mask of its items."""
    items, seed = draw(st.integers(1, 40) | st.sampled_from([400, 5000])), draw(st.integers(0, 10_000))
    model = arrange(make_factors(users=5, items=items, seed=seed, pairs=3 * items, whole=draw(st.booleans())))
    return model, np.random.default_rng(seed).random(items) < draw(SHARES)


def ways(mask: Mask) -> list[Eligible]:
    """Return the mask, and the rows that it has."""
    return [mask, np.flatnonzero(mask).astype(np.int32)]


def assert_is_part_of(found: Ranked, whole: Ranked, mask: Mask, page: slice) -> None:
    """Require the eligible rows of a ranking of all, in that order and with the same bits."""
    rows, scores = whole.rows[mask[whole.rows]], whole.scores[mask[whole.rows]]
    assert found.rows.tolist() == rows[page].tolist()
    assert found.scores.tobytes() == scores[page].tobytes()


@given(chosen(), N, st.integers(0, 50), st.lists(st.integers(0, 4999), max_size=20), st.sampled_from([0, 100, 4096]))
def test_popular_items_among_the_eligible(
    drawn: tuple[Model, Mask], n: int, offset: int, excluded: list[int], few: int
) -> None:
    """They are the eligible ones of all popular items, in that order, by a mask or a list, sorted or walked."""
    model, mask = drawn
    exclude = np.array(excluded, np.int32) % np.int32(len(mask))
    whole = scoring.popular(model, len(mask), exclude=exclude)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "_SORTED_ITEMS", few)
        for eligible in ways(mask):
            found = scoring.popular(model, n, offset=offset, exclude=exclude, eligible=eligible)
            assert_is_part_of(found, whole, mask, slice(offset, offset + n))


@pytest.mark.parametrize("few", [0, 60, 4096])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_popular_items_are_found_on_a_walk_of_any_length(
    few: int, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a list are sorted if they are few, else looked up one part after another, and then in a mask."""
    monkeypatch.setattr(scoring, "_SORTED_ITEMS", few)
    model = arrange(make_factors(users=5, items=1000, pairs=2000))
    mask, exclude = np.random.default_rng(0).random(1000) < share, np.arange(0, 20, 2, dtype=np.int32)
    whole = scoring.popular(model, 1000, exclude=exclude)
    for n in (1, 10, 300):
        for eligible in ways(mask):
            assert_is_part_of(scoring.popular(model, n, exclude=exclude, eligible=eligible), whole, mask, slice(n))


@given(chosen(), N, st.integers(0, 4999))
def test_similar_items_among_the_eligible(drawn: tuple[Model, Mask], n: int, item: int) -> None:
    """They are the eligible ones of all similar items, with the same cosines to the last bit."""
    model, mask = drawn
    item %= len(mask)
    whole = scoring.similar_items(model, item, len(mask))
    for eligible in ways(mask):
        assert_is_part_of(scoring.similar_items(model, item, n, eligible=eligible), whole, mask, slice(n))


def test_similar_items_that_only_rounding_tells_apart() -> None:
    """However BLAS rounds in blocks and gathers of any length, the answer is that of a sort by the exact sums."""
    rng = np.random.default_rng(0)
    items = (1 + 1e-7 * rng.normal(size=(3000, 48))).astype(np.float32)
    model = arrange(replace(make_factors(items=3000, factors=48), item_factors=items, user_factors=items[:40]))
    whole = scoring.similar_items(model, 7, 3000)
    for share in (0.05, 0.7, 1.0):
        mask = rng.random(3000) < share
        for n in (1, 10, 100):
            for eligible in ways(mask):
                assert_is_part_of(scoring.similar_items(model, 7, n, eligible=eligible), whole, mask, slice(n))
