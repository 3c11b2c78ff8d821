"""Whether the process is alive, and whether it should be given requests."""

from __future__ import annotations

from typing import Literal

import msgspec
from aiohttp import web

from service.api import answers
from service.api.parameters import query_of
from service.api.shared import Shared
from service.errors import NotReadyError


class Alive(msgspec.Struct, frozen=True):
    """The process is alive."""

    status: Literal["ok"] = "ok"


class Ready(msgspec.Struct, frozen=True):
    """A model is served."""

    status: Literal["ready"] = "ready"


_ALIVE, _READY = answers.encode(Alive()), answers.encode(Ready())


async def alive(request: web.Request, _: Shared) -> web.Response:
    """Say that the process is alive.

    200 while the event loop turns, whether or not a model is served.
    """
    query_of(request)
    return web.Response(body=_ALIVE, content_type=answers.CONTENT_TYPE)


async def ready(request: web.Request, shared: Shared) -> web.Response:
    """Say whether to send requests here.

    200 while a model is served, also during and after failed reloads; 503 before, and while the server drains.
    """
    query_of(request)
    if shared.lifecycle.draining:
        raise NotReadyError("The server is about to stop; send new requests elsewhere.")
    shared.snapshot()
    return web.Response(body=_READY, content_type=answers.CONTENT_TYPE)
