"""The commands train, evaluate and tune."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from service.cli.data import show_data
from service.cli.evaluation import recipe_of, show_evaluation
from service.cli.options import parameter_options, recipe_options, settings_options
from service.errors import TrainingError
from service.model.facts import TrainingFacts

if TYPE_CHECKING:
    from service.training.plan import Plan
    from service.training.recipe import Recipe
    from service.training.tuning import Budget, Trial, Tuning

Format = Literal["npz", "pickle"]

_TRIALS_SHOWN = 10
#: Column titles of the parameters, short enough for a terminal of 80 columns.
_COLUMNS = {
    "factors": "factors",
    "regularization_constant": "constant",
    "popularity_discount": "popularity",
    "activity_discount": "activity",
    "iterations": "iter.",
}


@click.command()
@recipe_options("DATA...")
@parameter_options()
@settings_options("model_path")
@click.option(
    "--format",
    "model_format",
    type=click.Choice(["npz", "pickle"]),
    default="npz",
    show_default=True,
    help="The format of the model file.",
)
@click.option(
    "--evaluate", "with_evaluation", is_flag=True, help="First evaluate with a fifth of each user's pairs held out."
)
@click.option("--loss", "with_loss", is_flag=True, help="Show the loss of each iteration (slower).")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def train(
    model_path: Path,
    model_format: Format,
    with_evaluation: bool,
    with_loss: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Train a model on interactions and write it to the model path.

    DATA are CSV files and the like (compressed or not), Parquet files, or directories of them. The file at the model
    path is replaced atomically, so a server that watches it swaps the model in.
    """
    recipe, plan = recipe_of(values), _plan(values)
    options = {"with_evaluation": with_evaluation, "with_loss": with_loss, "as_json": as_json}
    train_model(recipe, model_path, plan, model_format, **options)


@click.command()
@recipe_options("DATA...")
@settings_options("model_path")
@click.option("--trials", type=click.IntRange(1), default=30, show_default=True, help="The total number of trials.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="Start no trial after this many minutes.")
@click.option(
    "--storage",
    type=click.Path(path_type=Path),
    default=Path("als_tuning.db"),
    show_default=True,
    help="Where to store trials; rerun the same command to continue.",
)
@click.option(
    "--metric",
    type=click.Choice(["ndcg", "recall", "precision", "map"]),
    default="ndcg",
    show_default=True,
    help="The metric to maximize.",
)
@click.option(
    "--max-factors",
    type=click.IntRange(1, 4096),
    default=512,
    show_default=True,
    help="The largest number of factors to try; more factors are slower to train and serve.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="The seed of the split, the search and the training.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def tune(model_path: Path, trials: int, minutes: float | None, storage: Path, as_json: bool, **values: Any) -> None:
    """Search for the best parameters and train with them.

    Each trial trains on three fifths of every user's pairs and is evaluated on a fifth; the best is evaluated once more
    on the last fifth, which no trial saw.
    """
    from service.training.tuning import Budget, Tuning

    recipe = recipe_of(values)
    tuning = Tuning(k=recipe.k, machine=recipe.machine, **values)
    budget = Budget(trials, None if minutes is None else 60 * minutes)
    tune_model(recipe, model_path, storage, budget, tuning, as_json=as_json)


def _plan(values: dict[str, Any]) -> Plan:
    """Return the preset with what is given otherwise."""
    from service.training.plan import PRESETS

    preset = PRESETS[values.pop("preset")]
    return replace(preset, **{name: value for name, value in values.items() if value is not None})


def train_model(
    recipe: Recipe,
    output: Path,
    plan: Plan,
    model_format: Format,
    *,
    with_evaluation: bool,
    with_loss: bool,
    as_json: bool,
    with_data: bool = True,
) -> None:
    """Train a model and print its facts, ``with_data`` also what was read before it. Raises TrainingError."""
    from service.cli.progress import bars  # imported here and below, because serving never imports training code
    from service.training.recipe import make_model

    with bars() as report:
        facts = make_model(
            recipe,
            output,
            plan=plan,
            model_format=model_format,
            with_evaluation=with_evaluation,
            with_loss=with_loss,
            report=report,
            on_read=lambda read: show_data(recipe.paths, read, as_json=as_json) if with_data else None,
        )
    if as_json:
        click.echo(msgspec.json.encode(facts))
    else:
        _show_made(facts, output)


def tune_model(recipe: Recipe, output: Path, storage: Path, budget: Budget, tuning: Tuning, *, as_json: bool) -> None:
    """Search for parameters, print the best trials and train with the best one. Raises TrainingError."""
    from service.cli.progress import bars
    from service.training.model_files import prove_target
    from service.training.tuning import tune as search

    prove_target(output)
    with bars() as report:
        read = recipe.read(report)
        show_data(recipe.paths, read, as_json=as_json)
        trials = search(read, storage, budget, tuning, report=report)
    if not trials:
        raise TrainingError("No trial finished in time; allow more with --minutes.")
    if not as_json:
        _show_trials(trials[:_TRIALS_SHOWN], f"{tuning.metric}@{tuning.k}")
        click.echo("⚖️ These values chose the best trial and flatter it. The table below is of pairs that no trial saw.")
    options = {"with_evaluation": True, "with_loss": False, "as_json": as_json, "with_data": False}
    train_model(recipe, output, trials[0].plan, "npz", **options)


def _show_made(facts: TrainingFacts, output: Path) -> None:
    if facts.evaluation:
        show_evaluation(facts.evaluation)
    parameters, seconds = facts.parameters, facts.seconds["train"]
    click.echo(
        f"✅ Wrote {output} ({output.stat().st_size} bytes): {parameters.factors} factors, "
        f"{parameters.iterations} iterations, trained in {seconds:.1f} s"
    )


def _show_trials(trials: list[Trial], metric: str) -> None:
    """Print the best trials, best first."""
    table = Table("trial", metric, *_COLUMNS.values(), "seconds", box=box.SIMPLE)
    for trial in trials:
        values = (f"{getattr(trial.plan, name):.4g}" for name in _COLUMNS)
        table.add_row(str(trial.number), f"{trial.value:.4f}", *values, f"{trial.seconds:.0f}")
    Console().print(table)
