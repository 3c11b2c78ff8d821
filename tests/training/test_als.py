"""Factors from interactions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from scipy.sparse import csr_matrix

from service.errors import TrainingError
from service.model.facts import DEFAULTS, Parameters
from service.training.als import TrainedModel, discount, train
from tests.support.interactions import small_interactions

SMALL = small_interactions()


def parameters(**changes: Any) -> Parameters:
    """Return the default parameters with few factors, no discount, and some changes."""
    return msgspec.structs.replace(DEFAULTS, **{"factors": 4, "popularity_discount": 0.0, **changes})


@pytest.fixture
def model() -> TrainedModel:
    """Train on the five interactions."""
    return train(SMALL, parameters())


def test_shapes(model: TrainedModel) -> None:
    """There is one row of factors for each id."""
    assert model.user_factors.shape == (len(SMALL.user_ids), 4)
    assert model.item_factors.shape == (len(SMALL.item_ids), 4)
    assert model.user_factors.dtype == model.item_factors.dtype == np.float32


def test_the_seed_decides() -> None:
    """The same seed gives the same factors; another gives others."""
    first, again, other = (train(SMALL, parameters(seed=seed)).item_factors for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_threads_change_nothing() -> None:
    """However many threads train, the factors are the same."""
    one, two = (train(SMALL, parameters(), threads=threads).item_factors for threads in (1, 2))
    assert np.array_equal(one, two)


def test_what_was_had_scores_high() -> None:
    """The factors stand for the interactions: what a user had scores above what the user did not."""
    model = train(SMALL, parameters(factors=3, regularization=0.01, alpha=20))
    scores = model.user_factors @ model.item_factors.T
    had = SMALL.weights.toarray() > 0
    assert scores[had].min() > scores[~had].max()


def test_weights_beyond_float32() -> None:
    """Weights that ALS cannot handle are an error that says what to change."""
    heavy = replace(SMALL, weights=SMALL.weights * np.float32(1e15))
    with pytest.raises(TrainingError, match=r"the largest is 2e\+15\) need a smaller alpha than 1e\+09\.$"):
        train(heavy, parameters(alpha=1e9))


@pytest.mark.parametrize(
    ("name", "value"), [("alpha", 1e10), ("regularization", float("nan")), ("popularity_discount", -1.0)]
)
def test_parameters_that_no_server_takes(name: str, value: float) -> None:
    """Parameters that serving would reject are refused before any work."""
    with pytest.raises(TrainingError, match=f"^The parameter {name} is .*; it must be from 0 to 1e\\+09\\.$"):
        train(SMALL, parameters(**{name: value}))


@pytest.mark.parametrize("with_loss", [False, True])
def test_progress_is_told(with_loss: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Every iteration is reported, with its loss if that is wanted, and nothing is printed."""
    told: list[tuple[str, int, int, str]] = []
    train(SMALL, parameters(iterations=2), with_loss=with_loss, report=lambda *step: told.append(step))
    assert [step[:3] for step in told] == [("training", 0, 2), ("training", 1, 2), ("training", 2, 2)]
    assert [step[3].startswith("loss 0.") for step in told[1:]] == [with_loss] * 2
    assert capsys.readouterr() == ("", "")


def test_a_discount_weighs_items_by_their_users() -> None:
    """An item of four times the users weighs half as much at a power of 0.5; over all pairs the mean is 1."""
    weights = csr_matrix(np.array([[1, 1, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0]], np.float32))
    found = discount(weights, 0.5)
    assert found[1] / found[0] == pytest.approx(2)
    assert found[2] == found[1]  # of nobody, as of one
    assert np.average(found, weights=[4, 1, 0]) == pytest.approx(1)
    assert discount(weights, 0.0).tolist() == [1, 1, 1]


def test_the_discount_is_what_training_weighs_with() -> None:
    """Training with a discount is training without one on the weighted matrix."""
    discounted = train(SMALL, parameters(popularity_discount=0.5))
    weighted = csr_matrix(SMALL.weights.multiply(discounted.item_weights[None, :]), dtype=np.float32)
    by_hand = train(replace(SMALL, weights=weighted), parameters())
    np.testing.assert_array_equal(discounted.item_factors, by_hand.item_factors)
    assert not np.array_equal(discounted.item_factors, train(SMALL, parameters()).item_factors)
