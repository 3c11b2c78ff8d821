"""What train, evaluate and tune print: models being made and judged, seen from a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click
import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from service.cli.models import imported
from service.errors import TrainingError
from service.model.facts import Evaluation, Parameters, RankingMetrics, TrainingData, TrainingFacts
from service.model.model import Model
from service.settings import Settings
from service.training.evaluation import evaluate, held_out_for, seen_of
from service.training.model_files import prove_target
from service.training.progress import Report, bars
from service.training.recipe import Recipe, make_model
from service.training.tuning import Budget, Trial, Tuning, tune

_TRIALS_SHOWN = 10
#: What the parameters are called where a terminal of 80 columns has to hold all.
_COLUMNS = {
    "factors": "factors",
    "regularization": "regul.",
    "alpha": "alpha",
    "popularity_discount": "discount",
    "iterations": "iter.",
}

Format = Literal["npz", "pickle"]


def train_model(
    recipe: Recipe,
    output: Path,
    parameters: Parameters,
    model_format: Format,
    *,
    with_evaluation: bool,
    with_loss: bool,
    as_json: bool,
) -> None:
    """Make a model and print what became of it. Raises TrainingError."""
    with bars() as report:
        facts = make_model(
            recipe,
            output,
            parameters=parameters,
            model_format=model_format,
            with_evaluation=with_evaluation,
            with_loss=with_loss,
            report=report,
        )
    if as_json:
        click.echo(msgspec.json.encode(facts))
    else:
        _show_made(facts, output)


async def evaluate_model(settings: Settings, recipe: Recipe, *, as_json: bool) -> None:
    """Judge a model file by test files and print the table. Raises ModelRejectedError, TrainingError."""
    async with imported(settings) as snapshot:
        with bars() as report:
            found = _judge(snapshot.model, recipe, report)
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        _show_evaluation(found)


def tune_model(recipe: Recipe, output: Path, storage: Path, budget: Budget, tuning: Tuning, *, as_json: bool) -> None:
    """Search for parameters, print the best trials, and train with the best of all. Raises TrainingError."""
    prove_target(output)
    with bars() as report:
        trials = tune(recipe.read(report), storage, budget, tuning, report=report)
    if not trials:
        raise TrainingError("No trial was finished before the time was up; give more with --minutes.")
    if not as_json:
        _show_trials(trials[:_TRIALS_SHOWN], f"{tuning.metric}@{tuning.k}")
    train_model(recipe, output, trials[0].parameters, "npz", with_evaluation=True, with_loss=False, as_json=as_json)


def _judge(model: Model, recipe: Recipe, report: Report) -> Evaluation:
    if model.limited:
        raise TrainingError("The model has popularity alone and no factors, so there is nothing to evaluate.")
    held_out, unknown_users = held_out_for(model, recipe.read(report))
    return evaluate(
        model.user_factors,
        model.item_factors,
        seen_of(model),
        held_out,
        k=recipe.k,
        threads=recipe.threads,
        unknown_users=unknown_users,
        on_progress=lambda done, total: report("evaluating", done, total),
    )


def _show_made(facts: TrainingFacts, output: Path) -> None:
    click.echo(_learnt_from(facts.data))
    if facts.evaluation:
        _show_evaluation(facts.evaluation)
    parameters, seconds = facts.parameters, facts.seconds["train"]
    click.echo(
        f"✅ Wrote {output} ({output.stat().st_size} bytes): {parameters.factors} factors, "
        f"{parameters.iterations} iterations, trained in {seconds:.1f} s"
    )


def _learnt_from(data: TrainingData) -> str:
    skipped = f" (bad rows left out: {data.skipped_rows})" if data.skipped_rows else ""
    return f"📚 Learnt from {data.rows} rows: {data.pairs} pairs of {data.users} users and {data.items} items{skipped}"


def _show_evaluation(found: Evaluation) -> None:
    """Print a row for each ranking, with a column for each metric."""
    click.echo(f"🎯 Top {found.k} against {found.pairs} held-out pairs of {found.users} users")
    if found.unknown_users or found.unknown_pairs:
        click.echo(
            f"⚠️ Unknown to the model are {found.unknown_users} other users and the items of {found.unknown_pairs} pairs"
        )
    metrics = RankingMetrics.__struct_fields__
    table = Table("ranking", *metrics, box=box.SIMPLE)
    for name, values in (("ALS", found.als), ("popularity", found.popular)):
        table.add_row(name, *(f"{getattr(values, metric):.4f}" for metric in metrics))
    Console().print(table)


def _show_trials(trials: list[Trial], metric: str) -> None:
    """Print the best trials, the best first."""
    table = Table("trial", metric, *_COLUMNS.values(), "seconds", box=box.SIMPLE)
    for trial in trials:
        values = (f"{getattr(trial.parameters, name):.4g}" for name in _COLUMNS)
        table.add_row(str(trial.number), f"{trial.value:.4f}", *values, f"{trial.seconds:.0f}")
    Console().print(table)
