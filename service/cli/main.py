"""The command line: als-serve serve | check | recommend | train | evaluate | tune | publish | versions | … | demo."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from service import __version__
from service.cli import models
from service.cli.options import parameter_options, protection_options, recipe_options, settings_options
from service.errors import AlsServeError, SettingsError
from service.model.facts import Parameters
from service.observe.logs import set_up_logging
from service.server import check_port, serve
from service.settings import Settings, refuse_unknown_variables

if TYPE_CHECKING:
    from service.s3.uploading import Protection
    from service.training.recipe import Recipe

_LOADING = ("model_path", "state_dir", "keep_snapshots", "import_timeout_seconds", "import_memory_mb")


class _Group(click.Group):
    """Shows what goes wrong as one sentence and exits with 1, never with a stack trace."""

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
    asyncio.run(models.check(Settings(**values), deep=deep))


@main.command()
@click.option("--user", required=True, help="The user's id.")
@click.option("-n", default=10, show_default=True, type=click.IntRange(1, 1000), help="How many items.")
@settings_options(*_LOADING)
def recommend(user: str, n: int, **values: Any) -> None:
    """Show what a user would be recommended, as a table."""
    set_up_logging("console", "warning")
    asyncio.run(models.recommend(Settings(**values), user, n))


@main.command()
@recipe_options("DATA...")
@parameter_options()
@settings_options("model_path")
@click.option("--format", "model_format", type=click.Choice(["npz", "pickle"]), default="npz", show_default=True)
@click.option("--evaluate", "with_evaluation", is_flag=True, help="Hold a fifth of each user's pairs out first.")
@click.option("--loss", "with_loss", is_flag=True, help="Show the loss of each iteration; takes some time.")
@click.option("--json", "as_json", is_flag=True, help="Print the facts as JSON.")
def train(
    model_path: Path,
    model_format: Literal["npz", "pickle"],
    with_evaluation: bool,
    with_loss: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Train a model on who had what, and put it where a server finds it.

    DATA are CSV or TSV files (gzipped or not), Parquet files, or directories of them. The model replaces the one at
    the model path at once and whole, so a server that watches the path swaps it in.
    """
    from service.cli.training import train_model  # only here, as below: what serves never imports what trains

    recipe, parameters = _recipe(values), Parameters(**values)
    options = {"with_evaluation": with_evaluation, "with_loss": with_loss, "as_json": as_json}
    train_model(recipe, model_path, parameters, model_format, **options)


@main.command()
@recipe_options("--test")
@settings_options(*_LOADING)
@click.option("--json", "as_json", is_flag=True, help="Print the metrics as JSON.")
def evaluate(as_json: bool, **values: Any) -> None:
    """Judge a model by pairs that it has not seen, and popularity beside it.

    What the model knows a user to have had already is not recommended, and does not count in the test.
    """
    from service.cli.training import evaluate_model

    set_up_logging("console", "warning")
    recipe = _recipe(values)
    asyncio.run(evaluate_model(Settings(**values), recipe, as_json=as_json))


@main.command()
@recipe_options("DATA...")
@settings_options("model_path")
@click.option("--trials", type=click.IntRange(1), default=30, show_default=True, help="How many to try in all.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="Begin no other trial after so long.")
@click.option(
    "--storage",
    type=click.Path(path_type=Path),
    default=Path("als_tuning.db"),
    show_default=True,
    help="Where trials are kept: the same command goes on where it was interrupted.",
)
@click.option(
    "--metric",
    type=click.Choice(["ndcg", "recall", "precision", "map"]),
    default="ndcg",
    show_default=True,
    help="What makes a trial the best.",
)
@click.option(
    "--max-factors",
    type=click.IntRange(1, 4096),
    default=256,
    show_default=True,
    help="More take longer, in training and in serving.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Of the split, the search and the training.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the facts of the model as JSON.")
def tune(model_path: Path, trials: int, minutes: float | None, storage: Path, as_json: bool, **values: Any) -> None:
    """Search for the parameters that suit the data, and train with the best.

    Every trial trains on four fifths of what each user had and is judged by the rest.
    """
    from service.cli.training import tune_model
    from service.training.tuning import Budget, Tuning

    recipe = _recipe(values)
    tuning = Tuning(k=recipe.k, threads=recipe.threads, **values)
    budget = Budget(trials, None if minutes is None else 60 * minutes)
    tune_model(recipe, model_path, storage, budget, tuning, as_json=as_json)


def _recipe(values: dict[str, Any]) -> Recipe:
    """Take what a recipe is made of out of a command's values."""
    from service.training.columns import ColumnNames
    from service.training.recipe import Recipe

    names = ColumnNames(**{role: values.pop(f"{role}_column") for role in ("user", "item", "weight", "time")})
    return Recipe(names=names, **{name: values.pop(name) for name in ("paths", "skip_bad_rows", "threads", "k")})


@main.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("uri", metavar="s3://BUCKET/PREFIX/")
@click.option("--keep", type=click.IntRange(1), metavar="N", help="Then remove all but the newest N models.")
@protection_options()
@click.option("--tag", "tags", metavar="NAME=VALUE", multiple=True, help="Tag the model; may be given several times.")
@settings_options("state_dir", "import_timeout_seconds", "import_memory_mb")
def publish(model: Path, uri: str, keep: int | None, **values: Any) -> None:
    """Put a model in S3 and have servers follow it.

    The model is checked first, as a server would; a bad one is refused. It goes up as als_model_<time>.npz or .pkl,
    and latest.json points to it once it is there. Credentials, region and AWS_ENDPOINT_URL are found as by the AWS CLI.
    """
    from service.cli.s3 import publish_model  # only here, as below: botocore takes time that no other command needs

    protection = _protection(values)
    asyncio.run(publish_model(Settings(model_path=model, **values), uri, protection, keep))


@main.command()
@click.argument("uri", metavar="s3://BUCKET/PREFIX/")
@click.option("--json", "as_json", is_flag=True, help="Print the versions as JSON.")
def versions(uri: str, as_json: bool) -> None:
    """Show the models in S3, the newest first, and which of them servers follow."""
    from service.cli.s3 import show_versions

    asyncio.run(show_versions(uri, as_json=as_json))


@main.command()
@click.argument("uri", metavar="s3://BUCKET/PREFIX/MODEL")
@protection_options()
def promote(uri: str, **values: Any) -> None:
    """Have servers follow a model that was published earlier: a rollback, or the way back from one."""
    from service.cli.s3 import promote_model

    asyncio.run(promote_model(uri, _protection(values)))


@main.command()
@click.argument("uri", metavar="s3://BUCKET/PREFIX/")
@click.option("--to", "path", type=click.Path(path_type=Path), required=True, help="Where the model is to stand.")
@settings_options("s3_timeout_seconds")
def pull(uri: str, path: Path, s3_timeout_seconds: float) -> None:
    """Fetch the latest model from S3 once; exit 0 if it stands at the path then, 1 if not.

    The file replaces the one before it at once and whole, so a server that watches the path swaps it in.
    A URI that does not end with "/" names one model.
    """
    from service.cli.s3 import pull_model

    asyncio.run(pull_model(uri, path, s3_timeout_seconds))


def _protection(values: dict[str, Any]) -> Protection:
    """Take how S3 is to keep something out of a command's values."""
    from service.s3.uploading import Protection

    sse, kms_key = values.pop("sse"), values.pop("kms_key")
    if sse == "AES256" and kms_key:
        raise SettingsError("--kms-key is for --sse aws:kms; leave one of the two out.")
    tags = []
    for tag in values.pop("tags", ()):
        name, equals, value = tag.partition("=")
        if not name or not equals:
            raise SettingsError(f"The tag {tag!r} is not NAME=VALUE.")
        tags.append((name, value))
    return Protection(sse or ("aws:kms" if kms_key else None), kms_key, tuple(tags))


_DIRECTORY = click.Path(path_type=Path, file_okay=False)


@main.command()
@click.option("--directory", default=Path("demo-shop"), show_default=True, type=_DIRECTORY, help="Where it is written.")
def sample(directory: Path) -> None:
    """Write the sample shop, as data to train on: items.csv and interactions.csv."""
    from service.training.sample import write_sample  # only here, as with train

    paths = write_sample(directory)
    click.echo(f"🏪 Wrote the sample shop: {paths.items} and {paths.interactions}")


@main.command()
@click.option(
    "--directory",
    default=Path("demo-shop"),
    show_default=True,
    type=_DIRECTORY,
    help="Where the sample shop, its model and the server's state are written.",
)
@settings_options("host", "port")
def demo(directory: Path, host: str, port: int) -> None:
    """Make a sample shop, train a model on it, and serve it."""
    from service.cli.demo import serve_demo, train_on_sample  # only here: what serves never imports what trains

    set_up_logging("console", "info")
    check_port(host, port)  # another demo that runs would take this one's model
    asyncio.run(serve_demo(*train_on_sample(directory), host, port))
