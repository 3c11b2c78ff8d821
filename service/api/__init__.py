"""The HTTP API: parse a request, ask the model, shape the answer.

Only HTTP code belongs here: models are queried through ``model`` and ``live.status``; settings, model files and
background work are elsewhere. This file wires the modules together:

- ``routes``: the table of routes; ``routing`` finds the one of a request
- ``tokens``: the check of a request's token
- ``parameters``: the options of requests, as fields of structs; ``query_strings`` and ``bodies`` read them
- ``answers`` and ``problems``: the shapes of answers and errors, and the status of each error
- ``handlers/``: the handlers, one module per topic
- ``results``: lists as they are counted; ``cache``: the answers that were given last
- ``context``: what the handlers share; ``queries``: threads for long queries, and ``lanes``, where they wait
- ``shadow``: the candidate answers in the background
- ``cors``: which pages of other origins may call the API; ``hosts``: the host names that clients may use
- ``instrument``: the wrapper around every handler; ``static``: the files of pages
- ``openapi/``: the document generated from the routes, parameters and answers
"""

from __future__ import annotations

from functools import partial
from typing import Literal, NamedTuple, Protocol

from service.api import answers
from service.api.cache import ResponseCache
from service.api.context import Context, Fallback, Limits, Scrape
from service.api.cors import read_origins
from service.api.instrument import Instrument
from service.api.openapi.document import document
from service.api.queries import Queries
from service.api.results import Results
from service.api.routes import ROUTES
from service.api.routing import Router
from service.api.shadow import Shadow
from service.api.static import read_pages
from service.api.tokens import Access
from service.live.commands import Administer
from service.live.scraping import scrape as own_scrape
from service.live.status import Status
from service.model.rollout.arms import Counted
from service.observe.metrics import Metrics

BODY_SECONDS = 10.0
_MONITORING = frozenset({"/healthz", "/readyz", "/metrics"})


class Configured(Protocol):
    """The settings that the API uses."""

    @property
    def max_n(self) -> int:
        """The largest n that a request may ask for."""

    @property
    def fallback(self) -> Fallback:
        """What unknown users get."""

    @property
    def ids(self) -> Literal["native", "text"]:
        """How answers write ids that are numbers."""

    @property
    def query_threads(self) -> int:
        """The number of threads for long queries."""

    @property
    def allow_origins(self) -> str | None:
        """The origins of web pages that may call the API."""

    @property
    def queue_ms(self) -> float:
        """The milliseconds that a long query may wait for a thread."""

    @property
    def cache_mb(self) -> int:
        """The megabytes for answers that are given again."""

    @property
    def access_log(self) -> float:
        """The share of requests to log."""

    @property
    def management_port(self) -> int | None:
        """The separate port for health, metrics and administration, if there is one."""

    @property
    def allowed_hosts(self) -> str | None:
        """The hosts by which clients may address the server, None for any."""


class Api(NamedTuple):
    """The routes, ready to answer requests, and what their handlers share."""

    router: Router
    context: Context


def create_api(
    settings: Configured,
    status: Status,
    metrics: Metrics,
    *,
    access: Access | None = None,
    administer: Administer | None = None,
    scrape: Scrape | None = None,
    body_seconds: float = BODY_SECONDS,
) -> Api:
    """Return the API.

    ``access`` admits requests by their tokens, if there are any. ``administer`` carries out commands; without it or
    ``access``, or with a management port, there are no routes for that. ``scrape`` returns the metrics, if they are not
    this process's alone. ``body_seconds`` is how long a request's body may take to arrive.
    """
    limits = Limits(settings.max_n, settings.fallback, body_seconds)
    administered = access is not None and administer is not None and settings.management_port is None
    routes = [route.within(limits) for route in ROUTES if administered or route.scope != "admin"]
    context = Context(
        status=status,
        metrics=metrics,
        limits=limits,
        queries=Queries(settings.query_threads, settings.queue_ms, metrics),
        caches=_caches(settings.cache_mb * 2**20, metrics),
        results=Results(metrics),
        shadow=Shadow(metrics),
        pages=read_pages(answers.encode(document(routes, ids_as_text=settings.ids == "text"))),
        scrape=scrape or partial(own_scrape, status, metrics),
        administer=administer,
        access=access,
    )
    instrument = Instrument(context, settings.access_log, settings.allowed_hosts)
    return Api(Router(routes, instrument, access, read_origins(settings.allow_origins)), context)


def _caches(limit: int, metrics: Metrics) -> dict[Counted, ResponseCache]:
    """Return a cache for each arm; the answers of named versions are kept beside the served ones."""
    served = ResponseCache(limit, metrics)
    return {"served": served, "named": served, "candidate": ResponseCache(limit, metrics, "candidate")}


def create_monitoring(context: Context, access_log: float) -> Api:
    """Return only the routes for health checks and scrapes, and for administration by those who have tokens."""
    administered = context.access is not None
    routes = [route for route in ROUTES if route.path in _MONITORING or (administered and route.scope == "admin")]
    return Api(Router(routes, Instrument(context, access_log), context.access), context)
