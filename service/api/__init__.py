"""The HTTP API: parse, call, shape the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from aiohttp import web

from service.api import answers, exposition, health, items, model, openapi, pages, recommendations, users
from service.api.keys import SHARED, Fallback, Limits, Shared
from service.api.middleware import around_every_request
from service.api.queries import Queries
from service.api.results import Results
from service.live.report import Following
from service.live.store import ModelStore
from service.metrics import Metrics

BODY_SECONDS = 10.0

# The regular expression lets an id hold braces, which aiohttp's own pattern of a path segment does not.
_USER = "/v1/users/{user:[^/]+}"
_ITEM = "/v1/items/{item:[^/]+}"


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
    """Give an app the API's routes, its one middleware and what its handlers share.

    ``following`` tells of S3, where that is followed. ``body_seconds`` is how long the body of a request may
    take to arrive.
    """
    limits, queries = Limits(settings.max_n, settings.fallback, body_seconds), Queries(settings.query_threads)
    app[SHARED] = shared = Shared(store, metrics, limits, queries, Results(metrics), following)
    app.middlewares.append(around_every_request(metrics, shared.lifecycle, settings.access_log))
    app.cleanup_ctx.append(_closing_queries)
    app.add_routes(_routes())
    app[pages.PAGES] = pages.read_pages(answers.encode(openapi.document(app.router.routes(), limits)))


def _routes() -> list[web.RouteDef]:
    # aiohttp tries those of one prefix in this order, so the most asked stands first.
    return [
        web.get(f"{_USER}/recommendations", recommendations.for_user),
        web.get(f"{_USER}/similar", users.similar),
        web.get(f"{_USER}/scores", users.scores),
        web.get(f"{_USER}/items", users.seen),
        web.get(f"{_USER}/explanations/{{item:[^/]+}}", users.explanation),
        web.get("/v1/users", users.listed),
        web.get(f"{_ITEM}/similar", items.similar),
        web.get("/v1/items/popular", items.popular),
        web.post("/v1/recommendations", recommendations.for_users),
        web.post("/v1/recommendations/anonymous", recommendations.for_anonymous),
        web.get("/v1/model", model.served_model),
        web.get("/", pages.explorer),
        web.get("/explorer/{file}", pages.explorer_file),
        web.get("/healthz", health.alive),
        web.get("/readyz", health.ready),
        web.get("/metrics", exposition.exposition),
        web.get("/openapi.json", pages.document),
        web.get("/docs", pages.reference),
        web.get("/docs/{file}", pages.reference_file),
    ]


async def _closing_queries(app: web.Application) -> AsyncIterator[None]:
    yield
    app[SHARED].queries.close()
