"""Every path there is, and what answers it."""

from __future__ import annotations

from aiohttp import hdrs, web

from service.api import exposition, health, items, model, pages, recommendations, users
from service.api.around import Around

#: The ``route`` of a request whose path or method is none of ours, so that clients cannot make up labels.
UNMATCHED = "unmatched"

_USER = "/v1/users/{user}"
_ITEM = "/v1/items/{item}"

# aiohttp tries those of one prefix in this order, so the most asked stands first.
ROUTES = (
    web.get(f"{_USER}/recommendations", recommendations.for_user),
    web.get(f"{_USER}/similar", users.similar),
    web.get(f"{_USER}/scores", users.scores),
    web.get(f"{_USER}/items", users.seen),
    web.get(f"{_USER}/explanations/{{item}}", users.explanation),
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
)


def add_routes(router: web.UrlDispatcher, around: Around) -> None:
    """Give a router the routes, and one for everything else."""
    for route in ROUTES:
        # The regular expression lets an id hold braces, which aiohttp's own pattern of a path segment does not.
        path = route.path.replace("}", ":[^/]+}")
        web.RouteDef(route.method, path, around.wrap(route.path, route.handler), route.kwargs).register(router)
    router.add_route(hdrs.METH_ANY, "/{path:(?s:.*)}", around.wrap(UNMATCHED, _unmatched))


async def _unmatched(request: web.Request) -> web.Response:
    """Raise what aiohttp would, had it no route for everything: HTTPMethodNotAllowed, or HTTPNotFound."""
    allowed: set[str] = set()
    for resource in request.app.router.resources():
        allowed |= (await resource.resolve(request))[1]
    allowed.remove(hdrs.METH_ANY)  # of the route that led here
    raise web.HTTPMethodNotAllowed(request.method, allowed) if allowed else web.HTTPNotFound()
