"""The demonstration: a sample shop, a model trained on it, and the real server on that model."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
import msgspec
import numpy as np
from aiohttp import web

from service.api.context import CONTEXT
from service.cli.training import train_model
from service.model.facts import DEFAULTS
from service.model.storage.snapshot import Snapshot
from service.server import serve
from service.settings import Settings
from service.training.recipe import Recipe
from service.training.sample import write_sample

# A small shop of twelve genres needs fewer factors than most.
_PARAMETERS = msgspec.structs.replace(DEFAULTS, factors=32)


def train_on_sample(directory: Path) -> tuple[Path, Path]:
    """Write the sample shop and a model trained on it; return both paths, titles last. Raises TrainingError."""
    click.echo(f"🏪 Making the sample shop in {directory}")
    sample = write_sample(directory)
    model_path = directory / "als_model.npz"
    train_model(
        Recipe([sample.interactions]),
        model_path,
        _PARAMETERS,
        "npz",
        with_evaluation=False,
        with_loss=False,
        as_json=False,
    )
    return model_path, sample.titles


async def serve_demo(model_path: Path, titles: Path, host: str, port: int) -> None:
    """Serve a model and, once it is ready, print what to try."""
    settings = Settings(
        model_path=model_path,
        item_titles=titles,
        state_dir=model_path.parent / "state",
        host=host,
        port=port,
        drain_seconds=0.0,
    )
    tasks: set[asyncio.Task[None]] = set()

    def on_start(app: web.Application, bound_port: int) -> None:
        tasks.add(asyncio.create_task(_show_tour(app, f"http://{host}:{bound_port}")))

    await serve(settings, on_start)


async def _show_tour(app: web.Application, url: str) -> None:
    while (snapshot := app[CONTEXT].store.current) is None:
        await asyncio.sleep(0.05)
    click.echo(tour(snapshot, url))


def tour(snapshot: Snapshot, url: str) -> str:
    """Return curl lines that work for this model."""
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
