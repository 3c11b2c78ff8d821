"""Answering at a port, from the first connection to the last answer."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Never

from aiohttp import web, web_response
from aiohttp.http_exceptions import HttpProcessingError

from service.api import Api
from service.api.context import Context, Lifecycle
from service.api.routing import Router
from service.api.sending import SERVER
from service.connections import Budget, Connections
from service.listening import Listener
from service.live.background import keep_running

Work = Callable[[], Awaitable[Never]]

KEEP_ALIVE_SECONDS = 75.0
#: How long a thread that needs the interpreter lock waits before it asks for it. With Python's 5 ms, a query of 2 ms
#: whose scan has ended would wait longer than it took while the event loop is busy with refusals; and the loop for a
#: query that encodes a long answer.
SWITCH_SECONDS = 0.0005
#: The limit for requests in flight when the port closes; a query takes milliseconds.
SHUTDOWN_SECONDS = 30.0
_FINISH_LOOK_SECONDS = 0.01
# After an error, the rest of the request is read for this long, so that the client can read the answer.
_LINGERING_SECONDS = 2.0
#: The limit for sending finished answers to slow clients.
SENDING_SECONDS = 5.0

# aiohttp has no setting for the Server header, which would name its version and Python's in every answer, its own too.
web_response.SERVER_SOFTWARE = SERVER  # type: ignore[attr-defined]  # not exported


class Server(web.Server):
    """An HTTP server for a router, which also answers what aiohttp cannot read as a request."""

    def __init__(self, router: Router, **options: Any) -> None:
        super().__init__(router.answer, **options)
        self.router = router

    def __call__(self) -> web.RequestHandler:
        """Create the protocol of a connection."""
        return _Protocol(self, loop=self._loop, **self._kwargs)


class _Protocol(web.RequestHandler):
    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the answer to something unreadable; the router answers all other errors."""
        if isinstance(exc, HttpProcessingError) and isinstance(self._manager, Server):
            return self._manager.router.refuse_unreadable(exc)
        return super().handle_error(request, status, exc, message)


@asynccontextmanager
async def running(api: Api, works: Mapping[str, Work]) -> AsyncIterator[Server]:
    """Run an API's server and background work for the length of a block; nothing is listened to yet."""
    server = Server(
        api.router,
        access_log=None,
        auto_decompress=False,  # no body is decompressed, not even one that is discarded
        keepalive_timeout=KEEP_ALIVE_SECONDS,
        lingering_time=_LINGERING_SECONDS,
        handler_cancellation=True,  # a query leaves the queue when its client disconnects
    )
    runner = web.ServerRunner(server, shutdown_timeout=SENDING_SECONDS)
    await runner.setup()
    tasks = [asyncio.create_task(keep_running(name, work)) for name, work in works.items()]
    try:
        yield server
    finally:
        await runner.cleanup()
        await _cancel(tasks)


async def _cancel(tasks: Sequence[asyncio.Task[Never]]) -> None:
    for task in reversed(tasks):
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def answering(
    server: web.Server,
    context: Context,
    sockets: Sequence[socket.socket],
    budget: Budget,
    *,
    is_our_turn: Callable[[int], bool] | None = None,
    exposed: bool = True,
) -> AsyncIterator[None]:
    """Answer at these sockets until the end of the block; then close them, and finish the requests in flight.

    ``is_our_turn`` is for sockets of several processes, see :class:`~service.listening.Listener`. ``exposed`` says
    whether the gauges show the connections.
    """
    connections = Connections(server, context.lifecycle.busy, budget, context.metrics, exposed=exposed)
    gc.freeze()  # what the start made stays: a full collection that looked at it would stop the loop for 30 ms
    sys.setswitchinterval(SWITCH_SECONDS)
    listener = Listener(sockets, connections, context.metrics, is_our_turn)
    try:
        yield
    finally:
        listener.close()
    await _finish(context.lifecycle)


async def _finish(lifecycle: Lifecycle) -> None:
    """Let the requests in flight finish; aiohttp's own clean-up no longer reads bodies that are still arriving."""
    with suppress(TimeoutError):
        async with asyncio.timeout(SHUTDOWN_SECONDS):
            while lifecycle.in_flight:  # noqa: ASYNC110 - a counter, so that a request costs nothing more
                await asyncio.sleep(_FINISH_LOOK_SECONDS)
