"""The commands check and recommend: a look at the model as it would be served."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import msgspec
from prometheus_client import CollectorRegistry
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.app import catalog_import, create_live
from service.cli.items import columns_table, sentences
from service.cli.options import LOADING, settings_options
from service.errors import BadCatalogError, SourceMissingError, UnknownUserError
from service.live.catalog import import_catalog
from service.model.facts import TrainingFacts
from service.model.model import Model
from service.model.scoring import scoring
from service.model.scoring.ranking import Ranked
from service.model.scoring.score_ranges import STATISTICS, Range, ScoreRanges
from service.model.storage import source
from service.model.storage.shelf import unwritable
from service.model.storage.snapshot import Snapshot, verify
from service.observe.logs import set_up_logging
from service.observe.metrics import Metrics
from service.settings import Settings
from service.untrusted import escaped

_RULE = "=" * 40
_ANY_WIDTH = 10_000


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--deep", is_flag=True, help="Also verify the sha256 of the model's files in the state directory.")
@click.option("--items", type=click.Path(path_type=Path), help="A file of items to check too, even without a model.")
@settings_options(*LOADING, "item_columns")
def check(file: Path | None, deep: bool, items: Path | None, **values: Any) -> None:
    """Check whether a model would be served: FILE, or the one at the model path.

    Exit 0 if so, 1 if not. The model is imported into a temporary directory (TMPDIR); a server's state directory is
    not touched.
    """
    set_up_logging("console", "info", sys.stdout)
    settings = Settings(**values | ({"model_path": file} if file else {}))
    if items and not file and not settings.model_path.exists():
        asyncio.run(check_items(settings, items))
    else:
        asyncio.run(check_model(settings, deep=deep, items=items))


@click.command()
@click.option("--user", required=True, help="The user's id.")
@click.option("-n", default=10, show_default=True, type=click.IntRange(1, 1000), help="The number of items.")
@settings_options(*LOADING)
def recommend(user: str, n: int, **values: Any) -> None:
    """Show a user's recommendations as a table."""
    set_up_logging("console", "warning")
    asyncio.run(recommend_items(Settings(**values), user, n))


async def check_model(settings: Settings, *, deep: bool, items: Path | None = None) -> None:
    """Import the model as the server would, into a temporary directory, and print the result.

    ``deep`` also verifies the sha256 of the model's files in the state directory, if any. ``items`` is a file of items
    to check with it. Raises ModelRejectedError and
    its subclasses, with the reason, if the server would not serve the model.
    """
    path = settings.model_path.absolute()
    click.echo(f"🧪 Testing ALS Model Loading\n{_RULE}")
    click.echo(f"📁 Model path: {path}\n📁 Current directory: {Path.cwd()}")
    found = source.signature(path)
    click.echo(f"✅ Model file exists: {path} ({found.size} bytes)")
    await asyncio.to_thread(source.identify, path, settings.max_model_mb * 2**20)
    click.echo("✅ Model file verification passed\n🚀 Testing model initialization...")
    async with imported(settings) as snapshot:
        if deep:
            await asyncio.to_thread(_verify_kept, settings, snapshot)
        Console().print(_ranges(snapshot.manifest.scores), _facts(snapshot))
        if items:
            await check_items(settings, items, snapshot.model)
    click.echo("✅ Model loading test completed successfully!")


async def check_items(settings: Settings, path: Path, model: Model | None = None) -> None:
    """Import a file of items as the server would, into a temporary directory, and print what is in it.

    Raises BadCatalogError, and what else keeps a file from being imported.
    """
    try:
        found = await asyncio.to_thread(source.identify, path, settings.max_model_mb * 2**20)
    except SourceMissingError:
        raise BadCatalogError(f"There is no file at {path}.") from None
    with _scratch(settings) as directory:
        catalog = await import_catalog(found, *catalog_import(replace(settings, state_dir=directory)))
        click.echo(f"✅ {path} is a catalog of {len(catalog)} items")
        for sentence in sentences(catalog, model):
            click.echo(f"   {sentence}")
        print_table(columns_table(catalog))


async def recommend_items(settings: Settings, user: str, n: int) -> None:
    """Print a user's recommendations as a table. Raises ModelRejectedError, UnknownUserError."""
    async with imported(settings) as snapshot:
        row = snapshot.model.user_ids.row(user)
        if row is None:
            raise UnknownUserError(f"The model {snapshot.version} has no user {user!r}.")
        ranked = _best(snapshot.model, row, n)
        ids = snapshot.model.item_ids.at(ranked.rows)
    table = Table("#", "item", "score", box=box.SIMPLE)
    for rank, (item, score) in enumerate(zip(ids, ranked.scores, strict=True), 1):
        table.add_row(str(rank), plain(str(item)), f"{score:.4f}")
    click.echo(f"For {plain(user)}, by model {snapshot.version}")
    print_table(table)


def plain(text: str) -> Text:
    """Return text that is neither control characters nor markup: names of items, objects and files are untrusted."""
    return Text(escaped(text))


def print_table(table: Table) -> None:
    """Print a table at its full width, so that its content can be copied even from a narrow terminal."""
    Console(width=_ANY_WIDTH).print(table)


def _best(model: Model, row: int, n: int) -> Ranked:
    if model.seen and not model.user_factors[row].any():
        return scoring.popular(model, n, exclude=model.seen.of(row))
    return scoring.recommend(model, row, n)


@asynccontextmanager
async def imported(settings: Settings) -> AsyncIterator[Snapshot]:
    """Import the file at the model path into a temporary snapshot, as the server does.

    The directory is temporary, because a check must not change what a server keeps or would serve after a restart.
    Raises ModelRejectedError and its subclasses.
    """
    with _scratch(settings) as directory:
        live = create_live(replace(settings, state_dir=directory), Metrics(CollectorRegistry()))
        await live.reloader.load()
        assert live.slot.current
        yield live.slot.current.snapshot


@contextmanager
def _scratch(settings: Settings) -> Iterator[Path]:
    """Yield a temporary state directory. Raises StateDirectoryError."""
    try:
        scratch = tempfile.TemporaryDirectory(
            prefix=".check-", dir=settings.state_dir if settings.state_dir.is_dir() else None
        )
    except OSError as error:
        raise unwritable(settings.state_dir, error) from None
    with scratch:
        yield Path(scratch.name)


def _verify_kept(settings: Settings, snapshot: Snapshot) -> None:
    kept = settings.state_dir / "snapshots" / snapshot.directory.name
    if not kept.exists():
        click.echo(f"💤 Nothing is kept of this model in {settings.state_dir}")
        return
    verify(kept)
    click.echo(f"✅ Every file of {kept} has its sha256")


def _ranges(scores: ScoreRanges) -> Table:
    """Build the table of score ranges: a row for each kind, a column for each statistic."""
    table = Table("scores", *STATISTICS, title="Score ranges", title_justify="left", box=box.SIMPLE, padding=0)
    for kind in ScoreRanges.__struct_fields__:
        found: Range | None = getattr(scores, kind)
        if found:
            table.add_row(kind, *(f"{value:.4g}" for value in found.statistics().values()))
    return table


def _facts(snapshot: Snapshot) -> Table:
    """Build the table of the model's facts."""
    manifest = snapshot.manifest
    seen = "unknown" if manifest.seen_pairs is None else f"{manifest.seen_pairs} pairs"
    facts = {
        "version": snapshot.version,
        "format": manifest.source_format,
        "users": f"{manifest.users} ({manifest.user_id_kind} ids)",
        "items": f"{manifest.items} ({manifest.item_id_kind} ids)",
        "factors": "none: popularity alone (limited)" if snapshot.model.limited else str(manifest.factors),
        "seen": seen,
        "on disk": f"{manifest.bytes} bytes",
        "a top 10 takes": f"{manifest.costs.recommend_10:.0f} µs",
    }
    if manifest.training:
        facts |= _trained(manifest.training)
    table = Table(title="Would be served", title_justify="left", box=box.SIMPLE, show_header=False)
    for name, fact in facts.items():
        table.add_row(name, plain(fact))
    return table


def _trained(facts: TrainingFacts) -> dict[str, str]:
    """Describe how a model was made and evaluated."""
    data, found = facts.data, facts.evaluation
    parameters = msgspec.structs.asdict(facts.parameters)
    told = {
        "trained": f"{facts.trained_at:%Y-%m-%d %H:%M} UTC, in {facts.seconds.get('train', 0):.1f} s",
        "learned from": f"{', '.join(data.files)}: {data.rows} rows, {data.skipped_rows} left out",
        "parameters": ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in parameters.items()),
    }
    if found:
        told["evaluated"] = f"ndcg@{found.k} {found.als.ndcg:.4f}, recall@{found.k} {found.als.recall:.4f}"
    return told
