"""The table of routes in aiohttp's router: requests are parsed as their route says before the handler is called."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from functools import wraps

import msgspec
from aiohttp import hdrs, web

from service.api.bodies import read_body
from service.api.context import Context, Handler, Question
from service.api.instrument import Instrument
from service.api.parameters import Anything, Options
from service.api.query_strings import QueryReader
from service.api.route import AnyRoute
from service.api.tokens import Access, guarded

#: The ``route`` of a request with an unknown path or method, so that clients cannot invent labels.
UNMATCHED = "unmatched"


def add_routes(
    router: web.UrlDispatcher, routes: Iterable[AnyRoute], instrument: Instrument, access: Access | None
) -> None:
    """Add the routes to a router, and a catch-all route."""
    for route in routes:
        # The regular expression allows braces in an id, which aiohttp's own pattern for a path segment does not.
        pattern = route.path.replace("}", ":[^/]+}")
        answer = _answering_body(route) if route.has_body else _answering_query(route)
        answer = guarded(answer, route.scope, access)
        router.add_routes([web.route(route.method, pattern, instrument.wrap(route.path, answer))])
    router.add_route(hdrs.METH_ANY, "/{path:(?s:.*)}", instrument.wrap(UNMATCHED, _unmatched))


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


async def _unmatched(request: web.Request, _: Context) -> web.Response:
    """Raise what aiohttp would without the catch-all route: HTTPMethodNotAllowed or HTTPNotFound."""
    allowed: set[str] = set()
    for resource in request.app.router.resources():
        allowed |= (await resource.resolve(request))[1]
    allowed.remove(hdrs.METH_ANY)  # the catch-all route
    raise web.HTTPMethodNotAllowed(request.method, allowed) if allowed else web.HTTPNotFound()
