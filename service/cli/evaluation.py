"""The command evaluate: how good models are, and which of them is better."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from service.cli.data import show_data
from service.cli.models import imported
from service.cli.options import LOADING, recipe_options, settings_options
from service.errors import TrainingError
from service.model.facts import Evaluation, RankingMetrics
from service.model.model import Model
from service.observe.logs import set_up_logging
from service.settings import Settings

if TYPE_CHECKING:
    from service.training.comparison import Scored
    from service.training.fitting import Report
    from service.training.interactions import Interactions
    from service.training.recipe import Recipe


@click.command()
@recipe_options("--test")
@settings_options(*LOADING)
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Another model file to compare with the one at the model path; may be given several times.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the metrics as JSON.")
def evaluate(against: tuple[Path, ...], as_json: bool, **values: Any) -> None:
    """Evaluate a model on test data, with popularity as the baseline.

    A user's seen items are not recommended and do not count in the test. Other models are compared on the users whom
    both know, with 95 % confidence intervals of a paired bootstrap.
    """
    set_up_logging("console", "warning")
    recipe = recipe_of(values)
    asyncio.run(evaluate_models(Settings(**values), against, recipe, as_json=as_json))


def recipe_of(values: dict[str, Any]) -> Recipe:
    """Build a recipe from a command's values, which it removes."""
    from service.training.columns import ColumnNames
    from service.training.counting import Counting
    from service.training.layout import layout_of
    from service.training.recipe import Recipe

    counting = Counting(values.pop("half_life"), values.pop("rated_above"))
    names = ColumnNames(**{role: values.pop(f"{role}_column") for role in ("user", "item", "weight", "time")})
    layout = layout_of(
        names=names, **{name: values.pop(name) for name in ("columns", "no_header", "delimiter", "encoding")}
    )
    return Recipe(
        layout=layout,
        counting=counting,
        **{name: values.pop(name) for name in ("paths", "skip_bad_rows", "threads", "gpu", "k", "sample")},
    )


async def evaluate_models(settings: Settings, against: Sequence[Path], recipe: Recipe, *, as_json: bool) -> None:
    """Evaluate model files on the same test, and print tables and the differences to the one at the model path.

    Raises ModelRejectedError, TrainingError.
    """
    from service.cli.progress import bars

    paths = (settings.model_path, *against)
    scored = []
    with bars() as report:
        test = recipe.read(report)
        show_data(recipe.paths, test, as_json=as_json)
        for path in paths:
            async with imported(replace(settings, model_path=path)) as snapshot:
                scored.append(_judge(snapshot.model, recipe, test, report))
    if as_json:
        click.echo(msgspec.json.encode(_as_document(paths, scored)))
        return
    for path, one in zip(paths, scored, strict=True):
        if against:
            click.echo(f"📦 {path}")
        show_evaluation(one.judged.evaluation)
    for path, other in zip(against, scored[1:], strict=True):
        _show_difference(settings.model_path, path, scored[0], other, recipe.k)


def _judge(model: Model, recipe: Recipe, test: Interactions, report: Report) -> Scored:
    from service.training.comparison import Scored
    from service.training.evaluation import held_out_for, judge, sample_users, seen_of

    if model.limited:
        raise TrainingError("The model has only popularity and no factors, so there is nothing to evaluate.")
    weights, sampled_of = sample_users(test.weights, recipe.sample, 0)
    held_out, unknown_users = held_out_for(model, replace(test, weights=weights))
    judged = judge(
        model.user_factors,
        model.item_factors,
        seen_of(model),
        held_out,
        k=recipe.k,
        threads=recipe.threads,
        unknown_users=unknown_users,
        sampled_of=sampled_of,
        on_progress=lambda done, total: report("evaluating", done, total),
    )
    return Scored(model.user_ids.at(judged.users), judged)


def drops(test: Path, new: Model, current: Model, metrics: Sequence[str]) -> dict[str, float | None]:
    """Return by what share each metric is lower with the new model; None if that cannot be said.

    Raises TrainingError.
    """
    from service.training.comparison import relative_drop
    from service.training.fitting import silent
    from service.training.recipe import Recipe

    recipe = Recipe(paths=(test,))
    read = recipe.read()
    before, after = (_judge(model, recipe, read, silent) for model in (current, new))
    return {metric: relative_drop(before, after, metric) for metric in metrics}


def _as_document(paths: Sequence[Path], scored: Sequence[Scored]) -> Any:
    """Return what --json prints: the evaluation of one model; of several, all, and the differences to the first."""
    from service.training.comparison import compare
    from service.training.evaluation import METRICS

    evaluations = [one.judged.evaluation for one in scored]
    if len(scored) == 1:
        return evaluations[0]
    return {
        "models": [{"path": str(path), "evaluation": found} for path, found in zip(paths, evaluations, strict=True)],
        "differences": [[compare(scored[0], other, metric) for metric in METRICS] for other in scored[1:]],
    }


def _show_difference(first: Path, path: Path, ours: Scored, theirs: Scored, k: int) -> None:
    from service.training.comparison import compare

    for metric in ("recall", "ndcg"):
        found = compare(ours, theirs, metric)
        if found is None:
            click.echo(f"⚖️ {path} and {first} know no user of the test in common")
            return
        word = "better" if found.difference > 0 else "worse"
        verdict = f"{word} than {first}" if found.certain else f"not certainly {word} than {first}: it differs"
        click.echo(
            f"⚖️ {path} is {verdict} by {abs(found.difference):.4f} ± {found.margin:.4f} in {metric}@{k} "
            f"({found.users} users)"
        )


def show_evaluation(found: Evaluation) -> None:
    """Print a row for each ranking, with a column for each metric."""
    drawn = f", drawn at random of {found.sampled_of}" if found.sampled_of else ""
    click.echo(f"🎯 Top {found.k} against {found.pairs} held-out pairs of {found.users} users{drawn}")
    if found.unknown_users or found.unknown_pairs:
        click.echo(
            f"⚠️ The model does not know {found.unknown_users} other users, nor the items of {found.unknown_pairs} pairs"
        )
    metrics = RankingMetrics.__struct_fields__
    table = Table("ranking", *metrics, box=box.SIMPLE)
    for name, values in (("ALS", found.als), ("popularity", found.popular)):
        table.add_row(name, *(f"{getattr(values, metric):.4f}" for metric in metrics))
    if found.margins:
        table.add_row("± (ALS)", *(f"{found.margins[metric]:.4f}" for metric in metrics if metric in found.margins))
    Console().print(table)
