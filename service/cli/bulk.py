"""The command recommend-all: everyone's list, as files."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path
from typing import Any

import click

from service.bulk.choice import Asked, choose
from service.bulk.forms import json_lines, parquet
from service.bulk.output import Output
from service.bulk.running import job_of, run
from service.cli.models import imported
from service.cli.options import LOADING, settings_options
from service.cli.policies import POLICY, imported_policy, read_list
from service.cli.progress import bars
from service.model.catalog.assortment import EVERYTHING, Assortment
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
    asked = Asked(n, not include_seen, text, read_list(users))
    asyncio.run(_write_lists(settings, asked, out, threads or len(os.sched_getaffinity(0))))


async def _write_lists(settings: Settings, asked: Asked, out: Path, threads: int) -> None:
    """Import the policy and the model, and write the lists.

    Raises ModelRejectedError and its subclasses, BadCatalogError, BadListError, BadFilterError, OutputError.
    """
    stopped = threading.Event()
    async with imported_policy(settings) as policy, imported(settings) as snapshot:
        assortment = policy.assort(snapshot.model, EVERYTHING)
        try:
            await asyncio.to_thread(_run, snapshot, assortment, asked, out, threads, stopped)
        finally:
            stopped.set()  # Ctrl+C ends this task, but no thread


def _run(
    snapshot: Snapshot, assortment: Assortment, asked: Asked, out: Path, threads: int, stopped: threading.Event
) -> None:
    model, started = snapshot.model, time.monotonic()
    users, wanted = choose(model, assortment, asked)
    output, write = Output(out, out.suffix), _FORMS[out.suffix](model)
    with output.begun(job_of(snapshot, users, wanted)), bars() as report:

        def on_done(done: int, total: int) -> None:
            if stopped.is_set():
                raise click.Abort
            report("recommending", done, total)

        run(model, users, wanted, output, write, threads=threads, on_done=on_done)
    seconds = time.monotonic() - started
    lists = "1 list is" if len(users) == 1 else f"{len(users)} lists are"
    click.echo(f"📦 {lists} in {out} ({seconds:.1f} s)")
    if asked.users and len(users) < len(asked.users):
        without = f"{len(asked.users) - len(users)} of the {len(asked.users)} users"
        click.echo(f"👤 {without} have none, because the model does not know them or they are hidden")
