"""The options that commands share, each generated from the setting or parameter it sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import click

from service.model.facts import DEFAULTS
from service.settings import Settings, variable

Command = Callable[..., None]

#: The settings of commands that import a model.
LOADING = ("model_path", "state_dir", "keep_snapshots", "import_timeout_seconds", "import_memory_mb")

_PARAMETERS = {
    "factors": (click.IntRange(1, 4096), "The number of factors of each user and item."),
    "regularization": (click.FloatRange(0), "The regularization strength."),
    "alpha": (click.FloatRange(0, min_open=True), "The confidence per unit of a pair's weight."),
    "popularity_discount": (
        click.FloatRange(0, 1),
        "Divide an item's weights by its number of users to this power; 0 turns this off.",
    ),
    "iterations": (click.IntRange(1, 1000), "The number of training iterations."),
    "seed": (click.IntRange(0, 2**32 - 1), "The same seed on the same data gives the same factors."),
}
_COLUMNS = {
    "user": "The user column; names such as user_id or customer_id are detected.",
    "item": "The item column; names such as item_id or product_id are detected.",
    "weight": "The optional weight column; names such as rating or quantity are detected.",
    "time": "The optional time column; names such as timestamp or date are detected.",
}


def settings_options(*names: str) -> Callable[[Command], Command]:
    """Add a flag for each of these settings to a command (for all settings if none is named)."""
    types = get_type_hints(Settings)
    chosen = [setting for setting in fields(Settings) if not names or setting.name in names]
    return _options(
        click.option(
            _flag(setting.name),
            type=_option_type(types[setting.name]),
            default=setting.default,
            envvar=variable(setting.name),
            show_envvar=True,
            show_default=True,
            help=setting.metadata["help"],
        )
        for setting in chosen
    )


def parameter_options() -> Callable[[Command], Command]:
    """Add a flag for each ALS parameter to a command."""
    return _options(
        click.option(_flag(name), type=kind, default=getattr(DEFAULTS, name), show_default=True, help=text)
        for name, (kind, text) in _PARAMETERS.items()
    )


def recipe_options(data: str) -> Callable[[Command], Command]:
    """Add the options of a Recipe to a command; ``data`` names its files: an argument or a flag."""
    paths = click.Path(path_type=Path)
    files = (
        click.option(
            data, "paths", type=paths, multiple=True, required=True, help="A file or directory of interactions."
        )
        if data.startswith("-")
        else click.argument("paths", metavar=data, type=paths, nargs=-1, required=True)
    )
    columns = [click.option(f"--{role}-column", metavar="NAME", help=text) for role, text in _COLUMNS.items()]
    return _options(
        [
            files,
            *columns,
            click.option("--skip-bad-rows", is_flag=True, help="Skip bad rows and count them."),
            click.option(
                "--threads",
                type=click.IntRange(0),
                default=0,
                show_default=True,
                help="The number of threads; 0 uses all cores.",
            ),
            click.option(
                "-k",
                type=click.IntRange(1, 1000),
                default=20,
                show_default=True,
                help="Evaluate the top k recommendations.",
            ),
        ]
    )


def protection_options() -> Callable[[Command], Command]:
    """Add the flags for server-side encryption in S3 to a command."""
    return _options(
        [
            click.option(
                "--sse",
                type=click.Choice(["AES256", "aws:kms"]),
                help="Server-side encryption; by default, the bucket decides.",
            ),
            click.option("--kms-key", metavar="ID", help="The KMS key for --sse aws:kms."),
        ]
    )


def _options(made: Any) -> Callable[[Command], Command]:
    options: Sequence[Callable[[Command], Command]] = list(made)

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _option_type(annotation: Any) -> Any:
    if get_origin(annotation) is Literal:
        return click.Choice(get_args(annotation))
    if annotation in (Path, Path | None):
        return click.Path(path_type=Path, readable=False)  # a file that cannot be read now may be replaced later
    return str if annotation == str | None else annotation
