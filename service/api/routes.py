"""Every path there is, and what answers it."""

from __future__ import annotations

from typing import NamedTuple

from aiohttp import hdrs, web

from service.api import exposition, health, items, model, pages, recommendations, users
from service.api.around import Around
from service.api.shared import Shared, SharingHandler

#: The ``route`` of a request whose path or method is none of ours, so that clients cannot make up labels.
UNMATCHED = "unmatched"

_USER = "/v1/users/{user}"
_ITEM = "/v1/items/{item}"


class Route(NamedTuple):
    """One operation: the method and the template of the path by which it is asked; what answers GET, answers HEAD."""

    method: str
    path: str
    handler: SharingHandler


# aiohttp tries those of one prefix in this order, so the most asked stands first.
ROUTES = (
    Route("GET", f"{_USER}/recommendations", recommendations.for_user),
    Route("GET", f"{_USER}/similar", users.similar),
    Route("GET", f"{_USER}/scores", users.scores),
    Route("GET", f"{_USER}/items", users.seen),
    Route("GET", f"{_USER}/explanations/{{item}}", users.explanation),
    Route("GET", "/v1/users", users.listed),
    Route("GET", f"{_ITEM}/similar", items.similar),
    Route("GET", "/v1/items/popular", items.popular),
    Route("POST", "/v1/recommendations", recommendations.for_users),
    Route("POST", "/v1/recommendations/anonymous", recommendations.for_anonymous),
    Route("GET", "/v1/model", model.served_model),
    Route("GET", "/", pages.explorer),
    Route("GET", "/explorer/{file}", pages.explorer_file),
    Route("GET", "/healthz", health.alive),
    Route("GET", "/readyz", health.ready),
    Route("GET", "/metrics", exposition.exposition),
    Route("GET", "/openapi.json", pages.document),
    Route("GET", "/docs", pages.reference),
    Route("GET", "/docs/{file}", pages.reference_file),
)


def add_routes(router: web.UrlDispatcher, around: Around) -> None:
    """Give a router the routes, and one for everything else."""
    for method, path, handler in ROUTES:
        # The regular expression lets an id hold braces, which aiohttp's own pattern of a path segment does not.
        router.add_routes([web.route(method, path.replace("}", ":[^/]+}"), around.wrap(path, handler))])
    router.add_route(hdrs.METH_ANY, "/{path:(?s:.*)}", around.wrap(UNMATCHED, _unmatched))


async def _unmatched(request: web.Request, _: Shared) -> web.Response:
    """Raise what aiohttp would, had it no route for everything: HTTPMethodNotAllowed, or HTTPNotFound."""
    allowed: set[str] = set()
    for resource in request.app.router.resources():
        allowed |= (await resource.resolve(request))[1]
    allowed.remove(hdrs.METH_ANY)  # of the route that led here
    raise web.HTTPMethodNotAllowed(request.method, allowed) if allowed else web.HTTPNotFound()
