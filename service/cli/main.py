"""The command line: als-serve serve | check | recommend | train | evaluate | tune | publish | versions | … | demo."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from service import __version__
from service.cli import demo, models, s3, training
from service.cli.options import settings_options
from service.errors import AlsServeError
from service.observe.logs import set_up_logging
from service.server import serve
from service.settings import Settings, refuse_unknown_variables


class _Group(click.Group):
    """Shows errors as one sentence and exits with 1, never with a stack trace."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            refuse_unknown_variables()
            return super().invoke(ctx)
        except AlsServeError as error:
            raise click.ClickException(str(error)) from None


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="als-serve")
def main() -> None:
    """Serve ALS recommendation models: safe loading, exact top-N, hot swap.

    Settings can also be given as environment variables; each command's --help names them.
    """


@main.command("serve")
@settings_options()
def serve_command(**values: Any) -> None:
    """Serve the model at the model path and swap in its replacements."""
    settings = Settings(**values)
    set_up_logging(settings.log_format, settings.log_level)
    asyncio.run(serve(settings))


for _command in (*models.COMMANDS, *training.COMMANDS, *s3.COMMANDS, *demo.COMMANDS):
    main.add_command(_command)
