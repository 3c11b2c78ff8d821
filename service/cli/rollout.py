"""The command accept: lets in a model that a gate blocked or that is quarantined."""

from __future__ import annotations

from pathlib import Path

import click

from service.cli.options import settings_options
from service.model.storage.shelf import Shelf
from service.model.storage.verdicts import Verdicts, whole_version


@click.command()
@click.argument("version")
@settings_options("state_dir")
def accept(version: str, state_dir: Path) -> None:
    """Let a model in although a gate blocks it, or its answers were bad.

    VERSION is its version, which the log and /v1/model name, or the first digits of it. A running server with the same
    state directory swaps the model in within ALS_WATCH_SECONDS if it is still the file at the model path; no restart is
    needed.
    """
    kept = Shelf(state_dir / "snapshots", keep=1).versions()
    whole = whole_version(version, kept, state_dir)
    if Verdicts(state_dir).accept(whole):
        click.echo(f"✅ Accepted model {whole}: nothing keeps it out any more")
    else:
        click.echo(f"💤 Model {whole} was accepted before")
    if whole not in kept:
        click.echo(
            f"⚠️ {state_dir} has no such model yet: it is let in once it arrives. Is that your server's --state-dir?"
        )
