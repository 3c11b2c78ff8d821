"""The command recommend, and the import of a model as a server does it, for all commands."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from prometheus_client import CollectorRegistry
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.app import create_live
from service.cli.options import LOADING, settings_options
from service.errors import UnknownUserError
from service.model.model import Model
from service.model.scoring import scoring
from service.model.scoring.ranking import Ranked
from service.model.storage.shelf import unwritable
from service.model.storage.snapshot import Snapshot
from service.observe.logs import set_up_logging
from service.observe.metrics import Metrics
from service.settings import Settings
from service.untrusted import escaped

_ANY_WIDTH = 10_000


@click.command()
@click.option("--user", required=True, help="The user's id.")
@click.option("-n", default=10, show_default=True, type=click.IntRange(1, 1000), help="The number of items.")
@settings_options(*LOADING)
def recommend(user: str, n: int, **values: Any) -> None:
    """Show a user's recommendations as a table."""
    set_up_logging("console", "warning")
    asyncio.run(recommend_items(Settings(**values), user, n))


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
    """Import the file at the model path into a temporary snapshot, as the server does, without any gates.

    The directory is temporary, because a check must not change what a server keeps or would serve after a restart.
    Raises ModelRejectedError and its subclasses.
    """
    with scratch(settings) as directory:
        live = create_live(replace(settings, state_dir=directory), Metrics(CollectorRegistry()))
        await live.reloader.load()
        assert live.slot.current
        yield live.slot.current.snapshot


@contextmanager
def scratch(settings: Settings) -> Iterator[Path]:
    """Yield a temporary state directory. Raises StateDirectoryError."""
    try:
        made = tempfile.TemporaryDirectory(
            prefix=".check-", dir=settings.state_dir if settings.state_dir.is_dir() else None
        )
    except OSError as error:
        raise unwritable(settings.state_dir, error) from None
    with made:
        yield Path(made.name)
