"""The command token: makes a token, and the line that tells servers of it."""

from __future__ import annotations

import click

from service.tokens import SCOPES, digest_of, line_of, make_token, new_token


@click.command()
@click.argument("name")
@click.option("--scope", "scopes", type=click.Choice(SCOPES), multiple=True, required=True, help="What it permits.")
def token(name: str, scopes: tuple[str, ...]) -> None:
    """Make a token.

    Prints the token, which is stored nowhere, and the line to add to the file at ALS_TOKENS_FILE. --scope can be
    repeated.
    """
    made = new_token()
    line = line_of(make_token(name, scopes, digest_of(made)))
    click.echo(f"🔑 The token, which is shown only now: give it to {name}.\n\n{made}\n")
    click.echo(f"📄 The line to add to the file at ALS_TOKENS_FILE:\n\n{line}")
