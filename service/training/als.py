"""ALS training with implicit."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import numpy as np
from implicit.als import AlternatingLeastSquares
from implicit.cpu.als import AlternatingLeastSquares as CpuAls
from implicit.recommender_base import ModelFitError
from scipy.sparse import csr_matrix

from service.errors import TrainingError
from service.model.factors import Float32
from service.model.facts import DEFAULTS, Parameters
from service.model.validation.validation import LARGEST_PARAMETER
from service.training.interactions import Interactions


class Report(Protocol):
    """Callback for progress: ``done`` of ``total`` steps of a phase, such as "training", are done."""

    def __call__(self, phase: str, done: int, total: int, note: str = "", /) -> object:
        """Report progress; ``note`` is a short text about the last step."""


def silent(_phase: str, _done: int, _total: int, _note: str = "", /) -> None:
    """Ignore progress."""


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A trained ALS model, as implicit stores it, with its data and parameters; rows are those of the interactions.

    item_weights: float32 [items], multiplied with the weights of an item's pairs. seconds: of the training.
    """

    als: CpuAls
    interactions: Interactions
    parameters: Parameters
    item_weights: Float32
    seconds: float

    @property
    def user_factors(self) -> Float32:
        """Return float32 [users, factors]."""
        return np.asarray(self.als.user_factors, np.float32)

    @property
    def item_factors(self) -> Float32:
        """Return float32 [items, factors]."""
        return np.asarray(self.als.item_factors, np.float32)


def train(
    interactions: Interactions,
    parameters: Parameters = DEFAULTS,
    *,
    threads: int = 0,
    with_loss: bool = False,
    report: Report = silent,
) -> TrainedModel:
    """Factorize the weights; the same interactions and parameters give the same factors.

    The confidence that a user likes an item is ``alpha`` times its weight, and 1 without an interaction
    (Hu, Koren, Volinsky: Collaborative Filtering for Implicit Feedback Datasets, 2008). Every iteration
    solves for all users and then for all items, on the GPU if implicit finds one, else on ``threads`` threads (0: all
    cores). ``with_loss`` reports the loss of each iteration, which is slower. Raises TrainingError if the factors are
    not finite.
    """
    started = time.perf_counter()
    _prove(parameters)
    item_weights = discount(interactions.weights, parameters.popularity_discount)
    als = _als(parameters, threads, with_loss)
    try:
        als.fit(
            _weighted(interactions.weights, item_weights),
            show_progress=False,
            callback=_reporting(report, parameters.iterations),
        )
    except ModelFitError as error:
        raise TrainingError(
            f"Training produced factors that are not finite: weights this large (the largest is "
            f"{interactions.weights.max():g}) need a smaller alpha than {parameters.alpha:g}."
        ) from error
    return TrainedModel(_on_cpu(als), interactions, parameters, item_weights, time.perf_counter() - started)


def _prove(parameters: Parameters) -> None:
    """Raise TrainingError for parameters with which the model would be rejected later."""
    for name, value in msgspec.structs.asdict(parameters).items():
        if not 0 <= value <= LARGEST_PARAMETER:
            raise TrainingError(f"The parameter {name} is {value:g}; it must be from 0 to {LARGEST_PARAMETER:g}.")


def discount(weights: csr_matrix[np.float32], power: float) -> Float32:
    """Return the factors for the weights of each item's pairs: (its number of users)^-power, on average 1.

    Popular items say less about taste than rare ones; without this, the most popular items dominate the loss that ALS
    minimizes (the propensity of Yang et al., Unbiased Offline Recommender Evaluation for Missing-Not-At-Random Implicit
    Feedback, 2018, applied to training). The mean is over pairs.
    """
    users = np.bincount(weights.indices, minlength=weights.shape[1])
    powers = np.maximum(users, 1).astype(np.float64) ** -power
    return (powers / np.average(powers, weights=users)).astype(np.float32)


def _weighted(weights: csr_matrix[np.float32], item_weights: Float32) -> csr_matrix[np.float32]:
    return csr_matrix((weights.data * item_weights[weights.indices], weights.indices, weights.indptr), weights.shape)


def _als(parameters: Parameters, threads: int, with_loss: bool) -> Any:
    return AlternatingLeastSquares(
        factors=parameters.factors,
        regularization=parameters.regularization,
        alpha=parameters.alpha,
        iterations=parameters.iterations,
        random_state=parameters.seed,
        num_threads=threads,
        calculate_training_loss=with_loss,
    )


def _on_cpu(als: Any) -> CpuAls:
    return als if isinstance(als, CpuAls) else als.to_cpu()  # pragma: no cover - the second needs a GPU


def _reporting(report: Report, iterations: int) -> Callable[[int, float, float | None], None]:
    """Return the callback for implicit after each iteration."""
    report("training", 0, iterations)

    def callback(iteration: int, _seconds: float, loss: float | None = None) -> None:
        report("training", iteration + 1, iterations, "" if loss is None else f"loss {loss:.5f}")

    return callback
