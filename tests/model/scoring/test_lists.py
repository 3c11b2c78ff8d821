"""Lists that are scanned again have the codes of their first rows side by side; no answer differs because of that."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from service.model.arranging import arrange
from service.model.factors import Int32
from service.model.scoring import kernel, lists, scoring
from service.model.scoring.lists import Lists
from tests.support.helpers import need
from tests.support.models import make_factors

MODEL = arrange(make_factors(users=5, items=3000, factors=20, pairs=8000))


def kept(rows: Int32) -> Int32:
    """Return a list that cannot be written to."""
    rows = rows.copy()
    rows.setflags(write=False)
    return rows


def codes_of_lists() -> Lists:
    """Return the lists of the model."""
    assert MODEL.codes
    return Lists(MODEL.codes)


@pytest.fixture(autouse=True)
def _kernel() -> None:
    need(kernel.library, "The kernel was not built: install gcc, then als-serve again")


@pytest.mark.parametrize("head", [0, 1, 63, 64, 1000, 5000])
@pytest.mark.parametrize("share", [0.001, 0.3, 1.0])
def test_a_head_changes_no_bit(monkeypatch: pytest.MonkeyPatch, head: int, share: float) -> None:
    """Of any length, also one that ends within a chunk, and the second time."""
    assert MODEL.codes
    monkeypatch.setattr(lists, "_HEAD_BYTES", head * MODEL.codes.codes.shape[1])
    rows = np.flatnonzero(np.random.default_rng(0).random(3000) < share).astype(np.int32)
    again = kept(rows)
    for user in range(5):
        found = [scoring.recommend(MODEL, user, 20, eligible=each) for each in (rows, again, again)]
        assert len({(each.rows.tobytes(), each.scores.tobytes(), each.scanned) for each in found}) == 1


def test_a_list_is_kept_as_long_as_it_lives() -> None:
    """Only one that cannot be written to, because a head would not follow what is written."""
    known = codes_of_lists()
    rows = kept(np.arange(100, dtype=np.int32))
    first = known.of(rows)
    assert known.of(rows) is first
    changing = rows.copy()
    assert known.of(changing) is not known.of(changing)
    assert len(known) == 1
    del rows
    gc.collect()
    assert len(known) == 0


def test_few_lists_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that came last, so that the memory of heads is bounded."""
    monkeypatch.setattr(lists, "_MOST", 3)
    known, made = codes_of_lists(), [kept(np.arange(100 + k, dtype=np.int32)) for k in range(5)]
    found = [known.of(rows) for rows in made]
    assert len(known) == 3
    assert [known.of(rows) is head for rows, head in zip(made[2:], found[2:], strict=True)] == [True] * 3


def test_a_row_that_is_none_has_no_head() -> None:
    """It is refused by name, as it is in a list that is not kept."""
    for wrong in ([3000], [5, 2**31 - 1], [-1, 4], [5, 4000, 7]):
        with pytest.raises(IndexError):
            scoring.recommend(MODEL, 0, 5, eligible=kept(np.array(wrong, np.int32)))
