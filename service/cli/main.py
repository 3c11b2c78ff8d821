"""The command line: als-serve serve | health | check | recommend | train | … | publish | versions | … | demo."""

from __future__ import annotations

import sys
from importlib import import_module
from io import TextIOWrapper
from typing import Any, Final

import click

from service import __version__
from service.cli.options import settings_options
from service.environment import refuse_empty_variables, refuse_unknown_variables
from service.errors import AlsServeError
from service.observe.logs import set_up_logging
from service.settings import Settings
from service.untrusted import escaped

#: The module of ``service.cli`` that has each command, and is imported when the command is used.
_MODULES: Final = {
    "accept": "rollout",
    "admin": "administration",
    "candidate": "candidate",
    "check": "checking",
    "convert": "convert",
    "health": "health",
    "recommend": "models",
    "recommend-all": "bulk",
    "train": "training",
    "evaluate": "evaluation",
    "tune": "training",
    "publish": "s3",
    "versions": "s3",
    "promote": "s3",
    "pull": "s3",
    "sample": "demo",
    "demo": "demo",
    "token": "tokens",
}


class _Group(click.Group):
    """Shows errors as one sentence and exits with 1, never with a stack trace."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_MODULES})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _MODULES:
            self.add_command(getattr(import_module(f"service.cli.{_MODULES[cmd_name]}"), cmd_name.replace("-", "_")))
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        if not ctx.resilient_parsing:  # nothing is run, as when a shell completes a line
            refuse_unknown_variables(name)
            refuse_empty_variables()
        return name, command, rest

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except AlsServeError as error:
            raise click.ClickException(str(error)) from None
        except OSError as error:  # of a path that was given, as one with a name that is too long
            if error.filename is None:
                raise
            raise click.ClickException(f"{escaped(str(error.filename))} cannot be used: {error.strerror}.") from None


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="als-serve")
def main() -> None:
    """Serve ALS recommendation models: safe loading, exact top-N, hot swap.

    Settings can also be given as environment variables; each command's --help names them.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for paths that are not UTF-8


@main.command("serve")
@settings_options()
def serve_command(**values: Any) -> None:
    """Serve the model at the model path and swap in its replacements."""
    import uvloop  # here, because other commands do not need a server

    from service.server import serve

    settings = Settings(**values)
    set_up_logging(settings.log_format, settings.log_level)
    uvloop.run(serve(settings))
