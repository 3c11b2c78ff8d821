"""Iterations that stop by themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from service.training import stopping
from service.training.als import train, try_out
from service.training.fitting import Machine
from service.training.interactions import Interactions
from service.training.plan import USUAL_ITERATIONS, Plan
from service.training.stopping import MOST_ITERATIONS, Validation, validation_of

USERS, ITEMS = 1000, 60
ONE = Machine(threads=1)


@pytest.fixture(scope="module")
def many() -> Interactions:
    """Return who had what where each user likes one third of the items, and had some more."""
    rng = np.random.default_rng(3)
    likes = np.arange(USERS)[:, None] % 3 == np.arange(ITEMS) % 3
    had = rng.random((USERS, ITEMS)) < np.where(likes, 0.5, 0.1)
    return Interactions(np.arange(USERS), np.arange(ITEMS), csr_matrix(had.astype(np.float32)))


def validation(interactions: Interactions, seed: int = 0) -> Validation:
    """Return the validation of data that is large enough for one."""
    found = validation_of(interactions, seed)
    assert found
    return found


def test_little_is_held_back(many: Interactions) -> None:
    """It is a fifth of what one user in five had; the others keep everything."""
    found = validation(many)
    assert len(found.users) == len(np.unique(found.users)) == USERS // 5
    lost = np.diff(many.weights.indptr) - np.diff(found.remaining.indptr)
    assert lost[found.users].tolist() == (np.diff(many.weights.indptr)[found.users] // 5).tolist()
    assert lost.sum() == found.held_out.nnz == lost[found.users].sum()


def test_the_seed_decides_of_whom(many: Interactions) -> None:
    """The same seed holds the same back; another does not."""
    first, again, other = (validation(many, seed).remaining.toarray() for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_many_users_are_sampled(many: Interactions, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many users there are, the validation has no more than take little time."""
    monkeypatch.setattr(stopping, "_MOST_USERS", 200)
    doubled = replace(many, weights=csr_matrix(np.vstack([many.weights.toarray()] * 2)))
    assert len(validation(doubled).users) == 200


@pytest.mark.parametrize("kept", [np.arange(USERS) < 499, np.arange(ITEMS) < 4])
def test_little_data_has_no_validation(many: Interactions, kept: np.ndarray) -> None:
    """A few users, or a few items each, say too little: then iterations are as usual."""
    few = many.weights[kept] if len(kept) == USERS else many.weights[:, kept]
    assert validation_of(replace(many, weights=few), 0) is None
    assert train(replace(many, weights=few), Plan(factors=4), machine=ONE).parameters.iterations == USUAL_ITERATIONS


def test_training_stops_by_itself(many: Interactions) -> None:
    """The iterations are those after which the validation is best, and the model says how many there were."""
    told: list[Any] = []
    model = train(many, Plan(factors=6), machine=ONE, report=lambda *step: told.append(step))
    values = [float(step[3].split()[-1]) for step in told if len(step) > 3 and step[3]]
    assert 1 <= model.parameters.iterations < MOST_ITERATIONS
    assert model.als.iterations == model.parameters.iterations == len(values) - 1
    gains = np.array(values[1:]) / values[:-1]
    assert gains[-1] <= 1.01
    assert model.parameters.iterations == USUAL_ITERATIONS or gains[-2] > 1.01
    assert told[-1][1] == told[-1][2]


def test_what_was_held_back_is_learned_in_the_end(many: Interactions, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last iteration has all pairs: an item that only validated users had has factors all the same."""
    weights = many.weights.tolil()
    weights[:, 0] = 0
    held_back = int(validation(replace(many, weights=weights.tocsr())).users[0])
    weights[held_back, 0] = 1
    found = validation(replace(many, weights=weights.tocsr()))
    hidden = replace(found, remaining=found.remaining.multiply(np.arange(ITEMS) != 0).tocsr())
    monkeypatch.setattr("service.training.als.validation_of", lambda *_: hidden)
    model = train(replace(many, weights=weights.tocsr()), Plan(factors=6), machine=ONE)
    assert np.abs(model.item_factors[0]).max() > 1e-3


def test_the_usual_iterations_are_always_done(many: Interactions, monkeypatch: pytest.MonkeyPatch) -> None:
    """However early a small validation sees no gain, there are as many iterations as without one."""
    values = iter(np.linspace(0.5, 0.1, 100))
    monkeypatch.setattr(Validation, "value", lambda *_: next(values))
    model = train(many, Plan(factors=6), machine=ONE)
    assert model.parameters.iterations == USUAL_ITERATIONS


def test_there_is_an_end(many: Interactions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every iteration is better than the one before, it ends all the same."""
    values = iter(np.linspace(0, 1, 100))
    monkeypatch.setattr(Validation, "value", lambda *_: next(values))
    assert train(many, Plan(factors=2), machine=ONE).parameters.iterations == MOST_ITERATIONS


def test_trying_out_is_training_on_what_remains(many: Interactions) -> None:
    """A trial's best value is that of a model that was trained on the rest, with as many iterations."""
    found = validation(many)
    course = try_out(found, Plan(factors=6), ONE)
    model = train(
        replace(many, weights=found.remaining), Plan(factors=6, iterations=course.best_iterations), machine=ONE
    )
    weighted = replace(found, remaining=model.weighting.apply(found.remaining))
    assert weighted.value(model.item_factors, model.parameters, 1) == pytest.approx(course.best)
