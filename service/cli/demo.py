"""The commands sample and demo: a sample shop, a model trained on it, and a server for that model."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
import numpy as np
import uvloop

from service.api.context import Context
from service.cli.options import settings_options
from service.cli.training import train_model
from service.listening import authority
from service.model.storage.snapshot import Snapshot
from service.observe.logs import set_up_logging
from service.server import check_port, serve
from service.settings import Settings

_DIRECTORY = click.Path(path_type=Path, file_okay=False)
# A small shop of twelve genres needs fewer factors than most.
_FACTORS = 32


@click.command()
@click.option("--directory", default=Path("demo-shop"), show_default=True, type=_DIRECTORY, help="Where to write it.")
def sample(directory: Path) -> None:
    """Write the sample shop's data: items.csv and interactions.csv."""
    from service.training.sample import write_sample  # imported here, because serving never imports training code

    paths = write_sample(directory)
    click.echo(f"🏪 Wrote the sample shop: {paths.items} and {paths.interactions}")


@click.command()
@click.option(
    "--directory",
    default=Path("demo-shop"),
    show_default=True,
    type=_DIRECTORY,
    help="Where to write the sample shop, its model and the server's state.",
)
@settings_options("host", "port")
def demo(directory: Path, host: str, port: int) -> None:
    """Make a sample shop, train a model on it and serve it."""
    set_up_logging("console", "info")
    check_port(host, port)  # a second running demo would replace this one's model
    uvloop.run(serve_demo(*train_on_sample(directory), host, port))


def train_on_sample(directory: Path) -> tuple[Path, Path]:
    """Write the sample shop and train a model on it; return the paths of model and catalog. Raises TrainingError."""
    from service.training.plan import Plan
    from service.training.recipe import Recipe
    from service.training.sample import write_sample

    click.echo(f"🏪 Making the sample shop in {directory}")
    shop = write_sample(directory)
    model_path = directory / "als_model.npz"
    train_model(
        Recipe([shop.interactions]),
        model_path,
        Plan(factors=_FACTORS),
        "npz",
        with_evaluation=False,
        with_loss=False,
        as_json=False,
    )
    return model_path, shop.items


async def serve_demo(model_path: Path, items: Path, host: str, port: int) -> None:
    """Serve a model and, once it is ready, print what to try."""
    settings = Settings(
        model_path=model_path,
        items=items,
        state_dir=model_path.parent / "state",
        host=host,
        port=port,
        drain_seconds=0.0,
    )
    tasks: set[asyncio.Task[None]] = set()

    def on_start(context: Context, bound_port: int) -> None:
        tasks.add(asyncio.create_task(_show_tour(context, f"http://{authority(host, bound_port)}")))

    await serve(settings, on_start)


async def _show_tour(context: Context, url: str) -> None:
    while (generation := context.status.slot.current) is None:  # noqa: ASYNC110 - a server has no use for an event
        await asyncio.sleep(0.05)
    click.echo(tour(generation.snapshot, url))


def tour(snapshot: Snapshot, url: str) -> str:
    """Return curl commands that work with this model."""
    first = np.zeros(1, np.int64)
    user, item = snapshot.model.user_ids.at(first)[0], snapshot.model.item_ids.at(first)[0]
    return f"""
🎉 Ready. Look at it: {url}/
   Or try, in another terminal:

   curl '{url}/v1/users/{user}/recommendations?n=5'
   curl '{url}/v1/users/{user}/items?n=5'
   curl '{url}/v1/items/{item}/similar?n=5'
   curl '{url}/v1/recommendations/anonymous' -H 'Content-Type: application/json' \\
        -d '{{"items": [{{"item_id": "{item}"}}], "n": 5}}'
   curl '{url}/v1/model'

   Ctrl+C stops it."""
