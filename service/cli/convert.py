"""The command convert: a model of Spark becomes a model file."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from service.app import import_limits
from service.cli.models import plain
from service.cli.options import conversion_options, settings_options
from service.errors import ConversionError
from service.live.converting import Outcome, convert_in_child
from service.model.conversion import Conversion
from service.settings import Settings

#: The settings of commands that convert a model.
CONVERTING = ("import_timeout_seconds", "import_memory_mb")
#: A command has no outer retry loop.
_ATTEMPTS = 5


@click.command()
@click.argument("model", metavar="SPARK_DIR|s3://BUCKET/PREFIX/")
@click.argument("out", type=click.Path(path_type=Path))
@conversion_options()
@settings_options(*CONVERTING, "max_model_mb", "s3_timeout_seconds", "s3_request_payer")
def convert(model: str, out: Path, **values: Any) -> None:
    """Convert a model that Spark saved to the model file OUT (npz).

    It is an ALSModel, or a pipeline, a tuned model or a model of MLflow with one, or what ops/spark/train.py wrote.
    Convert each new model: OUT does not follow SPARK_DIR.
    """
    conversion = conversion_of(Path(model), values)
    asyncio.run(convert_model(model, conversion, out, Settings(**values)))
    click.echo(f"✅ Wrote {out} ({out.stat().st_size} bytes). To try it: als-serve check {out}")


def conversion_of(model: Path, values: dict[str, Any]) -> Conversion:
    """Take the options of a conversion out of a command's values."""
    names = ("seen", "user_labels", "item_labels", "alpha", "reg_param")
    return Conversion(model, **{name: values.pop(name) for name in names})


async def convert_model(model: str, conversion: Conversion, out: Path, settings: Settings) -> None:
    """Convert a model, a directory or a prefix in S3, and say what it has.

    Raises ConversionError, TrainingError, S3Error.
    """
    async with _local(model, settings) as directory:
        outcome = await _convert(model, replace(conversion, model=directory), out, settings)
    for sentence in outcome.remarks:
        click.echo(f"⚠️ {plain(_as_given(sentence, directory, model))}")
    found = outcome.converted
    seen = "unknown" if found.pairs is None else f"{found.pairs} pairs"
    counts = f"{found.users} users × {found.items} items × {found.factors} factors"
    click.echo(f"🔁 Converted {plain(model)}: {counts}, seen {seen}")


async def _convert(model: str, conversion: Conversion, out: Path, settings: Settings) -> Outcome:
    from service.cli.progress import bars

    try:
        with bars() as report:
            return await convert_in_child(conversion, out, import_limits(settings), report)
    except ConversionError as error:
        raise ConversionError(_as_given(error.marked, conversion.model, model)) from None


def _as_given(sentence: str, directory: Path, model: str) -> str:
    """Name the model in a sentence as the user did, also if it was downloaded to a temporary directory."""
    return sentence.replace(str(directory), model.rstrip("/"))


@asynccontextmanager
async def _local(model: str, settings: Settings) -> AsyncIterator[Path]:
    """Yield the directory of a model, downloaded to a temporary one if it is in S3. Raises S3Error."""
    if not model.startswith("s3://"):
        yield Path(model)
        return
    with tempfile.TemporaryDirectory(prefix="als-convert-") as scratch:
        await _download(model if model.endswith("/") else f"{model}/", Path(scratch), settings)
        yield Path(scratch)


async def _download(uri: str, directory: Path, settings: Settings) -> None:
    from service.cli.progress import bar
    from service.s3.client import connected  # imported here, because botocore is slow to load
    from service.s3.directories import fetch_directory, list_directory
    from service.s3.failures import deadline
    from service.s3.location import parse_prefix

    prefix = parse_prefix(uri)
    async with (
        connected(prefix, settings.s3_request_payer, attempts=_ATTEMPTS) as client,
        deadline(settings.s3_timeout_seconds, prefix),
    ):
        objects = await list_directory(client, prefix, settings.max_model_mb)
        with bar(f"⬇️ Downloading {plain(uri)}", sum(entry["Size"] for entry in objects)) as on_bytes:
            await fetch_directory(client, prefix, objects, directory, on_bytes)
