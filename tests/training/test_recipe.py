"""From files to a model file: an evaluation knows nothing of the test, and nothing is lost on the way."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from service.errors import TrainingError
from service.model.facts import DEFAULTS
from service.training.als import train
from service.training.evaluation import evaluate
from service.training.recipe import Recipe, make_model
from service.training.splitting import hold_out
from tests.support.interactions import write_interactions

FEW = msgspec.structs.replace(DEFAULTS, factors=4, iterations=3, seed=5)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """Return a recipe of one file."""
    return Recipe([write_interactions(tmp_path / "data.csv")], k=5)


def test_an_evaluation_sees_nothing_of_the_test(recipe: Recipe) -> None:
    """Its model is trained on what is not held out, and the seed decides what that is."""
    interactions = recipe.read()
    remaining, held_out = hold_out(interactions, seed=FEW.seed)
    model = train(remaining, FEW)
    by_hand = evaluate(model.user_factors, model.item_factors, remaining.weights, held_out, k=5)
    assert recipe.evaluate(interactions, FEW) == by_hand
    assert recipe.evaluate(interactions, msgspec.structs.replace(FEW, seed=6)) != by_hand


def test_all_phases_are_told(recipe: Recipe, tmp_path: Path) -> None:
    """Each comes to its end: reading, training for the evaluation, evaluating, training for the model."""
    ends: list[str] = []

    def report(phase: str, done: int, total: int, _note: str = "", /) -> None:
        if done == total:
            ends.append(phase)

    make_model(recipe, tmp_path / "m", parameters=FEW, with_evaluation=True, report=report)
    assert ends == ["reading", "training", "evaluating", "training"]


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("nowhere/m.npz", "cannot be written to .*nowhere/m.npz: there is no directory .*nowhere\\.$"),
        ("data.csv", "data.csv is not a model and would be overwritten; name another path with --model-path\\.$"),
        (".", "is not a model and would be overwritten"),
    ],
    ids=["no directory", "its own data", "a directory"],
)
def test_a_target_is_looked_at_before_the_work(recipe: Recipe, tmp_path: Path, target: str, why: str) -> None:
    """Only model files are overwritten, and a wrong path is an error before the training."""
    before = (tmp_path / "data.csv").read_bytes()
    with pytest.raises(TrainingError, match=why):
        make_model(recipe, tmp_path / target, report=never)
    assert (tmp_path / "data.csv").read_bytes() == before


def test_a_directory_that_may_not_be_written_to(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is checked before the work, too; simulated, because root may write everywhere."""
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(TrainingError, match=f"{tmp_path} is not writable\\.$"):
        make_model(recipe, tmp_path / "m.npz", report=never)


def never(*_: object) -> None:
    """Fail the test: no work is done."""
    pytest.fail("it began to work")
