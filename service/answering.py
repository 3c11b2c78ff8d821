"""Answering at a port, from its first connection to its last answer: what every process does that answers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Never

from aiohttp import web

from service.api.context import CONTEXT, Lifecycle
from service.connections import Budget, Connections
from service.listening import Listener
from service.live.background import keep_running

Work = Callable[[], Awaitable[Never]]

KEEP_ALIVE_SECONDS = 75.0
#: What is in flight when the port closes may take this long; a query takes milliseconds.
SHUTDOWN_SECONDS = 30.0
_FINISH_LOOK_SECONDS = 0.01
# After an error, what is still arriving is read for so long, so that the client gets to read the answer.
_LINGERING_SECONDS = 2.0
#: And what was answered already, this long to be sent to a slow client.
SENDING_SECONDS = 5.0


@asynccontextmanager
async def running(app: web.Application) -> AsyncIterator[web.AppRunner]:
    """Run an app's background work for the length of a block."""
    runner = web.AppRunner(
        app,
        access_log=None,
        auto_decompress=False,  # no body is unpacked, not even one that is thrown away
        keepalive_timeout=KEEP_ALIVE_SECONDS,
        lingering_time=_LINGERING_SECONDS,
        shutdown_timeout=SENDING_SECONDS,
        handler_cancellation=True,  # a query whose client went away leaves the queue
    )
    await runner.setup()
    try:
        yield runner
    finally:
        await runner.cleanup()


def in_background(app: web.Application, works: Mapping[str, Work]) -> None:
    """Have an app do all this from its start to its clean-up."""
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
    """Answer what connects to these sockets; at the end of the block they are closed, and what is in flight ends.

    ``is_our_turn`` is asked where other processes answer at them too, see :class:`~service.listening.Listener`;
    ``exposed`` is whether the gauges tell of the connections.
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
    """Let the requests in flight end. aiohttp's own clean-up no longer reads bodies that are still arriving."""
    with suppress(TimeoutError):
        async with asyncio.timeout(SHUTDOWN_SECONDS):
            while lifecycle.in_flight:
                await asyncio.sleep(_FINISH_LOOK_SECONDS)
