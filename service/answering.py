"""Answering at a port, from the first connection to the last answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Never

from aiohttp import web, web_response

from service.api.context import CONTEXT, Lifecycle
from service.connections import Budget, Connections
from service.listening import Listener
from service.live.background import keep_running

Work = Callable[[], Awaitable[Never]]

KEEP_ALIVE_SECONDS = 75.0
#: The limit for requests in flight when the port closes; a query takes milliseconds.
SHUTDOWN_SECONDS = 30.0
_FINISH_LOOK_SECONDS = 0.01
# After an error, the rest of the request is read for this long, so that the client can read the answer.
_LINGERING_SECONDS = 2.0
#: The limit for sending finished answers to slow clients.
SENDING_SECONDS = 5.0

# aiohttp has no setting for the Server header, which would name its version and Python's in every answer, its own too.
web_response.SERVER_SOFTWARE = "als-serve"  # type: ignore[attr-defined]  # not exported


@asynccontextmanager
async def running(app: web.Application) -> AsyncIterator[web.AppRunner]:
    """Run an app's background work for the length of a block."""
    runner = web.AppRunner(
        app,
        access_log=None,
        auto_decompress=False,  # no body is decompressed, not even one that is discarded
        keepalive_timeout=KEEP_ALIVE_SECONDS,
        lingering_time=_LINGERING_SECONDS,
        shutdown_timeout=SENDING_SECONDS,
        handler_cancellation=True,  # a query leaves the queue when its client disconnects
    )
    await runner.setup()
    try:
        yield runner
    finally:
        await runner.cleanup()


def in_background(app: web.Application, works: Mapping[str, Work]) -> None:
    """Run background work from an app's start to its clean-up."""
    for name, work in works.items():
        app.cleanup_ctx.append(_in_background(name, work))


def _in_background(name: str, work: Work) -> Callable[[web.Application], AsyncIterator[None]]:
    async def context(_: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(keep_running(name, work))
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    return context


@asynccontextmanager
async def answering(
    runner: web.AppRunner,
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
    assert runner.server
    context = runner.app[CONTEXT]
    connections = Connections(runner.server, context.lifecycle.busy, budget, context.metrics, exposed=exposed)
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
            while lifecycle.in_flight:
                await asyncio.sleep(_FINISH_LOOK_SECONDS)
