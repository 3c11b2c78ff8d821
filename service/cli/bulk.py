"""The command recommend-all: everyone's list, as files."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from service.bulk.forms import Write, json_lines, parquet
from service.bulk.lists import Wanted, part_users
from service.bulk.output import Job, Output
from service.bulk.running import run
from service.cli.models import imported
from service.cli.options import LOADING, settings_options
from service.cli.progress import bars
from service.errors import NoSeenItemsError
from service.model.storage.snapshot import Snapshot
from service.observe.logs import set_up_logging
from service.settings import Settings

_FORMS = {".parquet": parquet, ".jsonl": json_lines}


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
    "--threads", default=0, show_default=True, type=click.IntRange(0), help="The number of threads; 0 uses all cores."
)
@settings_options(*LOADING)
def recommend_all(file: Path, out: Path, n: int, include_seen: bool, threads: int, **values: Any) -> None:
    """Write the lists of all users of the model FILE.

    They are those that a server gives. A run that was stopped goes on where it ended. The directory has the file
    _SUCCESS once all lists are there.
    """
    if out.suffix not in _FORMS:
        raise click.BadParameter(f"{out} must end in {' or '.join(_FORMS)}.", param_hint="--out")
    set_up_logging("console", "warning")
    settings = Settings(**(values | {"model_path": file}))
    asking = _Asking(out, Wanted(n, exclude_seen=not include_seen), threads or len(os.sched_getaffinity(0)))
    asyncio.run(_write_lists(settings, asking))


@dataclass(frozen=True, slots=True)
class _Asking:
    """What was asked for on the command line."""

    out: Path
    wanted: Wanted
    threads: int


async def _write_lists(settings: Settings, asking: _Asking) -> None:
    """Import the model, and write the lists. Raises ModelRejectedError and its subclasses, OutputError."""
    async with imported(settings) as snapshot:
        await asyncio.to_thread(_run, snapshot, asking)


def _run(snapshot: Snapshot, asking: _Asking) -> None:
    model, started = snapshot.model, time.monotonic()
    if model.limited and model.popularity is None:
        raise NoSeenItemsError("The model has neither factors nor popular items, so there is nothing to recommend.")
    output, write = _begin(snapshot, asking)
    users = np.arange(len(model.user_ids), dtype=np.int32)
    with bars() as report:
        run(
            model,
            users,
            asking.wanted,
            output,
            write,
            threads=asking.threads,
            on_done=lambda done, total: report("recommending", done, total),
        )
    seconds = time.monotonic() - started
    click.echo(f"📦 {len(users)} lists are in {asking.out} ({seconds:.1f} s)")


def _begin(snapshot: Snapshot, asking: _Asking) -> tuple[Output, Write]:
    output = Output(asking.out, asking.out.suffix)
    wanted = asking.wanted
    output.begin(Job(snapshot.manifest.source.sha256, wanted.n, wanted.exclude_seen, None, part_users(wanted.n)))
    return output, _FORMS[asking.out.suffix](snapshot.model)
