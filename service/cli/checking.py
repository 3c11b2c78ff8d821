"""The command check: whether a model would be served, and what would change."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from service.app import gate_policy_of
from service.cli.comparing import gate_table, show_changes, sizes
from service.cli.items import columns_table, sentences
from service.cli.models import imported, plain, print_table
from service.cli.options import GATING, LOADING, settings_options
from service.cli.policies import imported_catalog
from service.errors import UnreadableSourceError
from service.live.admission import refuse_blocked
from service.model.facts import TrainingFacts
from service.model.model import Model
from service.model.scoring.score_ranges import STATISTICS, Range, ScoreRanges
from service.model.storage import source
from service.model.storage.snapshot import MANIFEST, Snapshot, open_snapshot, verify
from service.observe.logs import set_up_logging
from service.settings import Settings

_RULE = "=" * 40
_KINDS = {"int": "number", "str": "text"}


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "--against",
    metavar="CURRENT",
    type=click.Path(path_type=Path),
    help="Compare with this model, as a server would that serves it: a model file or a snapshot directory.",
)
@click.option("--deep", is_flag=True, help="Also verify the sha256 of the model's files in the state directory.")
@click.option("--items", type=click.Path(path_type=Path), help="A file of items to check too, even without a model.")
@settings_options(*LOADING, *GATING, "item_columns")
def check(file: Path | None, against: Path | None, deep: bool, items: Path | None, **values: Any) -> None:
    """Check whether a model would be served: FILE, or the one at the model path.

    Exit 0 if so, 1 if not, also if a gate would block the model. It is imported into a temporary directory (TMPDIR); a
    server's state directory is not touched.
    """
    set_up_logging("console", "info", sys.stdout)
    settings = Settings(**values | ({"model_path": file} if file else {}))
    if items and not file and not settings.model_path.exists():
        asyncio.run(check_items(settings, items))
    else:
        asyncio.run(check_model(settings, against, deep=deep, items=items))


async def check_model(settings: Settings, against: Path | None, *, deep: bool, items: Path | None = None) -> None:
    """Import the model as the server would, into a temporary directory, and print the result.

    ``against`` is the model to compare it with. ``deep`` also verifies the sha256 of the model's files in the state
    directory, if any. ``items`` is a file of items to check with it. Raises ModelRejectedError and its subclasses, with
    the reason, if the server would not serve the model.
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
        await _compare(settings, snapshot, against)
    click.echo("✅ Model loading test completed successfully!")


async def check_items(settings: Settings, path: Path, model: Model | None = None) -> None:
    """Import a file of items as the server would, into a temporary directory, and print what is in it.

    Raises BadCatalogError, and what else keeps a file from being imported.
    """
    async with imported_catalog(settings, path) as catalog:
        click.echo(f"✅ {path} is a catalog of {len(catalog)} items")
        for sentence in sentences(catalog, model):
            click.echo(f"   {sentence}")
        print_table(columns_table(catalog))


async def _compare(settings: Settings, new: Snapshot, against: Path | None) -> None:
    """Print what would change, and what gates find. Raises GateError if one blocks the model."""
    policy = gate_policy_of(settings)
    set_up_logging("console", "warning", sys.stdout)  # the facts of the other model are in the table
    async with _current(settings, against) as current:
        if current:
            print_table(sizes(new, current))
            show_changes(new, current)
        results = policy.judge(await asyncio.to_thread(policy.examine, new, current))
    if against or policy.golden or any(result.result != "passed" for result in results):
        print_table(gate_table(results))
    refuse_blocked(new.version, results)


@asynccontextmanager
async def _current(settings: Settings, against: Path | None) -> AsyncIterator[Snapshot | None]:
    """Open the model to compare with, if any: a snapshot as it is, a file by importing it."""
    if against is None:
        yield None
    elif (against / MANIFEST).is_file():
        yield await asyncio.to_thread(open_snapshot, against)
    else:
        _refuse_state_directory(against)
        async with imported(replace(settings, model_path=against)) as snapshot:
            yield snapshot


def _refuse_state_directory(path: Path) -> None:
    """Raise UnreadableSourceError, which names a snapshot to compare with, if this is a state directory."""
    for manifest in sorted(path.glob(f"snapshots/*/{MANIFEST}")):
        raise UnreadableSourceError(
            f"{path} is a state directory; name one of its snapshots, such as {manifest.parent}."
        )


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
        "users": f"{manifest.users} ({_KINDS[manifest.user_id_kind]} ids)",
        "items": f"{manifest.items} ({_KINDS[manifest.item_id_kind]} ids)",
        "factors": "none: popularity alone (limited)" if snapshot.model.limited else str(manifest.factors),
        "seen": seen,
        "on disk": f"{manifest.bytes} bytes",
        "a top 10 takes": f"{manifest.costs.recommend_10:.0f} µs",
    }
    if manifest.training:
        facts |= _trained(manifest.training)
    table = Table(title="The model", title_justify="left", box=box.SIMPLE, show_header=False)
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
