"""The table of routes in aiohttp's router: requests are parsed as their route says before the handler is called."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from functools import wraps

import msgspec
from aiohttp import hdrs, web

from service.api.bodies import read_body
from service.api.context import Context, Handler, Question
from service.api.cors import allowing, preflight
from service.api.instrument import Instrument
from service.api.parameters import Anything, Options
from service.api.query_strings import QueryReader
from service.api.route import AnyRoute

#: The ``route`` of a request with an unknown path or method, so that clients cannot invent labels.
UNMATCHED = "unmatched"


def add_routes(
    router: web.UrlDispatcher, routes: Iterable[AnyRoute], instrument: Instrument, origins: frozenset[str] = frozenset()
) -> None:
    """Add the routes to a router, and a catch-all route; pages of the ``origins`` may call them."""
    for route in routes:
        # The regular expression allows braces in an id, which aiohttp's own pattern for a path segment does not.
        pattern = route.path.replace("}", ":[^/]+}")
        answer = _answering_body(route) if route.has_body else _answering_query(route)
        router.add_routes([web.route(route.method, pattern, allowing(origins, instrument.wrap(route.path, answer)))])
    unmatched = _preflight if origins else _unmatched
    router.add_route(hdrs.METH_ANY, "/{path:(?s:.*)}", allowing(origins, instrument.wrap(UNMATCHED, unmatched)))


def _answering_query(route: AnyRoute) -> Handler:
    take, handler = route.needs.take, route.handler
    read = _ignore if route.options is Anything else QueryReader(route.options).read

    @wraps(handler)
    def answer(request: web.Request, context: Context) -> Awaitable[web.StreamResponse]:
        # The handler's own coroutine is returned, because awaiting it here would add a coroutine to every request.
        generation = take(context)
        return handler(Question(request, context, generation, read(request.rel_url.raw_query_string)))

    return answer


def _answering_body(route: AnyRoute) -> Handler:
    take, handler = route.needs.take, route.handler
    refuse_parameters, decoder = QueryReader(Options).read, msgspec.json.Decoder(route.options)

    @wraps(handler)
    async def answer(request: web.Request, context: Context) -> web.StreamResponse:
        refuse_parameters(request.rel_url.raw_query_string)
        options = await read_body(request, decoder, context.limits.body_seconds)
        return await handler(Question(request, context, take(context), options))

    return answer


def _ignore(_: str) -> Anything:
    return Anything()


async def _preflight(request: web.Request, context: Context) -> web.Response:
    """Answer a browser that asks whether a page may make a request; else as _unmatched."""
    if request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers:
        return preflight(await _allowed(request))
    return await _unmatched(request, context)


async def _unmatched(request: web.Request, _: Context) -> web.Response:
    """Raise what aiohttp would without the catch-all route: HTTPMethodNotAllowed or HTTPNotFound."""
    allowed = await _allowed(request)
    raise web.HTTPMethodNotAllowed(request.method, allowed) if allowed else web.HTTPNotFound()


async def _allowed(request: web.Request) -> set[str]:
    """Return the methods of a path, none if there is nothing."""
    allowed: set[str] = set()
    for resource in request.app.router.resources():
        allowed |= (await resource.resolve(request))[1]
    return allowed - {hdrs.METH_ANY}  # the catch-all route
