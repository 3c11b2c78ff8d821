"""The overlap of recommendations, against a computation by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model.arranging import arrange
from service.model.factors import Factors, Id
from service.model.model import Model
from service.model.rollout.overlap import TOP, overlap
from service.model.scoring import scoring
from tests.support.models import make_factors

#: A sample of more users than there are, which has all of them.
EVERYBODY = 1000


def top(model: Model, user: Id) -> list[str]:
    """Return a user's ten best items by sorting all scores."""
    row = model.user_ids.row(user)
    assert row is not None
    every = np.arange(len(model.item_factors), dtype=np.int32)
    seen = model.seen.of(row) if model.seen else np.empty(0, np.int32)
    scores = scoring.item_scores(model, row, every)
    best = [item for item in np.argsort(-scores, kind="stable") if item not in seen][:TOP]
    return [str(model.item_ids.of(item)) for item in best]


def renamed(factors: Factors, users: int, items: int) -> Factors:
    """Return the model with numbers as ids, from these on."""
    return dataclasses.replace(
        factors,
        user_ids=np.arange(users, users + len(factors.user_factors)),
        item_ids=np.arange(items, items + len(factors.item_factors)),
    )


sizes = st.tuples(st.integers(1, 30), st.integers(1, 25), st.integers(0, 20), st.integers(0, 15))


@given(sizes, sizes, st.integers(0, 2**20))
def test_it_equals_that_of_full_sorts(one: tuple[int, ...], other: tuple[int, ...], seed: int) -> None:
    """For every user whom both models know, the share of the longer list that is in both; and their mean."""
    models = [
        arrange(renamed(make_factors(users, items, 3, seed + number, pairs=40), *starts))
        for number, (users, items, *starts) in enumerate((one, other))
    ]
    found = overlap(models[0], models[1], users=EVERYBODY)
    expected = {}
    for user in set(models[0].user_ids.values.tolist()) & set(models[1].user_ids.values.tolist()):
        lists = [top(model, user) for model in models]
        if any(lists):
            expected[user] = len(set(lists[0]) & set(lists[1])) / max(map(len, lists))
    assert dict(zip(found.users, found.shares.tolist(), strict=True)) == pytest.approx(expected)
    assert found.mean == pytest.approx(np.mean(list(expected.values())) if expected else 0)


def test_a_model_has_all_in_common_with_itself() -> None:
    """With numbers or with text as ids."""
    for kind in ("int", "str"):
        model = arrange(make_factors(ids=kind))
        assert overlap(model, model).mean == 1


def test_ids_are_compared_as_requests_name_them() -> None:
    """The user 42 of one model is the user "42" of the other, and so are items."""
    numbers = renamed(make_factors(), 0, 0)
    texts = dataclasses.replace(numbers, user_ids=numbers.user_ids.astype("S"), item_ids=numbers.item_ids.astype("S"))
    found = overlap(arrange(numbers), arrange(texts))
    assert len(found.users) == len(numbers.user_ids)
    assert found.mean > 0.99  # equal scores are ordered by id, and 10 comes before 9 as text


def test_a_sample_is_the_same_every_time() -> None:
    """With one seed; another takes other users, and none takes more than are wanted."""
    one, other = (arrange(renamed(make_factors(400, seed=seed), 0, 0)) for seed in (1, 2))
    samples = [overlap(one, other, seed, users=50).users for seed in (0, 0, 1)]
    assert samples[0] == samples[1] != samples[2]
    assert len(samples[0]) == 50


def test_users_are_found_though_most_are_in_one_model_alone() -> None:
    """The sample comes from the smaller model, on whichever side it is."""
    large, small = arrange(renamed(make_factors(5000), 0, 0)), arrange(renamed(make_factors(20), 77, 0))
    assert len(overlap(large, small).users) == len(overlap(small, large).users) == 20


def test_no_user_in_common_is_no_overlap() -> None:
    """Nothing is divided by zero."""
    one, other = arrange(renamed(make_factors(), 0, 0)), arrange(renamed(make_factors(), 1000, 0))
    assert (overlap(one, other).users, overlap(one, other).mean) == ([], 0)


def test_it_can_be_stopped() -> None:
    """Then users are missing."""
    model = arrange(make_factors())
    assert overlap(model, model, is_stopped=lambda: True).users == []
