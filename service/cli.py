"""The command line: als-serve serve | check | recommend | demo."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import click

from service import __version__, terminal
from service.errors import AlsServeError
from service.logs import set_up_logging
from service.server import serve
from service.settings import Settings, refuse_unknown_variables, variable

Command = Callable[..., None]

_LOADING = ("model_path", "state_dir", "keep_snapshots", "import_timeout_seconds", "import_memory_mb")


class _Group(click.Group):
    """Shows what goes wrong as one sentence and exits with 1, never with a stack trace."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            refuse_unknown_variables()
            return super().invoke(ctx)
        except AlsServeError as error:
            raise click.ClickException(str(error)) from None


def settings_options(*names: str) -> Callable[[Command], Command]:
    """Give a command a flag for each of these settings (for all of them if none is named)."""
    types = get_type_hints(Settings)
    chosen = [setting for setting in fields(Settings) if not names or setting.name in names]

    def decorate(command: Command) -> Command:
        for setting in reversed(chosen):
            option = click.option(
                "--" + setting.name.replace("_", "-"),
                type=_option_type(types[setting.name]),
                default=setting.default,
                envvar=variable(setting.name),
                show_envvar=True,
                show_default=True,
                help=setting.metadata["help"],
            )
            command = option(command)
        return command

    return decorate


def _option_type(annotation: Any) -> Any:
    if get_origin(annotation) is Literal:
        return click.Choice(get_args(annotation))
    return click.Path(path_type=Path) if annotation is Path else annotation


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="als-serve")
def main() -> None:
    """Serve ALS recommendation models: safe loading, exact top-N, hot swap.

    Every flag is also an environment variable, named beside it.
    """


@main.command("serve")
@settings_options()
def serve_command(**values: Any) -> None:
    """Serve the model at the model path, and every one that replaces it."""
    settings = Settings(**values)
    set_up_logging(settings.log_format, settings.log_level)
    asyncio.run(serve(settings))


@main.command()
@click.option("--deep", is_flag=True, help="Also verify by sha256 what the state directory keeps of the model.")
@settings_options(*_LOADING)
def check(deep: bool, **values: Any) -> None:
    """Test whether the model would be served, and show what would be; exit 0 if so, 1 if not.

    The model is imported into a temporary directory (TMPDIR): what a server keeps is not touched.
    """
    set_up_logging("console", "info", sys.stdout)
    asyncio.run(terminal.check(Settings(**values), deep=deep))


@main.command()
@click.option("--user", required=True, help="The user's id.")
@click.option("-n", default=10, show_default=True, type=click.IntRange(1, 1000), help="How many items.")
@settings_options(*_LOADING)
def recommend(user: str, n: int, **values: Any) -> None:
    """Show what a user would be recommended, as a table."""
    set_up_logging("console", "warning")
    asyncio.run(terminal.recommend(Settings(**values), user, n))


@main.command()
@click.option(
    "--directory",
    default=Path("demo-shop"),
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the sample shop, its model and the server's state are written.",
)
@settings_options("host", "port")
def demo(directory: Path, host: str, port: int) -> None:
    """Make a sample shop, train a model on it, and serve it."""
    from service.demo import serve_demo, train_on_sample  # only here: what serves never imports what trains

    set_up_logging("console", "info")
    asyncio.run(serve_demo(train_on_sample(directory), host, port))
