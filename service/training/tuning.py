"""Tuning: a search for the best parameters of ALS with Optuna's TPE, in a study that can be resumed.

A study is one SQLite file. However the program ends, finished trials are in it, and the same command continues with
exactly the trials that it would have made without the interruption.
"""

from __future__ import annotations

import hashlib
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from service.errors import TrainingError
from service.training.als import try_out
from service.training.fitting import Machine, Report, silent
from service.training.interactions import Interactions
from service.training.plan import DEFAULT, PRESETS, Plan
from service.training.recipe import TOP_K
from service.training.splitting import hold_out
from service.training.stopping import Validation
from service.training.studies import study_in

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
    from optuna.study import Study

    _Space: TypeAlias = dict[str, IntDistribution | FloatDistribution]

MOST_FACTORS = 512

_FINGERPRINT, _SECONDS, _ITERATIONS, _FAILURE = "fingerprint", "seconds", "iterations", "failure"
_MOST_FAILURES = 5
# Random trials before there is enough to model; the first has the defaults.
_RANDOM_TRIALS = 8
#: After this many iterations, a trial continues only if it beats the median of the others.
_UNPRUNED = 2
#: The most users to evaluate a trial on, drawn at random.
_MOST_USERS = 5000
#: Trials are evaluated on a quarter of four fifths of the pairs, as much as what they never see.
_SHARE_OF_REST = 0.25


@dataclass(frozen=True, slots=True)
class Budget:
    """When to stop: after this many finished trials, including those of earlier runs, or when time is up.

    seconds: of this run; no trial starts after them, but a running one is finished.
    """

    trials: int
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Tuning:
    """The objective and the search space: ``metric`` is that of ALS at ``k``, see :mod:`service.training.evaluation`.

    machine: what to train on. seed: of the splits, the search and the training. max_factors: at least 1.
    """

    metric: Literal["ndcg", "recall", "precision", "map"] = "ndcg"
    k: int = TOP_K
    machine: Machine = Machine()
    seed: int = 0
    max_factors: int = MOST_FACTORS


@dataclass(frozen=True, slots=True)
class Trial:
    """A finished trial: ``value`` is the metric, from 0 to 1; ``seconds`` are of training and evaluation."""

    number: int
    value: float
    plan: Plan
    seconds: float


def tune(
    interactions: Interactions, storage: Path, budget: Budget, tuning: Tuning, *, report: Report = silent
) -> list[Trial]:
    """Run as many trials as the budget allows; return all finished trials of the study in ``storage``, best first.

    :func:`hold_out` is used twice: no trial sees what it holds out first, which is what
    :meth:`~service.training.recipe.Recipe.evaluate` judges the best plan by. Trials are evaluated on the second part,
    after each iteration until one does not improve. The first has the defaults, as far as ``max_factors`` allows. There
    are none if time was up before. Only one process may use a study at a time: another process's running trial counts
    as interrupted and is repeated. Raises TrainingError if Optuna is not installed, the storage cannot be used or has a
    study of different data or settings, nothing can be held out, or trials keep failing.
    """
    began = time.monotonic()
    _need_optuna()
    with study_in(storage) as study:
        rest, _ = hold_out(interactions, seed=tuning.seed)
        remaining, held_out = hold_out(rest, share=_SHARE_OF_REST, seed=tuning.seed)
        _claim(study, storage, _fingerprint(interactions, held_out, tuning))
        _fail_running(study)
        search = _Search(study, _validation(remaining, held_out, tuning), tuning)
        search.run(budget, math.inf if budget.seconds is None else began + budget.seconds, report)
        return search.finished()


@dataclass(frozen=True, slots=True)
class _Search:
    """A study and the data of its trials."""

    study: Study
    validation: Validation
    tuning: Tuning

    def run(self, budget: Budget, deadline: float, report: Report) -> None:
        """Run trials within the budget; the deadline is on the monotonic clock."""
        failures = 0
        self._tell(budget, report)
        while len(self.finished()) < budget.trials and time.monotonic() < deadline:
            failure = self._make_trial()
            failures = 0 if failure is None else failures + 1
            if failures == _MOST_FAILURES:
                raise TrainingError(f"{failures} trials in a row failed, the last with: {failure}") from failure
            self._tell(budget, report)

    def finished(self) -> list[Trial]:
        """Return the finished trials, best first; of equal ones, the earlier first."""
        trials = [
            Trial(
                trial.number,
                trial.value,
                self._plan(trial.params, trial.user_attrs[_ITERATIONS]),
                trial.user_attrs[_SECONDS],
            )
            for trial in _trials(self.study)
            if trial.value is not None
        ]
        return sorted(trials, key=lambda trial: (-trial.value, trial.number))

    def _plan(self, searched: dict[str, Any], iterations: int | None = None) -> Plan:
        return Plan(**searched, iterations=iterations, seed=self.tuning.seed)

    def _tell(self, budget: Budget, report: Report) -> None:
        trials = self.finished()
        note = f"best {self.tuning.metric}@{self.tuning.k} {trials[0].value:.4f}" if trials else ""
        report("tuning", min(len(trials), budget.trials), budget.trials, note)

    def _make_trial(self) -> TrainingError | None:
        """Run one trial; return the failure, if any."""
        from optuna.trial import TrialState

        trial = self._ask()
        began = time.perf_counter()
        try:
            value = self._value(trial)
        except TrainingError as failure:
            trial.set_user_attr(_FAILURE, str(failure))
            _fail_running(self.study)
            return failure
        trial.set_user_attr(_SECONDS, time.perf_counter() - began)
        self.study.tell(trial, value, state=TrialState.PRUNED if value is None else TrialState.COMPLETE)
        return None

    def _ask(self) -> optuna.Trial:
        """Return the next trial, with its parameters chosen.

        Each trial has its own sampler, seeded by the trial's position in the study: a single sampler would start again
        with every run and repeat its first proposals.
        """
        from optuna.pruners import MedianPruner
        from optuna.samplers import TPESampler

        space: dict[str, BaseDistribution] = {**_space(self.tuning.max_factors)}
        place = sum(trial.value is not None or _FAILURE in trial.user_attrs for trial in _trials(self.study))
        seed = np.random.SeedSequence((self.tuning.seed, place)).generate_state(1)
        self.study.sampler = TPESampler(seed=int(seed[0]), n_startup_trials=_RANDOM_TRIALS, multivariate=True)
        # Unlike Hyperband, this pruner looks at finished trials only, so an interruption changes nothing.
        self.study.pruner = MedianPruner(n_startup_trials=_RANDOM_TRIALS, n_warmup_steps=_UNPRUNED)
        starts = _starts(self.tuning.max_factors)
        # A trial is still waiting if the process was killed between these two steps.
        if place < len(starts) and not _trials(self.study, "WAITING"):
            self.study.enqueue_trial(starts[place])
        return self.study.ask(space)

    def _value(self, trial: optuna.Trial) -> float | None:
        """Return what a trial is worth, None where it was given up, and note after how many iterations."""
        from optuna import TrialPruned

        def on_iteration(done: int, value: float) -> None:
            trial.report(value, done)
            if trial.should_prune():
                trial.set_user_attr(_ITERATIONS, done)
                raise TrialPruned

        try:
            course = try_out(self.validation, self._plan(trial.params), self.tuning.machine, on_iteration)
        except TrialPruned:
            return None
        trial.set_user_attr(_ITERATIONS, course.best_iterations)
        return course.best


def _validation(remaining: Interactions, held_out: csr_matrix[np.float32], tuning: Tuning) -> Validation:
    """Return what trials are judged by."""
    users = np.flatnonzero(np.diff(held_out.indptr))
    if len(users) > _MOST_USERS:
        users = np.sort(np.random.default_rng(tuning.seed).choice(users, _MOST_USERS, replace=False))
    return Validation(remaining.weights, users, held_out[users], tuning.metric, tuning.k)


def _need_optuna() -> None:
    try:
        import optuna  # noqa: F401 - only checks that it is installed
    except ImportError:
        raise TrainingError(
            "Tuning needs Optuna, which is not installed; run .venv/bin/pip install --editable '.[tune]' in your "
            "checkout."
        ) from None


def _space(max_factors: int) -> _Space:
    """Return the search space, logarithmic where a factor of two matters equally everywhere."""
    from optuna.distributions import FloatDistribution, IntDistribution

    return {
        "factors": IntDistribution(min(16, max_factors), max_factors, log=True),
        "regularization_constant": FloatDistribution(0.03, 3.0, log=True),
        "popularity_discount": FloatDistribution(0.0, 0.8),
        "activity_discount": FloatDistribution(0.0, 0.8),
    }


def _starts(max_factors: int) -> list[dict[str, float]]:
    """Return the starting points: the points of the space nearest to the defaults and to the best preset."""
    space = _space(max_factors).items()
    return [
        {name: min(max(getattr(plan, name), of.low), of.high) for name, of in space}
        for plan in (DEFAULT, PRESETS["quality"])
    ]


def _trials(study: Study, *states: str) -> list[optuna.trial.FrozenTrial]:
    """Return the trials in these states, or all."""
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=[TrialState[state] for state in states] or None)


def _fail_running(study: Study) -> None:
    """Mark running trials as failed: the sampler would take them for another process's and avoid their parameters."""
    from optuna.trial import TrialState

    for trial in _trials(study, "RUNNING"):
        study.tell(trial.number, state=TrialState.FAIL)


def _fingerprint(interactions: Interactions, held_out: csr_matrix[np.float32], tuning: Tuning) -> dict[str, str | int]:
    """Return everything that a study's trials must have in common to be comparable, with names for people."""
    weights = interactions.weights
    space = {name: (of.low, of.high, of.log) for name, of in _space(MOST_FACTORS).items()}
    return {
        "rows": interactions.rows,
        "pairs": int(weights.nnz),
        "users": len(interactions.user_ids),
        "items": len(interactions.item_ids),
        "data": _digest(weights, interactions.user_ids, interactions.item_ids),
        "split": _digest(held_out),
        "space": hashlib.sha256(repr(space).encode()).hexdigest(),
        **{name: getattr(tuning, name) for name in ("metric", "k", "seed", "max_factors")},
    }


def _digest(weights: csr_matrix[np.float32], *ids: NDArray[Any]) -> str:
    # The width of scipy's indices does not matter.
    arrays: list[NDArray[Any]] = [weights.indptr.astype(np.int64), weights.indices.astype(np.int64), weights.data, *ids]
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _claim(study: Study, storage: Path, ours: dict[str, str | int]) -> None:
    """Mark a new study with its data and settings. Raises TrainingError if an existing one has others."""
    if not _trials(study):
        study.set_user_attr(_FINGERPRINT, ours)
    theirs = study.user_attrs.get(_FINGERPRINT, {})
    changed = [what for what in ours if theirs.get(what) != ours[what]]
    if changed:
        told = ", ".join(
            f"{what} was {theirs.get(what, 'unknown')!s:.12} and is now {ours[what]!s:.12}" for what in changed
        )
        raise TrainingError(
            f"{storage} has a study of different data or settings ({told}); name another --storage file."
        )
