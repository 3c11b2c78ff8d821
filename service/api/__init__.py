"""The HTTP API: parse a request, ask the model, shape the answer.

What speaks HTTP lives here, and nothing else: models are asked through ``model`` and ``live.status``; settings, model
files and background work belong elsewhere. This file only puts the modules together:

- ``routes``: each route once, as a table; ``routing`` gives it to aiohttp
- ``parameters``: each option of a request once, as a field of a struct; ``query_strings`` and ``bodies`` read them
- ``answers`` and ``problems``: the shapes of answers and of errors, and the status of each error
- ``handlers/``: what answers each route, one module for each thing that is asked about
- ``context``: what the handlers share; ``queries``: where a long query runs
- ``instrument``: what happens around every handler; ``static``: the files of pages
- ``openapi/``: the document that is made of the routes, the parameters and the answers
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Protocol

from aiohttp import web

from service.api import answers
from service.api.context import CONTEXT, Context, Fallback, Limits, Results, Scrape
from service.api.instrument import Instrument
from service.api.openapi.document import document
from service.api.queries import Queries
from service.api.routes import ROUTES
from service.api.routing import add_routes
from service.api.static import read_pages
from service.live.scraping import scrape as own_scrape
from service.live.status import Status
from service.observe.metrics import Metrics

BODY_SECONDS = 10.0
_MONITORING = frozenset({"/healthz", "/readyz", "/metrics"})


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
    status: Status,
    metrics: Metrics,
    *,
    scrape: Scrape | None = None,
    waiting_queries: int | None = None,
    body_seconds: float = BODY_SECONDS,
) -> None:
    """Give an app the API's routes and what its handlers share.

    ``scrape`` gives the metrics, where that is not up to this process alone. ``waiting_queries`` is how many long
    queries may wait for a thread, and ``body_seconds`` how long the body of a request may take to arrive.
    """
    limits = Limits(settings.max_n, settings.fallback, body_seconds)
    routes = [route.within(limits) for route in ROUTES]
    app[CONTEXT] = context = Context(
        status=status,
        metrics=metrics,
        limits=limits,
        queries=Queries(settings.query_threads, metrics, waiting_queries),
        results=Results(metrics),
        pages=read_pages(answers.encode(document(routes))),
        scrape=scrape or partial(own_scrape, status, metrics),
    )
    app.cleanup_ctx.append(_closing_queries)
    add_routes(app.router, routes, Instrument(context, settings.access_log))


def set_up_monitoring(app: web.Application, context: Context, access_log: float) -> None:
    """Give an app only the routes that tell how the server is: on a port of their own they are never behind others."""
    app[CONTEXT] = context
    routes = [route for route in ROUTES if route.path in _MONITORING]
    add_routes(app.router, routes, Instrument(context, access_log))


async def _closing_queries(app: web.Application) -> AsyncIterator[None]:
    yield
    app[CONTEXT].queries.close()
