"""The commands publish, versions, promote and pull: models to and from S3."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from rich import box
from rich.table import Column, Table

from service.cli.convert import conversion_of, convert_model
from service.cli.models import imported, plain, print_table
from service.cli.options import GATING, conversion_options, protection_options, settings_options
from service.cli.publishing import MaxDrop, Rules, compare_with_followed
from service.errors import SettingsError
from service.model.conversion import Conversion
from service.model.facts import Evaluation
from service.model.storage.snapshot import Snapshot
from service.s3.location import Location, parse_location, parse_prefix
from service.s3.pointer import Counts, Pointer
from service.settings import Settings

if TYPE_CHECKING:
    from service.s3.publishing import Version
    from service.s3.uploading import Protection

#: The settings of commands that check a model.
_IMPORTING = ("state_dir", "import_timeout_seconds", "import_memory_mb", "pickle_keys")
#: A command has no outer retry loop.
ATTEMPTS = 5


@click.command()
@click.argument("model", metavar="MODEL|SPARK_DIR|s3://BUCKET/SPARK_PREFIX/")
@click.argument("uri", metavar="s3://BUCKET/PREFIX/")
@click.option("--keep", type=click.IntRange(1), metavar="N", help="Afterwards, remove all but the newest N models.")
@protection_options()
@click.option("--tag", "tags", metavar="NAME=VALUE", multiple=True, help="A tag for the model; can be repeated.")
@click.option("--test", type=click.Path(path_type=Path), help="Held-out interactions to evaluate both models on.")
@click.option(
    "--max-drop",
    "most",
    type=MaxDrop(),
    multiple=True,
    help="How much worse than the followed model it may be on --test, such as ndcg=5%; can be repeated.",
)
@click.option("--upload-only", is_flag=True, help="Servers do not follow it: for als-serve candidate or promote.")
@click.option("--force", is_flag=True, help="Publish the model whatever gates or --max-drop say; this is recorded.")
@conversion_options()
@settings_options(*_IMPORTING, *GATING, "max_model_mb", "s3_timeout_seconds", "s3_request_payer")
def publish(
    model: str,
    uri: str,
    keep: int | None,
    test: Path | None,
    most: tuple[tuple[str, float], ...],
    force: bool,
    upload_only: bool,
    **values: Any,
) -> None:
    """Upload a model to S3 and make it the latest.

    A directory, or a prefix in S3, is a model of Spark, and converted first, as als-serve convert does. The model is
    checked as a server would check it, and compared with the one that servers follow by the same gates; a model that a
    gate blocks is not published. It is uploaded as als_model_<time>.npz or .pkl, and then latest.json points to it.
    Credentials, region and AWS_ENDPOINT_URL are read like those of the AWS CLI.
    """
    path, protection, rules = Path(model), protection_of(values), Rules(test, dict(most), force)
    conversion, settings = conversion_of(path, values), Settings(model_path=path, **values)
    uploading = Uploading(uri, protection, keep, upload_only)
    asyncio.run(_publish(model, conversion, settings, uploading, rules))


@click.command()
@click.argument("uri", metavar="s3://BUCKET/PREFIX/")
@click.option("--json", "as_json", is_flag=True, help="Print the versions as JSON.")
@settings_options("s3_request_payer")
def versions(uri: str, as_json: bool, s3_request_payer: str) -> None:
    """List the models in S3, newest first, and mark the latest."""
    asyncio.run(show_versions(uri, s3_request_payer, as_json=as_json))


@click.command()
@click.argument("uri", metavar="s3://BUCKET/PREFIX/MODEL")
@protection_options()
@settings_options("s3_request_payer")
def promote(uri: str, s3_request_payer: str, **values: Any) -> None:
    """Make an earlier model the latest, to roll back or forward."""
    asyncio.run(promote_model(uri, protection_of(values), s3_request_payer))


@click.command()
@click.argument("uri", metavar="s3://BUCKET/PREFIX/")
@click.option("--to", "path", type=click.Path(path_type=Path), required=True, help="Where to put the model.")
@settings_options(*_IMPORTING, "s3_timeout_seconds", "s3_request_payer")
def pull(uri: str, path: Path, **values: Any) -> None:
    """Download the latest model from S3, once.

    Exits with 0 if the model is then at the path, 1 if not. The model is first checked as a server would check it; a
    bad one replaces nothing. The file at the path is replaced atomically, so a server that watches it swaps the model
    in. A URI that does not end with "/" names one model.
    """
    asyncio.run(pull_model(Settings(model_path=path, **values), uri))


def protection_of(values: dict[str, Any]) -> Protection:
    """Take the upload options out of a command's values."""
    from service.s3.uploading import Protection

    sse, kms_key = values.pop("sse"), values.pop("kms_key")
    if sse == "AES256" and kms_key:
        raise SettingsError("--kms-key only works with --sse aws:kms; use that, or drop --kms-key.")
    tags = []
    for tag in values.pop("tags", ()):
        name, equals, value = tag.partition("=")
        if not name or not equals:
            raise SettingsError(f"The tag {tag!r} is not NAME=VALUE.")
        tags.append((name, value))
    return Protection(sse or ("aws:kms" if kms_key else None), kms_key, tuple(tags))


@dataclass(frozen=True, slots=True)
class Uploading:
    """Where a model is published, and how. keep: how many models stay there, None for all."""

    uri: str
    protection: Protection
    keep: int | None = None
    upload_only: bool = False


async def _publish(model: str, conversion: Conversion, settings: Settings, uploading: Uploading, rules: Rules) -> None:
    """Publish a model file, or what a model of Spark is converted to. Raises ConversionError and those of both."""
    if not model.startswith("s3://") and not conversion.model.is_dir():
        await publish_model(settings, uploading, rules)
        return
    with tempfile.TemporaryDirectory(prefix="als-publish-") as scratch:
        converted = replace(settings, model_path=Path(scratch) / "als_model.npz")
        await convert_model(model, conversion, converted.model_path, settings)
        await publish_model(converted, uploading, rules)


async def publish_model(settings: Settings, uploading: Uploading, rules: Rules) -> None:
    """Check a model as the server would, upload it and point to it. Raises ModelRejectedError, S3Error."""
    from service.cli.progress import bar
    from service.s3 import publishing
    from service.s3.client import connected  # imported here, because botocore is slow to load

    prefix, path, upload_only = parse_prefix(uploading.uri), settings.model_path, uploading.upload_only
    async with connected(prefix, settings.s3_request_payer, attempts=ATTEMPTS) as client:
        async with imported(settings) as snapshot:
            model = _described(snapshot)
            click.echo(f"🧪 {path} would be served: version {model.sha256[:16]}, {_counted(model)} (users × items)")
            forced = await compare_with_followed(client, prefix, settings, snapshot, rules)
        model = msgspec.structs.replace(model, forced=forced)
        with bar(f"⬆️ Uploading {path.name}", model.size) as on_bytes:
            pointer, is_latest = await publishing.publish(
                client, prefix, path, model, uploading.protection, on_bytes, upload_only=upload_only
            )
        click.echo(f"✅ {'Uploaded' if upload_only else 'Published'} {prefix.at(pointer.key)} ({pointer.size} bytes)")
        if not is_latest:
            why = "💤 No server follows it" if upload_only else "⚠️ A newer model stays the latest"
            click.echo(f"{why}; als-serve promote {prefix.at(pointer.key)} changes that")
        for key in [] if uploading.keep is None else await publishing.prune(client, prefix, uploading.keep):
            click.echo(f"🧹 Removed {prefix.at(key)}")


async def show_versions(uri: str, payer: str, *, as_json: bool) -> None:
    """Print the models under a prefix, newest first. Raises S3Error."""
    from service.s3 import publishing
    from service.s3.client import connected

    prefix = parse_prefix(uri)
    async with connected(prefix, payer, attempts=ATTEMPTS) as client:
        found = await publishing.versions(client, prefix)
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    names = [Column(name, no_wrap=True) for name in ("", "model", "bytes", "users × items", "version")]
    table = Table(*names, "quality", box=box.SIMPLE, padding=(0, 1, 0, 0))
    for version in found:
        table.add_row(*map(plain, _row(version, prefix)))
    print_table(table)
    has_candidate = any(version.candidate_percent is not None for version in found)
    candidate = ", and a percentage the candidate" if has_candidate else ""
    models = "1 model" if len(found) == 1 else f"{len(found)} models"
    click.echo(f"{models} under {prefix}; ▶ marks the one that servers follow{candidate}")


async def promote_model(uri: str, protection: Protection, payer: str) -> None:
    """Make a model that was published earlier the latest. Raises S3Error."""
    from service.s3 import publishing
    from service.s3.client import connected

    place = parse_location(uri)
    if place.is_prefix:
        raise SettingsError(f"{uri} is a prefix, not a model; als-serve versions {uri} lists its models.")
    async with connected(place, payer, attempts=ATTEMPTS) as client:
        pointer = await publishing.promote(client, place, protection)
    click.echo(f"✅ {place} is now the latest: version {pointer.sha256[:16]}")


async def pull_model(settings: Settings, uri: str) -> None:
    """Download the latest model to the model path, unless it is there already. Raises ModelRejectedError, S3Error."""
    from service.cli.progress import bar
    from service.s3.client import connected
    from service.s3.failures import deadline
    from service.s3.fetching import fetch, stands_at, sweep
    from service.s3.finding import find

    location, path = parse_location(uri), settings.model_path

    async def admit(part: Path) -> None:
        limit.reschedule(None)  # which is over downloads, and an import has its own
        async with imported(replace(settings, model_path=part)):
            pass

    sweep(path)
    async with (
        connected(location, settings.s3_request_payer, attempts=ATTEMPTS) as client,
        deadline(settings.s3_timeout_seconds, location) as limit,
    ):
        found = await find(client, location, None)
        assert found  # no version is known yet, so it cannot be unchanged
        place = location.at(found.key)
        if found.sha256 and stands_at(path, found.size, found.sha256):
            click.echo(f"💤 {path} is already {plain(str(place))}")
            return
        with bar(f"⬇️ Downloading {plain(found.key)}", found.size) as on_bytes:
            download = await fetch(client, location.bucket, found, path, on_bytes, admit)
    click.echo(f"✅ Downloaded {plain(str(place))} to {path} ({download.bytes} bytes, version {download.sha256[:16]})")


def _described(snapshot: Snapshot) -> Pointer:
    """Return a model's pointer; its key is not known yet."""
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
    mark = "▶" if version.is_latest else "" if version.candidate_percent is None else f"{version.candidate_percent:g}%"
    row = [mark, version.key.removeprefix(prefix.key), str(version.size)]
    pointer = version.pointer
    if pointer is None:
        return [*row, "", "", "not published by als-serve"]
    return [*row, _counted(pointer), pointer.sha256[:16], _quality(pointer)]


def _quality(pointer: Pointer) -> str:
    metrics = pointer.metrics or {}
    shown = [f"{name} {value}" for name, value in metrics.items() if name.startswith("ndcg")]
    return ", ".join([*shown, f"forced past {' and '.join(pointer.forced)}"] if pointer.forced else shown)


def _counted(pointer: Pointer) -> str:
    counts = pointer.counts
    return f"{counts.users} × {counts.items}" if counts else ""
