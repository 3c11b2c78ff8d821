"""The command candidate: which model in S3 is the candidate, and who gets it."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from service.cli.options import protection_options, settings_options
from service.cli.s3 import ATTEMPTS, protection_of
from service.errors import SettingsError
from service.s3.location import parse_location
from service.s3.uploading import Protection


@click.command()
@click.argument("uri", metavar="s3://BUCKET/PREFIX/MODEL")
@click.option("--percent", type=click.FloatRange(0, 100), metavar="P", help="The percentage of users who get it.")
@click.option(
    "--shadow",
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    help="The share of requests that it also answers in the background, for comparison only.",
)
@click.option("--off", is_flag=True, help="Remove the candidate; the URI may be the prefix alone.")
@protection_options()
@settings_options("s3_request_payer")
def candidate(
    uri: str, percent: float | None, shadow: float | None, off: bool, s3_request_payer: str, **values: Any
) -> None:
    """Give a candidate model in S3 to some of the users.

    Servers that follow the prefix download it next to the served model. The same users get it on every server; with a
    greater percentage, they keep it. To change the percentage, or the share, run the command again.
    """
    protection = protection_of(values)
    if off and (percent is not None or shadow is not None):
        raise SettingsError("--off leaves no candidate; drop --percent and --shadow.")
    if off:
        asyncio.run(end_candidate(uri, s3_request_payer))
    elif percent is None and shadow is None:
        raise SettingsError("Say who gets the candidate: --percent 10, or --shadow 0.1 to compare it only, or --off.")
    else:
        asyncio.run(begin_candidate(uri, percent or 0.0, shadow, protection, s3_request_payer))


async def begin_candidate(uri: str, percent: float, shadow: float | None, protection: Protection, payer: str) -> None:
    """Make a model that was published earlier the candidate. Raises S3Error."""
    from service.s3 import publishing
    from service.s3.client import connected  # imported here, because botocore is slow to load

    place = parse_location(uri)
    if place.is_prefix:
        raise SettingsError(f"{uri} is a prefix, not a model; als-serve versions {uri} lists its models.")
    async with connected(place, payer, attempts=ATTEMPTS) as client:
        pointer = await publishing.point_to_candidate(client, place, percent, shadow, protection)
    compared = "" if shadow is None else f", compared for {shadow:.1%} of requests"
    click.echo(f"✅ {place} is now the candidate for {percent:g}% of users{compared}: version {pointer.sha256[:16]}")


async def end_candidate(uri: str, payer: str) -> None:
    """Have no candidate. Raises S3Error."""
    from service.s3 import publishing
    from service.s3.client import connected

    place = parse_location(uri)
    async with connected(place, payer, attempts=ATTEMPTS) as client:
        was = await publishing.remove_candidate(client, place.parent)
    if was:
        click.echo(f"✅ {place.parent} has no candidate any more; it was {place.at(was.key)}")
    else:
        click.echo(f"💤 {place.parent} had no candidate")
