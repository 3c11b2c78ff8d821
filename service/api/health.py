"""Whether the process is alive, and whether it should be given requests."""

from __future__ import annotations

from aiohttp import web

from service.api import answers
from service.api.keys import LIFECYCLE, served
from service.api.parameters import query_of
from service.errors import NotReadyError

_ALIVE = answers.encode({"status": "ok"})
_READY = answers.encode({"status": "ready"})


async def alive(request: web.Request) -> web.Response:
    """GET /healthz: 200 while the event loop turns."""
    query_of(request)
    return web.Response(body=_ALIVE, content_type=answers.CONTENT_TYPE)


async def ready(request: web.Request) -> web.Response:
    """GET /readyz: 200 while a model is served. Raises NotReadyError before, and while draining."""
    query_of(request)
    if request.app[LIFECYCLE].draining:
        raise NotReadyError("The server is about to stop; send new requests elsewhere.")
    served(request)
    return web.Response(body=_READY, content_type=answers.CONTENT_TYPE)
