"""The HTTP API: parse, call, shape the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from aiohttp import web

from service.api import answers, openapi
from service.api.around import Around
from service.api.pages import read_pages
from service.api.queries import Queries
from service.api.results import Results
from service.api.routes import ROUTES, add_routes
from service.api.shared import SHARED, Fallback, Limits, Shared
from service.live.report import Following
from service.live.store import ModelStore
from service.metrics import Metrics

BODY_SECONDS = 10.0


class Configured(Protocol):
    """What the API needs to know of the settings."""

    @property
    def max_n(self) -> int:
        """The largest n a request may ask for."""

    @property
    def fallback(self) -> Fallback:
        """What an unknown user gets."""

    @property
    def query_threads(self) -> int:
        """The threads for long queries."""

    @property
    def access_log(self) -> float:
        """The share of requests that are logged."""


def set_up(
    app: web.Application,
    settings: Configured,
    store: ModelStore,
    metrics: Metrics,
    following: Following | None = None,
    *,
    body_seconds: float = BODY_SECONDS,
) -> None:
    """Give an app the API's routes and what its handlers share.

    ``following`` tells of S3, where that is followed. ``body_seconds`` is how long the body of a request may
    take to arrive.
    """
    limits = Limits(settings.max_n, settings.fallback, body_seconds)
    app[SHARED] = shared = Shared(
        store=store,
        metrics=metrics,
        limits=limits,
        queries=Queries(settings.query_threads, metrics),
        results=Results(metrics),
        pages=read_pages(answers.encode(openapi.document(ROUTES, limits))),
        following=following,
    )
    app.cleanup_ctx.append(_closing_queries)
    add_routes(app.router, Around(shared, settings.access_log))


async def _closing_queries(app: web.Application) -> AsyncIterator[None]:
    yield
    app[SHARED].queries.close()
