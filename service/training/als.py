"""ALS training with implicit."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from implicit.cpu.als import AlternatingLeastSquares as CpuAls
from implicit.recommender_base import ModelFitError
from scipy.sparse import csr_matrix

from service.errors import TrainingError
from service.model.factors import Float32
from service.model.facts import Parameters
from service.model.validation.validation import LARGEST_PARAMETER
from service.training.fitting import (
    Course,
    Machine,
    Report,
    iterate,
    iterate_while_better,
    new_als,
    on_cpu,
    silent,
    validated,
)
from service.training.interactions import Interactions
from service.training.plan import DEFAULT, Plan
from service.training.stopping import Validation, validation_of
from service.training.user_step import exact_users
from service.training.weighting import Weighting, weighting


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A trained ALS model, as implicit stores it, with its data and parameters; rows are those of the interactions.

    weighting: what pairs weighed in training. seconds: of the training.
    """

    als: CpuAls
    interactions: Interactions
    parameters: Parameters
    weighting: Weighting
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
    plan: Plan = DEFAULT,
    *,
    machine: Machine = Machine(),
    with_loss: bool = False,
    report: Report = silent,
) -> TrainedModel:
    """Factorize the weights; the same interactions and plan give the same factors.

    The confidence that a user likes an item is ``alpha`` times its weight, and 1 without an interaction
    (Hu, Koren, Volinsky: Collaborative Filtering for Implicit Feedback Datasets, 2008). Every iteration
    solves for all users and then for all items; a last step solves for all users exactly, so that a user's own items
    fold in to the user's factors. ``with_loss`` reports the loss of each iteration if the plan has their number, which
    is slower. Raises TrainingError if the factors are not finite.
    """
    started = time.perf_counter()
    parameters = plan.parameters(interactions.weights)
    _prove(parameters)
    weighed_by = weighting(interactions.weights, plan)
    weighted = replace(interactions, weights=weighed_by.apply(interactions.weights))
    als = new_als(parameters, machine, with_loss=with_loss)
    try:
        validation = validation_of(weighted, plan.seed) if plan.iterations is None else None
        iterations = (
            iterate(als, weighted.weights, report)
            if validation is None
            else iterate_while_better(als, weighted.weights, validation, parameters, machine, report)
        )
    except ModelFitError as error:
        raise _not_finite(interactions.weights, parameters) from error
    fitted = on_cpu(als)
    confidence = weighted.weights * np.float32(parameters.alpha)
    fitted.user_factors = exact_users(confidence, fitted.item_factors, parameters.regularization)
    report("training", iterations + 1, iterations + 1)
    found = msgspec.structs.replace(parameters, iterations=iterations)
    return TrainedModel(fitted, interactions, found, weighed_by, time.perf_counter() - started)


def try_out(
    validation: Validation,
    plan: Plan,
    machine: Machine = Machine(),
    on_iteration: Callable[[int, float], object] = lambda _done, _value: None,
) -> Course:
    """Train on what a validation leaves while the result improves, and return the course of the validation.

    The validation has the weights of the data. Raises TrainingError as :func:`train` does.
    """
    parameters = plan.parameters(validation.remaining)
    _prove(parameters)
    weighted = weighting(validation.remaining, plan).apply(validation.remaining)
    als = new_als(parameters, machine, with_loss=False)
    try:
        return validated(als, replace(validation, remaining=weighted), parameters, machine, on_iteration)
    except ModelFitError as error:
        raise _not_finite(validation.remaining, parameters) from error


def _not_finite(weights: csr_matrix[np.float32], parameters: Parameters) -> TrainingError:
    return TrainingError(
        f"Training produced factors that are not finite: weights this large (the largest is {weights.max():g}) need a "
        f"smaller alpha than {parameters.alpha:g}."
    )


def _prove(parameters: Parameters) -> None:
    """Raise TrainingError for parameters with which the model would be rejected later."""
    for name, value in msgspec.structs.asdict(parameters).items():
        most = 1 if name == "activity_discount" else LARGEST_PARAMETER
        if not 0 <= value <= most:
            raise TrainingError(f"The parameter {name} is {value:g}; it must be from 0 to {most:g}.")
