"""The command health: whether the server on this machine answers."""

from __future__ import annotations

from pathlib import Path

import click

from service.cli.options import settings_options
from service.health import ask_health


@click.command()
@settings_options("state_dir")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), default=2.0, help="How long to wait.")
def health(state_dir: Path, seconds: float) -> None:
    """Ask the running server for its health, at the address it has.

    Exits with 0 if it answers, 1 if not. The server notes its address in its state directory. With ALS_MANAGEMENT_PORT,
    that port is asked.
    """
    ask_health(state_dir, seconds)
