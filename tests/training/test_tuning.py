"""The search for parameters."""

from __future__ import annotations

import gc
import itertools
import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
import pytest
from scipy.sparse import csr_matrix
from sqlalchemy.pool import NullPool

from service.errors import TrainingError
from service.model.facts import Evaluation
from service.training import tuning as module
from service.training.als import train, try_out
from service.training.evaluation import evaluate
from service.training.fitting import Course, Machine
from service.training.interactions import Interactions
from service.training.plan import DEFAULT, Plan
from service.training.splitting import hold_out
from service.training.stopping import MOST_ITERATIONS, Validation
from service.training.tuning import Budget, Trial, Tuning, tune

TINY = Tuning(k=5, machine=Machine(threads=1), seed=7, max_factors=8)
TASTES, USERS, ITEMS = 2, 40, 30


def two_tastes() -> Interactions:
    """Return who had what where each half of the users likes one half of the items, and little else."""
    random = np.random.default_rng(1)
    likes = np.arange(USERS)[:, None] % TASTES == np.arange(ITEMS) % TASTES
    had = random.random((USERS, ITEMS)) < np.where(likes, 0.8, 0.05)
    weights = csr_matrix(np.where(had, random.integers(1, 4, had.shape), 0).astype(np.float32))
    user_ids = np.array([f"user-{number:02d}" for number in range(USERS)])
    return Interactions(user_ids, np.arange(ITEMS), weights, rows=int(weights.nnz))


@pytest.fixture
def interactions() -> Interactions:
    """Return the interactions of two tastes."""
    return two_tastes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[Trial]:
    """Return the trials of a study that nothing interrupted, two more than the sampler chooses at random."""
    return tune(two_tastes(), tmp_path_factory.mktemp("whole") / "study.db", Budget(12), TINY)


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """Return where a study can be, and none is."""
    return tmp_path / "study.db"


def in_order(trials: list[Trial]) -> list[tuple[float, Plan]]:
    """Return what two studies that did the same have in common, in the order in which it was done."""
    return [(trial.value, trial.plan) for trial in sorted(trials, key=lambda trial: trial.number)]


def evaluation_of(interactions: Interactions, plan: Plan) -> Evaluation:
    """Train on what the splits of the tiny settings leave, and evaluate on what trials are judged by."""
    remaining, held_out = hold_out(hold_out(interactions, seed=7)[0], share=0.25, seed=7)
    model = train(remaining, plan, machine=Machine(threads=1))
    return evaluate(model.user_factors, model.item_factors, remaining.weights, held_out, k=5, threads=1)


def states(storage: Path) -> list[str]:
    """Return the states of all trials in the order of their numbers."""
    return [trial.state.name for trial in opened(storage).get_trials()]


def opened(storage: Path) -> optuna.Study:
    """Open a study as any program that uses Optuna would."""
    storages = optuna.storages.RDBStorage(f"sqlite:///{storage}", {"poolclass": NullPool})
    return optuna.load_study(study_name=None, storage=storages)


def refusal(storage: Path, difference: str) -> str:
    """Return a pattern of the sentence about a study of other data or settings."""
    name = re.escape(str(storage))
    return rf"^{name} has a study of different data or settings \({difference}\); name another --storage file\.$"


def unusable(storage: Path, reason: str) -> str:
    """Return a pattern of the sentence about a file that cannot hold a study."""
    name = re.escape(str(storage))
    what_to_do = "name another --storage file, in a writable directory"
    return rf"^{name} cannot hold a study \({reason}\); {what_to_do}\.$"


def failing(monkeypatch: pytest.MonkeyPatch, fails: Callable[[int], bool]) -> list[Plan]:
    """Let training number i, from 0, find its factors not finite where ``fails(i)``; return what was trained with."""
    trained: list[Plan] = []

    def try_or_fail(validation: Validation, plan: Plan, *rest: Any) -> Course:
        trained.append(plan)
        if fails(len(trained) - 1):
            raise TrainingError("Training gave factors that are not finite.")
        return try_out(validation, plan, *rest)

    monkeypatch.setattr(module, "try_out", try_or_fail)
    return trained


class TestSearching:
    """What is found."""

    def test_the_best_is_first(self, interactions: Interactions, whole: list[Trial]) -> None:
        """All finished trials are returned by their value, and the best knows a taste better than popularity does."""
        values = [trial.value for trial in whole]
        assert values == sorted(values, reverse=True)
        assert sorted(trial.number for trial in whole) == list(range(12))
        assert all(trial.seconds > 0 for trial in whole)
        assert values[0] > 1.5 * evaluation_of(interactions, whole[0].plan).popular.ndcg

    def test_defaults_come_first(self, interactions: Interactions, storage: Path) -> None:
        """The first trial has the defaults, as far as max_factors allows; what is chosen is at least as good."""
        trials = tune(interactions, storage, Budget(3), TINY)
        first = next(trial for trial in trials if trial.number == 0)
        assert replace(first.plan, iterations=None) == replace(DEFAULT, factors=8, seed=7)
        assert trials[0].value >= first.value

    @pytest.mark.parametrize("metric", ["ndcg", "recall", "precision", "map"])
    def test_the_value_is_that_of_an_evaluation(
        self, interactions: Interactions, storage: Path, metric: Literal["ndcg", "recall", "precision", "map"]
    ) -> None:
        """A value is what evaluating a model of these parameters, trained on what was not held out, gives."""
        (trial,) = tune(interactions, storage, Budget(1), replace(TINY, metric=metric))
        assert trial.value == getattr(evaluation_of(interactions, trial.plan).als, metric)

    @pytest.mark.parametrize(("max_factors", "fewest"), [(1, 1), (8, 8), (16, 16), (40, 16)])
    def test_the_space(self, interactions: Interactions, storage: Path, max_factors: int, fewest: int) -> None:
        """Parameters stay in their ranges, and those of one seed differ from trial to trial."""
        trials = tune(interactions, storage, Budget(4), replace(TINY, max_factors=max_factors))
        for trial in trials:
            found = trial.plan
            assert fewest <= found.factors <= max_factors
            assert 0.03 <= found.regularization_constant <= 3
            assert 0 <= found.popularity_discount <= 0.8
            assert 0 <= found.activity_discount <= 0.8
            assert found.iterations
            assert 1 <= found.iterations <= MOST_ITERATIONS
            assert found.seed == 7
        assert len({trial.plan.regularization_constant for trial in trials}) == 4

    def test_the_same_again(self, interactions: Interactions, storage: Path, whole: list[Trial]) -> None:
        """The same data and settings give the same trials."""
        assert in_order(tune(interactions, storage, Budget(3), TINY)) == in_order(whole)[:3]

    def test_another_seed(self, interactions: Interactions, storage: Path, whole: list[Trial]) -> None:
        """Another seed gives others, after the defaults and the large model that every search begins with."""
        others = tune(interactions, storage, Budget(3), replace(TINY, seed=8))
        ours, theirs = ({trial.plan.regularization_constant for trial in trials} for trials in (whole, others))
        assert ours & theirs == {0.3, 0.45}

    def test_progress(self, interactions: Interactions, storage: Path) -> None:
        """Each finished trial is told with the best value so far; before the first there is none."""
        told: list[tuple[object, ...]] = []
        trials = tune(interactions, storage, Budget(3), TINY, report=lambda *step: told.append(step))
        in_order = [trial.value for trial in sorted(trials, key=lambda trial: trial.number)]
        notes = ["", *(f"best ndcg@5 {best:.4f}" for best in itertools.accumulate(in_order, max))]
        assert told == [("tuning", done, 3, note) for done, note in enumerate(notes)]


class TestBudget:
    """When the search ends."""

    def test_a_full_study_is_only_read(self, interactions: Interactions, storage: Path) -> None:
        """Where the study has all its trials, or more, nothing is trained and no byte of it changes."""
        trials = tune(interactions, storage, Budget(3), TINY)
        before = storage.read_bytes()
        told: list[tuple[object, ...]] = []
        for wanted in (3, 2):
            assert tune(interactions, storage, Budget(wanted), TINY, report=lambda *step: told.append(step)) == trials
        assert storage.read_bytes() == before
        assert [step[1:3] for step in told] == [(3, 3), (2, 2)]

    def test_time_is_up(self, interactions: Interactions, storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """No trial begins after the seconds are over, and the one that has begun is finished."""
        clock = itertools.count()
        monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
        # Looked at when tuning begins (0) and before each trial (1, 2, 3).
        assert len(tune(interactions, storage, Budget(9, seconds=2.5), TINY)) == 2

    def test_no_time(self, interactions: Interactions, storage: Path) -> None:
        """Where there is no time for one trial there is no result, and no error."""
        assert tune(interactions, storage, Budget(9, seconds=0), TINY) == []

    def test_enough_time(self, interactions: Interactions, storage: Path) -> None:
        """Where trials are fewer than the seconds allow, they are the limit."""
        assert len(tune(interactions, storage, Budget(2, seconds=3600), TINY)) == 2


class TestGoingOn:
    """A study that was interrupted."""

    def test_as_if_nothing_had_happened(self, interactions: Interactions, storage: Path, whole: list[Trial]) -> None:
        """The same command after an interruption makes the very trials that were still to be made."""
        for trials in (1, 3, 11, 12):
            assert in_order(tune(interactions, storage, Budget(trials), TINY)) == in_order(whole)[:trials]

    @pytest.mark.parametrize("finished", [0, 2])
    def test_ctrl_c(
        self,
        interactions: Interactions,
        storage: Path,
        whole: list[Trial],
        finished: int,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Ctrl+C during a trial ends the program; what was finished stays, and that trial is made again."""

        def interrupt(trained: int) -> bool:
            if trained == finished:
                raise KeyboardInterrupt
            return False

        with monkeypatch.context() as patch:
            failing(patch, interrupt)
            with pytest.raises(KeyboardInterrupt):
                tune(interactions, storage, Budget(4), TINY)
        assert states(storage) == ["COMPLETE"] * finished + ["RUNNING"]
        assert in_order(tune(interactions, storage, Budget(4), TINY)) == in_order(whole)[:4]

    def test_a_killed_process(self, interactions: Interactions, storage: Path, whole: list[Trial]) -> None:
        """A trial that was running when its process was killed does not count, and the sampler does not avoid it."""
        tune(interactions, storage, Budget(11), TINY)
        opened(storage).ask({**module._space(TINY.max_factors)})
        assert in_order(tune(interactions, storage, Budget(12), TINY)) == in_order(whole)
        assert [state == "FAIL" for state in states(storage)] == [False] * 11 + [True, False]

    def test_killed_before_the_first_trial(self, interactions: Interactions, storage: Path) -> None:
        """Whatever the moment of a kill before the first trial, the defaults are tried, once."""
        tune(interactions, storage, Budget(9, seconds=0), TINY)
        opened(storage).enqueue_trial(module._starts(TINY.max_factors)[0])
        trials = tune(interactions, storage, Budget(3), TINY)
        assert [trial.plan.regularization_constant for trial in trials].count(0.3) == 1
        assert states(storage) == ["COMPLETE"] * 3


class TestFailures:
    """Parameters that give no model."""

    def test_a_failed_trial_is_left_out(
        self, interactions: Interactions, storage: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A trial whose factors are not finite is neither returned nor counted, and others are tried instead."""
        trained = failing(monkeypatch, lambda number: number in (0, 2))
        trials = tune(interactions, storage, Budget(3), TINY)
        assert sorted(trial.number for trial in trials) == [1, 3, 4]
        assert states(storage) == ["FAIL", "COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
        assert len({plan.regularization_constant for plan in trained}) == 5

    def test_failures_are_not_forever(
        self, interactions: Interactions, storage: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After five failures in a row tuning fails too; those that others come between do not add up."""
        failing(monkeypatch, lambda number: number != 4)
        message = r"^5 trials in a row failed, the last with: Training gave factors that are not finite\.$"
        with pytest.raises(TrainingError, match=message):
            tune(interactions, storage, Budget(3), TINY)
        assert states(storage) == ["FAIL"] * 4 + ["COMPLETE"] + ["FAIL"] * 5

    def test_nothing_to_hold_out(self, storage: Path) -> None:
        """Data of which nothing can be held out is refused in the words of the split."""
        few = Interactions(np.arange(2), np.arange(2), csr_matrix(np.eye(2, dtype=np.float32)), rows=2)
        with pytest.raises(TrainingError, match=r"^Nothing can be held out: "):
            tune(few, storage, Budget(1), TINY)


class TestStorage:
    """The file that a study is in."""

    @pytest.mark.parametrize(
        ("changed", "difference"),
        [
            ({"metric": "map"}, "metric was ndcg and is now map"),
            ({"k": 6}, "k was 5 and is now 6"),
            ({"seed": 8}, "split was [0-9a-f]{12} and is now [0-9a-f]{12}, seed was 7 and is now 8"),
            ({"max_factors": 9}, "max_factors was 8 and is now 9"),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
    )
    def test_other_settings(
        self, interactions: Interactions, storage: Path, changed: dict[str, Any], difference: str
    ) -> None:
        """A study with different settings is refused, with the differences, and is not changed."""
        tune(interactions, storage, Budget(1), TINY)
        before = storage.read_bytes()
        with pytest.raises(TrainingError, match=refusal(storage, difference)):
            tune(interactions, storage, Budget(1), replace(TINY, **changed))
        assert storage.read_bytes() == before

    def test_other_data(self, interactions: Interactions, storage: Path) -> None:
        """A study of other data is refused, though it may have as many of everything."""
        tune(interactions, storage, Budget(1), TINY)
        ids = np.arange(ITEMS) + 1
        with pytest.raises(TrainingError, match=refusal(storage, "data was [0-9a-f]{12} and is now [0-9a-f]{12}")):
            tune(replace(interactions, item_ids=ids), storage, Budget(1), TINY)
        with pytest.raises(TrainingError, match=f"rows was {interactions.rows} and is now 5"):
            tune(replace(interactions, rows=5), storage, Budget(1), TINY)

    def test_other_times(self, interactions: Interactions, storage: Path) -> None:
        """The times decide what is held out, so with others the values could not be compared."""
        tune(interactions, storage, Budget(1), TINY)
        times = np.arange(interactions.weights.nnz, dtype=np.float64)
        with pytest.raises(TrainingError, match=refusal(storage, "split was [0-9a-f]{12} and is now [0-9a-f]{12}")):
            tune(replace(interactions, first_met=times), storage, Budget(1), TINY)

    def test_threads_may_change(self, interactions: Interactions, storage: Path) -> None:
        """A study may go on with other threads: they change no value."""
        tune(interactions, storage, Budget(1), TINY)
        assert len(tune(interactions, storage, Budget(2), replace(TINY, machine=Machine(threads=2)))) == 2

    def test_a_study_of_something_else(self, interactions: Interactions, storage: Path) -> None:
        """Trials that were not made here are not taken for ours, whatever their study is called."""
        tune(interactions, storage, Budget(9, seconds=0), TINY)
        study = opened(storage)
        study.set_user_attr("fingerprint", {})
        study.ask()
        with pytest.raises(TrainingError, match=r"\(rows was unknown and is now \d+, pairs was unknown and is now"):
            tune(interactions, storage, Budget(1), TINY)

    def test_another_database(self, interactions: Interactions, storage: Path) -> None:
        """No tables are added to another program's database."""
        with closing(sqlite3.connect(storage)) as connection:
            connection.execute("CREATE TABLE bookmarks (address TEXT)")
        before = storage.read_bytes()
        message = f"^{re.escape(str(storage))} is another program's database; name another --storage file\\.$"
        with pytest.raises(TrainingError, match=message):
            tune(interactions, storage, Budget(1), TINY)
        assert storage.read_bytes() == before

    def test_another_optuna(self, interactions: Interactions, storage: Path) -> None:
        """A study whose tables are those of another Optuna is refused in one sentence."""
        tune(interactions, storage, Budget(1), TINY)
        with closing(sqlite3.connect(storage)) as connection, connection:
            connection.execute("UPDATE alembic_version SET version_num = 'v0.9.0.a'")
        message = f"^{re.escape(str(storage))} was made by another version of Optuna; name another --storage file\\.$"
        with pytest.raises(TrainingError, match=message):
            tune(interactions, storage, Budget(1), TINY)

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("notes.txt", "file is not a database"),
            ("missing/study.db", "unable to open database file"),
            ("notes.txt/study.db", "unable to open database file"),
            (".", "unable to open database file"),
        ],
    )
    def test_a_file_that_cannot_be_one(
        self, interactions: Interactions, tmp_path: Path, name: str, reason: str
    ) -> None:
        """Where there cannot be a study, one sentence says why and what to do, and nothing is overwritten."""
        notes = tmp_path / "notes.txt"
        notes.write_text("Remember the milk, the bread and whatever else there is in a shop. " * 20)
        storage = tmp_path / name
        with pytest.raises(TrainingError, match=unusable(storage, reason)):
            tune(interactions, storage, Budget(1), TINY)
        assert notes.read_text().startswith("Remember the milk")
        assert list(tmp_path.iterdir()) == [notes]

    def test_a_file_that_breaks_meanwhile(self, interactions: Interactions, storage: Path) -> None:
        """What happens to the file while trials are made is one sentence too."""

        def break_it(_phase: str, done: int, _total: int, _note: str = "", /) -> None:
            if done:
                storage.write_text("gone" * 2000)

        with pytest.raises(TrainingError, match=unusable(storage, "file is not a database")):
            tune(interactions, storage, Budget(3), TINY, report=break_it)

    def test_any_name(self, interactions: Interactions, tmp_path: Path) -> None:
        """A file's name may have what means something in a URL."""
        storage = tmp_path / "100%25 ?what=#1.db"
        tune(interactions, storage, Budget(1), TINY)
        assert list(tmp_path.iterdir()) == [storage]

    def test_nothing_stays_open(self, interactions: Interactions, storage: Path) -> None:
        """When tuning is over the file is closed, and nothing of it is left to the garbage collector."""
        tune(interactions, storage, Budget(2), TINY)
        links = (Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd"))  # noqa: PTH208 - it is its own
        assert storage not in [link.resolve() for link in links]
        gc.collect()

    def test_nothing_is_printed(self, storage: Path) -> None:
        """Tuning prints nothing but our own output, not even warnings."""
        program = (
            "import sys; from pathlib import Path; from tests.training.test_tuning import *;"
            "tune(two_tastes(), Path(sys.argv[1]), Budget(1), TINY)"
        )
        command = [sys.executable, "-W", "always", "-c", program, str(storage)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True)
        assert (printed.stdout, printed.stderr) == ("", "")


class TestWithoutOptuna:
    """An installation without the extra."""

    def test_it_is_asked_for(self, interactions: Interactions, storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Tuning says what to install, and touches nothing."""
        monkeypatch.setitem(sys.modules, "optuna", None)
        advice = r"run \.venv/bin/pip install --editable '\.\[tune\]' in your checkout\.$"
        message = rf"^Tuning needs Optuna, which is not installed; {advice}"
        with pytest.raises(TrainingError, match=message):
            tune(interactions, storage, Budget(1), TINY)
        assert not storage.exists()

    def test_nobody_else_misses_it(self) -> None:
        """The module, whose settings the command line shows, is imported without Optuna."""
        program = "import sys; sys.modules['optuna'] = None; import service.training.tuning"
        subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)
