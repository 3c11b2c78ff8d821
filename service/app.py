"""The wiring: turns settings into an application with its background work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Never

from aiohttp import web
from prometheus_client import CollectorRegistry

from service import api
from service.live.background import keep_running, measure_lag
from service.live.fallback_training import FallbackTrainer
from service.live.importing import ImportLimits
from service.live.models import Live, keep_model
from service.live.preparing import Preparation
from service.live.reloader import Reloader, request_every
from service.live.report import Following
from service.live.titles import TitlesLoader
from service.live.watcher import Watcher
from service.model.storage.shelf import Shelf
from service.observe.metrics import Metrics
from service.s3.location import parse_location
from service.settings import Settings, child_environment

if TYPE_CHECKING:
    from service.live.s3_follower import S3Follower

Work = Callable[[], Awaitable[Never]]


def create_live(settings: Settings, metrics: Metrics, following: Following | None = None) -> Live:
    """Build the parts that import, keep and serve the model of these settings."""
    shelf = Shelf(settings.state_dir / "snapshots", settings.keep_snapshots)
    preparation = Preparation(shelf, _limits(settings), following.seconds_of if following else None)
    return keep_model(settings.model_path, preparation, metrics, settings.watch_seconds)


def _limits(settings: Settings) -> ImportLimits:
    return ImportLimits(settings.import_timeout_seconds, settings.import_memory_mb, child_environment())


def create_app(settings: Settings) -> web.Application:
    """Return the server's application; its background work runs from start to clean-up.

    Raises SettingsError if the S3 URI is invalid.
    """
    metrics = Metrics(CollectorRegistry())
    follower = _follower(settings, settings.s3_uri, metrics) if settings.s3_uri else None
    following = follower.following if follower else None
    live = create_live(settings, metrics, following)
    watcher = Watcher(settings.model_path, live.reloader.request, settings.watch_seconds, metrics)
    app = web.Application()
    api.set_up(app, settings, live, metrics, following)
    background: dict[str, Work] = {
        "Keeping the model current": live.reloader.run,
        "Watching the model file": watcher.run,
        "Measuring the event loop's lag": lambda: measure_lag(metrics),
    }
    if follower:
        background["Following S3"] = follower.run
    if settings.training_data:
        trainer = FallbackTrainer(
            live,
            settings.training_data,
            settings.state_dir,
            child_environment(),
            metrics,
            after=follower.polled if follower else None,
        )
        background["Training a fallback model"] = trainer.run
    if settings.item_titles:
        shelf = Shelf(settings.state_dir / "titles", keep=1)
        loader = TitlesLoader(settings.item_titles, live.slot, shelf, _limits(settings))
        reloader = Reloader(settings.item_titles, loader, settings.watch_seconds)
        background["Keeping the titles of items current"] = reloader.run
        background["Watching the titles file"] = lambda: request_every(settings.watch_seconds, reloader)
    for name, work in background.items():
        app.cleanup_ctx.append(_in_background(name, work))
    return app


def _follower(settings: Settings, uri: str, metrics: Metrics) -> S3Follower:
    from service.live.s3_follower import (
        S3Follower,  # imported here, because botocore costs time and memory that other servers do not need
    )

    return S3Follower(
        parse_location(uri),
        settings.model_path,
        settings.state_dir,
        metrics,
        poll=settings.s3_poll_seconds,
        timeout=settings.s3_timeout_seconds,
    )


def _in_background(name: str, work: Work) -> Callable[[web.Application], AsyncIterator[None]]:
    async def context(_: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(keep_running(name, work))
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    return context
