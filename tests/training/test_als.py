"""Factors from interactions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from implicit.cpu.als import AlternatingLeastSquares
from implicit.recommender_base import ModelFitError

from service.errors import TrainingError
from service.training import als, fitting
from service.training.als import TrainedModel, train
from service.training.fitting import Machine
from service.training.plan import Plan
from service.training.stopping import Validation
from service.training.weighting import weighting
from tests.support.interactions import small_interactions

SMALL = small_interactions()


def plan(**changes: Any) -> Plan:
    """Return the default plan with few factors, no discounts, and some changes."""
    return replace(Plan(factors=4, regularization=10.0, popularity_discount=0.0, activity_discount=0.0), **changes)


@pytest.fixture
def model() -> TrainedModel:
    """Train on the five interactions."""
    return train(SMALL, plan())


def test_shapes(model: TrainedModel) -> None:
    """There is one row of factors for each id."""
    assert model.user_factors.shape == (len(SMALL.user_ids), 4)
    assert model.item_factors.shape == (len(SMALL.item_ids), 4)
    assert model.user_factors.dtype == model.item_factors.dtype == np.float32


def test_the_seed_decides() -> None:
    """The same seed gives the same factors; another gives others."""
    first, again, other = (train(SMALL, plan(seed=seed)).item_factors for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_threads_change_nothing() -> None:
    """However many threads train, the factors are the same."""
    one, two = (train(SMALL, plan(), machine=Machine(threads)).item_factors for threads in (1, 2))
    assert np.array_equal(one, two)


def test_what_was_had_scores_high() -> None:
    """The factors stand for the interactions: what a user had scores above what the user did not."""
    model = train(SMALL, plan(factors=3, regularization=0.01, alpha=20))
    scores = model.user_factors @ model.item_factors.T
    had = SMALL.weights.toarray() > 0
    assert scores[had].min() > scores[~had].max()


@pytest.mark.parametrize("iterations", [2, None])
def test_factors_that_are_not_numbers(iterations: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ALS cannot work with gives no model, and the sentence says what to change; a stand-in fails for it."""

    class Overflowing(AlternatingLeastSquares):  # type: ignore[misc] # implicit has no types
        def fit(self, *given: Any, **named: Any) -> None:
            super().fit(*given, **named)
            self.item_factors[0, 0] = np.nan

    monkeypatch.setattr(fitting, "AlternatingLeastSquares", lambda **named: Overflowing(**without_gpu(named)))
    with pytest.raises(TrainingError, match=r"the largest is 2\) need a smaller alpha than 20\.$"):
        train(SMALL, plan(iterations=iterations))


def test_a_trial_whose_factors_are_not_numbers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same sentence."""

    def overflowing(*_: object) -> None:
        raise ModelFitError("item factors are not finite")

    monkeypatch.setattr(als, "validated", overflowing)
    validation = Validation(SMALL.weights, np.arange(1), SMALL.weights[:1], "ndcg", 1)
    with pytest.raises(TrainingError, match=r"the largest is 2\) need a smaller alpha than 20\.$"):
        als.try_out(validation, plan())


def without_gpu(named: dict[str, Any]) -> dict[str, Any]:
    """Return what implicit's model of the CPU takes."""
    return {name: value for name, value in named.items() if name != "use_gpu"}


def test_weights_too_small_to_serve() -> None:
    """Weights whose discounts no server would take are refused before any work."""
    tiny = replace(SMALL, weights=SMALL.weights * np.float32(1e-12))
    with pytest.raises(TrainingError, match=r"^The weights are too small \(on average 1\.3e-12\); multiply"):
        train(tiny)


@pytest.mark.parametrize(
    ("name", "value"), [("alpha", 1e10), ("regularization", float("nan")), ("popularity_discount", -1.0)]
)
def test_parameters_that_no_server_takes(name: str, value: float) -> None:
    """Parameters that serving would reject are refused before any work."""
    with pytest.raises(TrainingError, match=f"^The parameter {name} is .*; it must be from 0 to 1e\\+09\\.$"):
        train(SMALL, plan(**{name: value}))


@pytest.mark.parametrize("with_loss", [False, True])
def test_progress_is_told(with_loss: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Every iteration is reported, with its loss if that is wanted, and the last step; nothing is printed."""
    told: list[tuple[str, int, int, str]] = []
    train(SMALL, plan(iterations=2), with_loss=with_loss, report=lambda *step: told.append(step))
    assert [step[:3] for step in told] == [("training", done, 3) for done in range(4)]
    assert [step[3].startswith("loss 0.") for step in told[1:3]] == [with_loss] * 2
    assert capsys.readouterr() == ("", "")


def test_the_seed_of_a_plan_is_all_that_is_random() -> None:
    """The same plan gives the same users too."""
    first, again = (train(SMALL).user_factors for _ in range(2))
    assert np.array_equal(first, again)


def test_the_weights_are_what_training_weighs_with() -> None:
    """Training with discounts is training without them on the weighted matrix."""
    discounts = plan(popularity_discount=0.5, activity_discount=0.5)
    weighted = weighting(SMALL.weights, discounts).apply(SMALL.weights)
    by_hand = train(replace(SMALL, weights=weighted), plan())
    np.testing.assert_allclose(train(SMALL, discounts).item_factors, by_hand.item_factors, rtol=1e-5)
    assert not np.array_equal(train(SMALL, discounts).item_factors, train(SMALL, plan()).item_factors)


def test_the_size_of_weights_does_not_matter() -> None:
    """Weights ten times as large give the same factors: it is their mean that alpha is the confidence of."""
    larger = replace(SMALL, weights=SMALL.weights * np.float32(10))
    np.testing.assert_allclose(train(larger).item_factors, train(SMALL).item_factors, rtol=1e-5)
