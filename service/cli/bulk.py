"""The command recommend-all: everyone's list, as files."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from service.bulk.forms import json_lines, parquet
from service.bulk.lists import Wanted
from service.bulk.output import Output
from service.bulk.running import job_of, run
from service.cli.models import imported
from service.cli.options import LOADING, settings_options
from service.cli.policies import POLICY, imported_policy, read_list
from service.cli.progress import bars
from service.errors import NoSeenItemsError
from service.model.catalog.assortment import EVERYTHING, Assortment
from service.model.catalog.id_list import IdList
from service.model.factors import Int32
from service.model.filtering.selection import selection_of
from service.model.model import Model
from service.model.storage.snapshot import Snapshot
from service.observe.logs import set_up_logging
from service.settings import Settings

_FORMS = {".parquet": parquet, ".jsonl": json_lines}
#: FILE is the model, and its snapshot is temporary.
_NOT_ASKED = ("model_path", "keep_snapshots")


@click.command("recommend-all")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--out",
    required=True,
    metavar="DIRECTORY",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where to write the lists. Its name ends in .parquet or .jsonl, which says how.",
)
@click.option("-n", default=10, show_default=True, type=click.IntRange(1, 10_000), help="The number of items.")
@click.option("--include-seen", is_flag=True, help="Do not leave out what a user had.")
@click.option(
    "--filter", "text", default="", metavar="TEXT", help="Only items of which this is true; it needs --items."
)
@click.option("--users", metavar="FILE", type=click.Path(path_type=Path), help="Only these users, one id a line.")
@click.option(
    "--threads", default=0, show_default=True, type=click.IntRange(0), help="The number of threads; 0 uses all cores."
)
@settings_options(*(name for name in LOADING if name not in _NOT_ASKED), *POLICY)
def recommend_all(
    file: Path, out: Path, n: int, include_seen: bool, text: str, users: Path | None, threads: int, **values: Any
) -> None:
    """Write the lists of all users of the model FILE.

    They are those that a server gives with the same settings. Hidden users have none. A run that was stopped goes on
    where it ended. The directory has the file _SUCCESS once all lists are there.
    """
    if out.suffix not in _FORMS:
        raise click.BadParameter(f"{out} must end in {' or '.join(_FORMS)}.", param_hint="--out")
    if text and not values["items"]:
        raise click.UsageError("--filter needs --items, a file with the attributes to filter by.")
    set_up_logging("console", "warning")
    settings = Settings(**(values | {"model_path": file}))
    asking = _Asking(out, n, not include_seen, text, read_list(users), threads or len(os.sched_getaffinity(0)))
    asyncio.run(_write_lists(settings, asking))


@dataclass(frozen=True, slots=True)
class _Asking:
    """What was asked for on the command line."""

    out: Path
    n: int
    exclude_seen: bool
    filter: str
    users: IdList | None
    threads: int


async def _write_lists(settings: Settings, asking: _Asking) -> None:
    """Import the policy and the model, and write the lists.

    Raises ModelRejectedError and its subclasses, BadCatalogError, BadListError, BadFilterError, OutputError.
    """
    async with imported_policy(settings) as policy, imported(settings) as snapshot:
        await asyncio.to_thread(_run, snapshot, policy.assort(snapshot.model, EVERYTHING), asking)


def _run(snapshot: Snapshot, assortment: Assortment, asking: _Asking) -> None:
    model, started = snapshot.model, time.monotonic()
    if model.limited and model.popularity is None:
        raise NoSeenItemsError("The model has neither factors nor popular items, so there is nothing to recommend.")
    selection = selection_of(assortment)
    eligible = selection.matching(asking.filter) if asking.filter else selection.available
    wanted, users = Wanted(asking.n, asking.exclude_seen, eligible), _users(model, assortment, asking.users)
    output = Output(asking.out, asking.out.suffix)
    output.begin(job_of(snapshot, users, wanted))
    write = _FORMS[asking.out.suffix](model)
    with bars() as report:
        on_done = partial(report, "recommending")
        run(model, users, wanted, output, write, threads=asking.threads, on_done=on_done)
    seconds = time.monotonic() - started
    lists = "1 list is" if len(users) == 1 else f"{len(users)} lists are"
    click.echo(f"📦 {lists} in {asking.out} ({seconds:.1f} s)")
    if asking.users and len(users) < len(asking.users):
        without = f"{len(asking.users) - len(users)} of the {len(asking.users)} users"
        click.echo(f"👤 {without} have none, because the model does not know them or they are hidden")


def _users(model: Model, assortment: Assortment, listed: IdList | None) -> Int32:
    """Return the rows of the users who get a list, ascending: those listed, without those hidden."""
    wanted = np.ones(len(model.user_ids), np.bool_)
    if listed is not None:
        rows = model.user_ids.rows(listed.ids)
        wanted[:] = False
        wanted[rows[rows >= 0]] = True
    if assortment.hidden is not None:
        wanted &= ~assortment.hidden
    return np.flatnonzero(wanted).astype(np.int32)
