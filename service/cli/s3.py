"""What publish, versions, promote and pull print: models on their way to S3 and from it, seen from a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec
from rich import box
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Column, Table

from service.cli.models import imported, plain, print_table
from service.errors import SettingsError
from service.model.facts import Evaluation
from service.model.storage.snapshot import Snapshot
from service.s3 import publishing
from service.s3.client import connected
from service.s3.failures import deadline
from service.s3.fetching import fetch, stands_at, sweep
from service.s3.finding import find
from service.s3.location import Location, parse_location, parse_prefix
from service.s3.pointer import Counts, Pointer
from service.s3.publishing import Version
from service.s3.uploading import Protection
from service.s3.versions import Counted
from service.settings import Settings

#: Nobody else tries again for a command.
_ATTEMPTS = 5


async def publish_model(settings: Settings, uri: str, protection: Protection, keep: int | None) -> None:
    """Check a model as the server would, put it in S3 and point to it. Raises ModelRejectedError, S3Error."""
    prefix, path = parse_prefix(uri), settings.model_path
    async with imported(settings) as snapshot:
        model = _described(snapshot)
    click.echo(f"🧪 {path} would be served: version {model.sha256[:16]}, {_counted(model)} (users × items)")
    async with connected(prefix, attempts=_ATTEMPTS) as client:
        with bar(f"⬆️ Uploading {path.name}", model.size) as on_bytes:
            pointer, is_latest = await publishing.publish(client, prefix, path, model, protection, on_bytes)
        click.echo(f"✅ Published {prefix.at(pointer.key)} ({pointer.size} bytes)")
        if not is_latest:
            click.echo(f"⚠️ A newer model is the latest; als-serve promote {prefix.at(pointer.key)} makes it this one")
        for key in [] if keep is None else await publishing.prune(client, prefix, keep):
            click.echo(f"🧹 Removed {prefix.at(key)}")


async def show_versions(uri: str, *, as_json: bool) -> None:
    """Print the models under a prefix, the newest first. Raises S3Error."""
    prefix = parse_prefix(uri)
    async with connected(prefix, attempts=_ATTEMPTS) as client:
        found = await publishing.versions(client, prefix)
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    names = [Column(name, no_wrap=True) for name in ("", "model", "bytes", "users × items", "version")]
    table = Table(*names, "quality", box=box.SIMPLE, padding=(0, 1, 0, 0))
    for version in found:
        table.add_row(*map(plain, _row(version, prefix)))
    print_table(table)
    models = "1 model" if len(found) == 1 else f"{len(found)} models"
    click.echo(f"{models} under {prefix}; ▶ is the one that servers follow")


async def promote_model(uri: str, protection: Protection) -> None:
    """Have servers follow a model that was published earlier. Raises S3Error."""
    place = parse_location(uri)
    if place.is_prefix:
        raise SettingsError(f"{uri} names no model; als-serve versions {uri} shows those that are there.")
    async with connected(place, attempts=_ATTEMPTS) as client:
        pointer = await publishing.promote(client, place, protection)
    click.echo(f"✅ {place} is the latest now: version {pointer.sha256[:16]}")


async def pull_model(uri: str, path: Path, seconds: float) -> None:
    """Put the latest model of S3 at the path, unless it is there, within so many seconds. Raises S3Error."""
    location = parse_location(uri)
    sweep(path)
    async with connected(location, attempts=_ATTEMPTS) as client, deadline(seconds, location):
        found = await find(client, location, None)
        assert found  # nothing is known yet, so there is no "unchanged"
        place = location.at(found.key)
        if found.sha256 and stands_at(path, found.size, found.sha256):
            click.echo(f"💤 {path} is {place} already")
            return
        with bar(f"⬇️ Downloading {found.key}", found.size) as on_bytes:
            download = await fetch(client, location.bucket, found, path, on_bytes)
    click.echo(f"✅ {place} is at {path} ({download.bytes} bytes, version {download.sha256[:16]})")


@contextmanager
def bar(title: str, size: int) -> Iterator[Counted]:
    """Draw a bar of so many bytes on a terminal: on standard error, so that standard output can be piped."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(plain(title).plain, total=size)
        yield lambda count: progress.advance(task, count)


def _described(snapshot: Snapshot) -> Pointer:
    """Return what is published about a model; where it will be is not known yet."""
    manifest = snapshot.manifest
    evaluation = manifest.training and manifest.training.evaluation
    return Pointer(
        key="",
        sha256=manifest.source.sha256,
        size=manifest.source.signature.size,
        format=manifest.source_format,
        counts=Counts(manifest.users, manifest.items, manifest.factors, manifest.seen_pairs),
        metrics=_metrics(evaluation) if evaluation else None,
    )


def _metrics(evaluation: Evaluation) -> dict[str, float]:
    found: dict[str, float] = msgspec.to_builtins(evaluation.als)
    return {f"{name}@{evaluation.k}": round(value, 4) for name, value in found.items()}


def _row(version: Version, prefix: Location) -> list[str]:
    row = ["▶" if version.is_latest else "", version.key.removeprefix(prefix.key), str(version.size)]
    pointer = version.pointer
    if pointer is None:
        return [*row, "", "", "not put there by als-serve publish"]
    return [*row, _counted(pointer), pointer.sha256[:16], _quality(pointer)]


def _quality(pointer: Pointer) -> str:
    metrics = pointer.metrics or {}
    return ", ".join(f"{name} {value}" for name, value in metrics.items() if name.startswith("ndcg"))


def _counted(pointer: Pointer) -> str:
    counts = pointer.counts
    return f"{counts.users} × {counts.items}" if counts else ""
