"""The only wiring: settings in, an application out, with everything that lives beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry

from service import api
from service.live.child import ImportLimits
from service.live.lag import measure_lag
from service.live.store import ModelStore
from service.live.watcher import Watcher
from service.metrics import Metrics
from service.model.shelf import Shelf
from service.settings import Settings, child_environment


def create_store(settings: Settings, metrics: Metrics) -> ModelStore:
    """Return the store that imports, keeps and serves the model of these settings."""
    limits = ImportLimits(settings.import_timeout_seconds, settings.import_memory_mb, child_environment())
    shelf = Shelf(settings.state_dir / "snapshots", settings.keep_snapshots)
    return ModelStore(settings.model_path, shelf, limits, metrics)


def create_app(settings: Settings) -> web.Application:
    """Return the server's application; its background tasks run from its start to its clean-up."""
    metrics = Metrics(CollectorRegistry())
    store = create_store(settings, metrics)
    watcher = Watcher(settings.model_path, store, settings.watch_seconds, metrics)
    app = web.Application()
    api.set_up(app, settings, store, metrics)
    for task in (store.run, watcher.run, lambda: measure_lag(metrics)):
        app.cleanup_ctx.append(_running(task))
    return app
