"""Search the parameters of ALS for those whose rankings are best, with Optuna's TPE, in a study that can go on later.

A study is one SQLite file. Whatever ends the program, the trials that were finished are in it, and the same command
goes on with the very trials that it would have made without the interruption.
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
# Before these there is too little to model; the first of them has the defaults.
_RANDOM_TRIALS = 8
#: A trial goes on after so many iterations only where it is better by then than half of the others were.
_UNPRUNED = 2
#: Trials are judged by no more users, drawn at random.
_MOST_USERS = 5000
#: What trials are judged by is a quarter of four fifths, as much as what they never see.
_SHARE_OF_REST = 0.25


@dataclass(frozen=True, slots=True)
class Budget:
    """When to stop: the study has this many finished trials, those of earlier runs included, or time is up.

    seconds: of this run; no new trial begins after them, and one that has begun is finished.
    """

    trials: int
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Tuning:
    """What is best, and among what: ``metric`` is that of ALS at ``k``, see :mod:`service.training.evaluation`.

    machine: what to train on. seed: of the splits, the search and the training. max_factors: at least 1.
    """

    metric: Literal["ndcg", "recall", "precision", "map"] = "ndcg"
    k: int = TOP_K
    machine: Machine = Machine()  # noqa: RUF009 - it is frozen
    seed: int = 0
    max_factors: int = MOST_FACTORS


@dataclass(frozen=True, slots=True)
class Trial:
    """What a plan was worth: ``value`` is the metric, from 0 to 1; ``seconds`` are of training and evaluation."""

    number: int
    value: float
    plan: Plan
    seconds: float


def tune(
    interactions: Interactions, storage: Path, budget: Budget, tuning: Tuning, *, report: Report = silent
) -> list[Trial]:
    """Return the finished trials of the study in ``storage``, best first, after as many more as the budget allows.

    :func:`hold_out` is used twice: its first part no trial sees, so that the best can be judged by it as
    :meth:`~service.training.recipe.Recipe.evaluate` does; by the second trials are judged, each after every iteration
    until one is no better. The first trial has the defaults, as far as ``max_factors`` allows.
    There is none where time was up before. A study has one process at a time: whatever trial another one is at counts
    as interrupted, and is made again. Raises TrainingError where Optuna is not installed, the storage cannot be used or
    holds a study of other data or settings, nothing can be held out, or one trial after the other fails.
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
    """A study and what its trials are made of."""

    study: Study
    validation: Validation
    tuning: Tuning

    def run(self, budget: Budget, deadline: float, report: Report) -> None:
        """Make trials while there is budget; the deadline is one of the monotonic clock."""
        failures = 0
        self._tell(budget, report)
        while len(self.finished()) < budget.trials and time.monotonic() < deadline:
            failure = self._make_trial()
            failures = 0 if failure is None else failures + 1
            if failures == _MOST_FAILURES:
                raise TrainingError(f"{failures} trials in a row failed, the last with: {failure}") from failure
            self._tell(budget, report)

    def finished(self) -> list[Trial]:
        """Return the finished trials, best first, the earlier of equals first."""
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
        """Let the sampler choose, train and evaluate; return what went wrong, if anything did."""
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
        """Return the next trial, its parameters chosen.

        Each has a sampler of its own, seeded by the trial's place in a study that was never interrupted: one sampler
        would begin anew with every run, and propose again what it did at first.
        """
        from optuna.pruners import MedianPruner
        from optuna.samplers import TPESampler

        space: dict[str, BaseDistribution] = {**_space(self.tuning.max_factors)}
        place = sum(trial.value is not None or _FAILURE in trial.user_attrs for trial in _trials(self.study))
        seed = np.random.SeedSequence((self.tuning.seed, place)).generate_state(1)
        self.study.sampler = TPESampler(seed=int(seed[0]), n_startup_trials=_RANDOM_TRIALS, multivariate=True)
        # Of all pruners this one looks at finished trials alone, so that an interruption changes nothing.
        self.study.pruner = MedianPruner(n_startup_trials=_RANDOM_TRIALS, n_warmup_steps=_UNPRUNED)
        starts = _starts(self.tuning.max_factors)
        # One still waits where the process was killed between these two steps.
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
        import optuna  # noqa: F401 - only whether it is there
    except ImportError:
        raise TrainingError(
            "Tuning needs Optuna, which is not installed; run pip install '.[tune]' in a checkout."
        ) from None


def _space(max_factors: int) -> _Space:
    """Return what is searched; a logarithmic scale where a factor of two matters alike everywhere."""
    from optuna.distributions import FloatDistribution, IntDistribution

    return {
        "factors": IntDistribution(min(16, max_factors), max_factors, log=True),
        "regularization_constant": FloatDistribution(0.03, 3.0, log=True),
        "popularity_discount": FloatDistribution(0.0, 0.8),
        "activity_discount": FloatDistribution(0.0, 0.8),
    }


def _starts(max_factors: int) -> list[dict[str, float]]:
    """Return where the search begins: what in the space is nearest to the defaults, and to the best preset."""
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
    """Let no trial be running: the sampler would keep away from its parameters, taking it for another process's."""
    from optuna.trial import TrialState

    for trial in _trials(study, "RUNNING"):
        study.tell(trial.number, state=TrialState.FAIL)


def _fingerprint(interactions: Interactions, held_out: csr_matrix[np.float32], tuning: Tuning) -> dict[str, str | int]:
    """Return all that trials of one study must have in common to be comparable, by what people call it."""
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
    # How wide scipy makes indices is its own affair.
    arrays: list[NDArray[Any]] = [weights.indptr.astype(np.int64), weights.indices.astype(np.int64), weights.data, *ids]
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _claim(study: Study, storage: Path, ours: dict[str, str | int]) -> None:
    """Mark a new study as one of this data and these settings. Raises TrainingError where it is one of others."""
    if not _trials(study):
        study.set_user_attr(_FINGERPRINT, ours)
    theirs = study.user_attrs.get(_FINGERPRINT, {})
    changed = [what for what in ours if theirs.get(what) != ours[what]]
    if changed:
        told = ", ".join(
            f"{what} was {theirs.get(what, 'unknown')!s:.12} and is {ours[what]!s:.12}" for what in changed
        )
        raise TrainingError(f"{storage} holds a study of other data or settings ({told}); name another --storage file.")
