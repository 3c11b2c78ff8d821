"""implicit's ALS, run iteration by iteration, on a GPU or not."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import implicit.gpu
import numpy as np
from implicit.als import AlternatingLeastSquares
from implicit.cpu.als import AlternatingLeastSquares as CpuAls
from implicit.recommender_base import ModelFitError
from scipy.sparse import csr_matrix

from service.errors import TrainingError
from service.model.factors import Float32
from service.model.facts import Parameters
from service.training.plan import USUAL_ITERATIONS
from service.training.stopping import MOST_ITERATIONS, Validation

#: An iteration improves if it is better by a hundredth; below that are noise and overfitting.
_LEAST_GAIN = 1.01

#: "auto" takes a GPU where implicit finds one.
Gpu: TypeAlias = Literal["auto", "on", "off"]


class Report(Protocol):
    """Receives, now and then, that ``done`` of ``total`` steps of a phase, such as "training", are done."""

    def __call__(self, phase: str, done: int, total: int, note: str = "", /) -> object:
        """Report progress; ``note`` describes the last step for people."""


def silent(_phase: str, _done: int, _total: int, _note: str = "", /) -> None:
    """Ignore progress."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What to train on. threads: of the CPU, 0 takes all cores."""

    threads: int = 0
    gpu: Gpu = "auto"


def new_als(parameters: Parameters, machine: Machine, *, with_loss: bool) -> Any:
    """Return implicit's model, not yet fitted. Raises TrainingError if a GPU is wanted and cannot be used."""
    if machine.gpu == "on" and not implicit.gpu.HAS_CUDA:
        raise TrainingError("There is no GPU that implicit can use; train with --gpu auto or --gpu off.")
    try:
        return AlternatingLeastSquares(
            factors=parameters.factors,
            regularization=parameters.regularization,
            alpha=parameters.alpha,
            iterations=parameters.iterations,
            random_state=parameters.seed,
            num_threads=machine.threads,
            calculate_training_loss=with_loss,
            use_gpu=implicit.gpu.HAS_CUDA and machine.gpu != "off",
        )
    except ValueError as error:  # implicit lacks another package for its GPU code
        raise TrainingError(f"The GPU cannot be used: {str(error).rstrip('.')}; train with --gpu off.") from error


def on_cpu(als: Any) -> CpuAls:
    """Return a fitted model as one of the CPU."""
    return als if isinstance(als, CpuAls) else als.to_cpu()


def iterate(als: Any, weights: csr_matrix[np.float32], report: Report) -> int:
    """Do the model's iterations, and return their number. Raises ModelFitError."""
    total = als.iterations + 1  # the last step is not implicit's
    report("training", 0, total)

    def callback(iteration: int, _seconds: float, loss: float | None = None) -> None:
        report("training", iteration + 1, total, "" if loss is None else f"loss {loss:.5f}")

    als.fit(weights, show_progress=False, callback=callback)
    _finite_items(als)
    return int(als.iterations)


def iterate_while_better(
    als: Any,
    weights: csr_matrix[np.float32],
    validation: Validation,
    parameters: Parameters,
    machine: Machine,
    report: Report,
) -> int:
    """Do as many iterations as the validation finds best, the last of them on all pairs, and return their number.

    The others know nothing of what is held back, which is little, and the last makes up for it. Raises ModelFitError.
    """
    report("training", 0, _expected(0))

    def on_iteration(done: int, value: float) -> None:
        report("training", done, _expected(done), f"validation {validation.metric} {value:.4f}")

    course = validated(als, validation, parameters, machine, on_iteration)
    als.item_factors = _as_its_own(als, course.before_best)
    als.iterations = 1
    als.fit(weights, show_progress=False)
    _finite_items(als)
    als.iterations = course.best_iterations
    return course.best_iterations


def validated(
    als: Any,
    validation: Validation,
    parameters: Parameters,
    machine: Machine,
    on_iteration: Callable[[int, float], object],
) -> Course:
    """Do iterations on what the validation leaves, until one hardly improves, but at least the usual ones.

    on_iteration: receives how many were done and what the last was worth; if it raises, the iterations end. Raises
    ModelFitError.
    """
    course = Course()

    def callback(iteration: int, _seconds: float, _loss: float | None = None) -> None:
        items = _finite_items(als)
        value = validation.value(items, parameters, machine.threads)
        on_iteration(iteration + 1, value)
        course.take(items, value)

    als.iterations = MOST_ITERATIONS
    with suppress(_NoBetter):
        als.fit(validation.remaining, show_progress=False, callback=callback)
    return course


class _NoBetter(Exception):  # noqa: N818 - not an error, but the only way out of implicit's loop
    """Ends the iterations."""


class Course:
    """How a validation went: the best value, after how many iterations, and the item factors one iteration before.

    before_best: float32 [items, factors]; None where the best iteration was the first.
    """

    def __init__(self) -> None:
        self.best = -1.0
        self.best_iterations = 0
        self.before_best: Float32 | None = None
        self._iterations = 0
        self._last: Float32 | None = None

    def take(self, items: Float32, value: float) -> None:
        """Note the result of an iteration. Raises _NoBetter if it hardly improves, beyond the usual iterations."""
        self._iterations += 1
        if self._iterations > USUAL_ITERATIONS and value <= self.best * _LEAST_GAIN:
            raise _NoBetter
        self.before_best, self.best_iterations, self.best = self._last, self._iterations, value
        self._last = items.copy()  # implicit works in place


def _expected(done: int) -> int:
    """Return how many steps there will be: one iteration too many, one on all pairs, and the exact last step."""
    return max(done, USUAL_ITERATIONS + 1) + 2


def _finite_items(als: Any) -> Float32:
    """Return the item factors, float32 [items, factors]. Raises ModelFitError."""
    items: Float32 = np.asarray(
        als.item_factors if isinstance(als, CpuAls) else als.item_factors.to_numpy(), np.float32
    )
    if not np.isfinite(items).all():
        raise ModelFitError("item factors are not finite")
    return items


def _as_its_own(als: Any, items: Float32 | None) -> Any:
    """Return item factors as the model holds them."""
    return items if items is None or isinstance(als, CpuAls) else implicit.gpu.Matrix(items)
