"""What ``check`` and ``recommend`` print: the model as it would be served, seen from a terminal."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
from prometheus_client import CollectorRegistry
from rich import box
from rich.console import Console
from rich.table import Table

from service.app import create_store
from service.errors import UnknownUserError
from service.metrics import Metrics
from service.model import scoring, source
from service.model.scores import Range, ScoreRanges
from service.model.snapshot import Snapshot, verify
from service.settings import Settings

_RULE = "=" * 40


async def check(settings: Settings, *, deep: bool) -> None:
    """Load the model as the server would, and print what is found.

    Raises ModelRejectedError and its kinds, with the reason, where the server would not serve it.
    """
    path = settings.model_path.absolute()
    click.echo(f"🧪 Testing ALS Model Loading\n{_RULE}")
    click.echo(f"📁 Model path: {path}\n📁 Current directory: {Path.cwd()}")
    found = source.signature(path)
    click.echo(f"✅ Model file exists: {path} ({found.size} bytes)")
    await asyncio.to_thread(source.identify, path)
    click.echo("✅ Model file verification passed\n🚀 Testing model initialization...")
    snapshot = await load(settings)
    if deep:
        await asyncio.to_thread(verify, snapshot.directory)
        click.echo(f"✅ Every file of {snapshot.directory} has its sha256")
    Console().print(_ranges(snapshot.manifest.scores), _facts(snapshot))
    click.echo("✅ Model loading test completed successfully!")


async def recommend(settings: Settings, user: str, n: int) -> None:
    """Print a user's recommendations as a table. Raises ModelRejectedError, UnknownUserError."""
    snapshot = await load(settings)
    row = snapshot.model.user_ids.row(user)
    if row is None:
        raise UnknownUserError(f"The model {snapshot.version} has no user {user!r}.")
    ranked = scoring.recommend(snapshot.model, row, n)
    table = Table("#", "item", "score", title=f"For {user}, by model {snapshot.version}", box=box.SIMPLE)
    for rank, (item, score) in enumerate(zip(snapshot.model.item_ids.at(ranked.rows), ranked.scores, strict=True), 1):
        table.add_row(str(rank), str(item), f"{score:.4f}")
    Console().print(table)


async def load(settings: Settings) -> Snapshot:
    """Bring the file at the model path into a snapshot, as the server does; a stale one does not count.

    Raises ModelRejectedError and its kinds.
    """
    store = create_store(settings, Metrics(CollectorRegistry()))
    return await store.load()


def _ranges(scores: ScoreRanges) -> Table:
    """Lay the score ranges out: a row for each kind, a column for each statistic."""
    statistics = Range.__struct_fields__
    table = Table("scores", *statistics, title="Score ranges", title_justify="left", box=box.SIMPLE, padding=0)
    for kind in ScoreRanges.__struct_fields__:
        found: Range | None = getattr(scores, kind)
        if found:
            table.add_row(kind, *(f"{getattr(found, statistic):.4g}" for statistic in statistics))
    return table


def _facts(snapshot: Snapshot) -> Table:
    """Lay out what would be served."""
    manifest = snapshot.manifest
    seen = "unknown" if manifest.seen_pairs is None else f"{manifest.seen_pairs} pairs"
    facts = {
        "version": snapshot.version,
        "format": manifest.source_format,
        "users": f"{manifest.users} ({manifest.user_id_kind} ids)",
        "items": f"{manifest.items} ({manifest.item_id_kind} ids)",
        "factors": str(manifest.factors),
        "seen": seen,
        "on disk": f"{manifest.bytes} bytes in {snapshot.directory}",
        "a top 10 takes": f"{manifest.costs.recommend_10:.0f} µs",
    }
    table = Table(title="Would be served", title_justify="left", box=box.SIMPLE, show_header=False)
    for name, fact in facts.items():
        table.add_row(name, fact)
    return table
