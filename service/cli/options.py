"""The options that commands share, each generated from the setting or parameter it sets."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import click

from service.settings import Settings, variable

Command = Callable[..., None]

#: The settings of commands that import a model.
LOADING = (
    *("model_path", "state_dir", "keep_snapshots", "import_timeout_seconds", "import_memory_mb", "max_model_mb"),
    "pickle_keys",
)

#: The settings of commands that compare a model with another.
GATING = (
    *("gate_counts", "gate_factors", "gate_scores", "gate_overlap", "gate_golden", "golden"),
    *("min_count_share", "max_score_shift", "min_overlap"),
)

#: What service.training.plan has, which nothing that serves may import.
PRESETS = ("fast", "default", "quality")


class _OrAuto(click.ParamType[Any]):
    """A number, or "auto", which is None."""

    def __init__(self, number: click.ParamType[Any]) -> None:
        self.name = f"{number.name}|auto"
        self._number = number

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Any:
        if value == "auto":
            return None
        try:
            return self._number.convert(value, param, context)
        except click.BadParameter as error:
            self.fail(f"{error.message.rstrip('.')}, nor auto.", param, context)


_PARAMETERS = {
    "factors": (click.IntRange(1, 4096), "The number of factors of each user and item."),
    "regularization": (
        _OrAuto(click.FloatRange(0)),
        "The regularization strength; auto computes it from the data.",
    ),
    "regularization_constant": (click.FloatRange(0), "The constant of --regularization auto; more regularizes more."),
    "alpha": (click.FloatRange(0, min_open=True), "The confidence in a pair of average weight."),
    "popularity_discount": (
        click.FloatRange(0, 1),
        "Divide an item's weights by its number of users to this power; 0 turns this off.",
    ),
    "activity_discount": (
        click.FloatRange(0, 1),
        "Divide a user's weights by the user's number of items to this power; 0 turns this off.",
    ),
    "iterations": (
        _OrAuto(click.IntRange(1, 1000)),
        "The number of training iterations; auto stops when a small validation no longer improves.",
    ),
    "seed": (click.IntRange(0, 2**32 - 1), "The same seed on the same data gives the same factors."),
}
_COLUMNS = {
    "user": "The user column; names such as user_id or customer_id are detected.",
    "item": "The item column; names such as item_id or product_id are detected.",
    "weight": "The optional weight column; names such as rating or quantity are detected.",
    "time": "The optional time column; names such as timestamp or date are detected.",
}


class _Finite(click.FloatRange):
    """A number in a range; NaN passes every comparison with the ends, and JSON has neither NaN nor infinity."""

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Any:
        found = super().convert(value, param, context)
        if not math.isfinite(found):
            self.fail(f"{found} is not a number.", param, context)
        return found


class _Listed(click.ParamType[str]):
    """Text, of which a variable has several, with commas between them."""

    name = "text"
    envvar_list_splitter = ","

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> str:
        return str(value)


#: The shorter flag of a setting that can be given several times.
_MORE_FLAGS = {"pickle_keys": ("--key",), "item_columns": ("--item-column",)}
_REPEATED: dict[str, Any] = {
    "type": _Listed(),
    "multiple": True,
    "callback": lambda _context, _option, values: ",".join(values) or None,
}


def settings_options(*names: str) -> Callable[[Command], Command]:
    """Add a flag for each of these settings to a command (for all settings if none is named)."""
    types = get_type_hints(Settings)
    chosen = [setting for setting in fields(Settings) if not names or setting.name in names]
    return _options(
        click.option(
            _flag(setting.name),
            *_MORE_FLAGS.get(setting.name, ()),
            setting.name,
            envvar=variable(setting.name),
            show_envvar=True,
            show_default=True,
            help=setting.metadata["help"],
            default=setting.default,
            **(_REPEATED if setting.name in _MORE_FLAGS else {"type": _option_type(types[setting.name])}),
        )
        for setting in chosen
    )


def parameter_options() -> Callable[[Command], Command]:
    """Add a flag for each ALS parameter to a command, and one for the preset of the others."""
    preset = click.option(
        "--preset",
        type=click.Choice(PRESETS),
        default="default",
        show_default=True,
        help="128, 256 or 1024 factors; other options override the preset.",
    )
    flags = [click.option(_flag(name), type=kind, help=text) for name, (kind, text) in _PARAMETERS.items()]
    return _options([preset, *flags])


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
    return _options([files, *columns, *_layout_options(), *_counting_options(), *_evaluating_options()])


def _layout_options() -> list[Callable[[Command], Command]]:
    columns = "The columns of files without a header, as in user,item,rating,time; - for each that is not needed."
    return [
        click.option("--columns", metavar="NAMES", help=columns),
        click.option("--no-header", is_flag=True, help="The files have no header: user, item, rating and time."),
        click.option("--delimiter", metavar="TEXT", help="The delimiter of text files, if it is not detected."),
        click.option("--encoding", metavar="NAME", help="The encoding of text files, such as latin-1, if not UTF-8."),
    ]


def _counting_options() -> list[Callable[[Command], Command]]:
    age = "A row this much older than the newest counts half."
    rated = "Weights are ratings: only what exceeds this counts; 2 suits ratings from 1 to 5."
    return [
        click.option("--half-life", type=click.FloatRange(0, min_open=True), metavar="DAYS", help=age),
        click.option("--rated-above", type=float, metavar="RATING", help=rated),
        click.option("--skip-bad-rows", is_flag=True, help="Skip bad rows and count them."),
    ]


def _evaluating_options() -> list[Callable[[Command], Command]]:
    shown = partial(click.option, show_default=True)
    gpu, users = click.Choice(["auto", "on", "off"]), "Evaluate at most this many users, drawn at random."
    return [
        shown("--threads", type=click.IntRange(0), default=0, help="The number of threads; 0 uses all cores."),
        shown("--gpu", type=gpu, default="auto", help="Whether to use a GPU; auto uses one if there is one."),
        shown("--sample", type=click.IntRange(1), metavar="USERS", default=50_000, help=users),
        shown("-k", type=click.IntRange(1, 1000), default=20, help="Evaluate the top k recommendations."),
    ]


def conversion_options() -> Callable[[Command], Command]:
    """Add what belongs to a model of Spark, but is not saved with it, to a command."""
    path, shown = click.Path(path_type=Path), partial(click.option, show_default=True)
    labels = "A table with the columns id and label, or a StringIndexerModel, for the {}."
    return _options(
        [
            click.option("--seen", type=path, help="The interactions that Spark learned from: a file or directory."),
            click.option("--user-labels", type=path, help=labels.format("users")),
            click.option("--item-labels", type=path, help=labels.format("items")),
            shown("--alpha", type=_Finite(0), default=1.0, help="Spark's alpha, which it does not save."),
            shown("--reg-param", type=_Finite(0), default=0.1, help="Spark's regParam, which it does not save."),
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


class _NumberOrAuto(click.ParamType[Any]):
    name = "integer|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value == "auto" else click.INT.convert(value, param, ctx)


def _option_type(annotation: Any) -> Any:
    if get_origin(annotation) is Literal:
        return click.Choice(get_args(annotation))
    if annotation == int | Literal["auto"]:
        return _NumberOrAuto()
    if annotation in (Path, Path | None):
        return click.Path(path_type=Path, readable=False)  # a file that cannot be read now may be replaced later
    return {str | None: str, int | None: int}.get(annotation, annotation)
