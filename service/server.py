"""The lifecycle of the server process: start, listen, wait for a signal, drain, stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress

from aiohttp import web

from service.api.context import CONTEXT, Context, Lifecycle
from service.app import create_app
from service.connections import Budget, Connections, most_connections, raise_descriptor_limit
from service.errors import SettingsError
from service.listening import Listener, open_sockets
from service.observe.logs import log_event
from service.settings import Settings

KEEP_ALIVE_SECONDS = 75.0
# The limit for requests in flight when the port closes; a query takes milliseconds.
_SHUTDOWN_SECONDS = 30.0
_FINISH_LOOK_SECONDS = 0.01
# After an error, the rest of the request is read for this long, so that the client can read the answer.
_LINGERING_SECONDS = 2.0
# The limit for sending finished answers to slow clients.
_SENDING_SECONDS = 5.0

OnStart = Callable[[web.Application, int], None]


async def serve(settings: Settings, on_start: OnStart | None = None) -> None:
    """Run until SIGTERM or SIGINT, then return.

    After SIGTERM the server reports "not ready" for ``drain_seconds`` while it still answers, closes the port, and lets
    the requests in flight finish. SIGINT or a second signal skips the wait. ``on_start`` is called with the app and the
    port once it listens. Raises SettingsError if it cannot listen or cannot use the state directory.
    """
    _make_state_directory(settings)
    app = create_app(settings)
    stop, at_once = _signals()
    runner = _runner(app)
    await runner.setup()
    try:
        await asyncio.sleep(0)  # the store logs its first line before the port's line
        listener = _listen(runner, app[CONTEXT], settings)
        if on_start:
            on_start(app, listener.port)
        await stop.wait()
        await _drain(app[CONTEXT].lifecycle, settings.drain_seconds, at_once)
        listener.close()
        await _finish(app[CONTEXT].lifecycle)
    finally:
        await runner.cleanup()
    log_event("stopped")


def _make_state_directory(settings: Settings) -> None:
    try:
        settings.state_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"ALS_STATE_DIR {settings.state_dir} cannot be used: {error.strerror}; set it to a writable directory."
        ) from None


def _runner(app: web.Application) -> web.AppRunner:
    return web.AppRunner(
        app,
        access_log=None,
        auto_decompress=False,  # no body is decompressed, not even one that is discarded
        keepalive_timeout=KEEP_ALIVE_SECONDS,
        lingering_time=_LINGERING_SECONDS,
        shutdown_timeout=_SENDING_SECONDS,
        handler_cancellation=True,  # a query leaves the queue when its client disconnects
    )


def _signals() -> tuple[asyncio.Event, asyncio.Event]:
    """Return the event that asks to stop and the one that asks to do so at once."""
    stop, at_once = asyncio.Event(), asyncio.Event()

    def on_signal(number: int) -> None:
        if number == signal.SIGINT or stop.is_set():
            at_once.set()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal, number)
    return stop, at_once


def check_port(host: str, port: int) -> None:
    """Raise SettingsError if :func:`serve` could not listen, before long work that would be wasted."""
    for listening in open_sockets(host, port):
        listening.close()


def _listen(runner: web.AppRunner, context: Context, settings: Settings) -> Listener:
    """Open the port. Raises SettingsError."""
    assert runner.server
    budget = Budget(most_connections(raise_descriptor_limit()))
    connections = Connections(runner.server, context.lifecycle.busy, budget, context.metrics)
    listener = Listener(open_sockets(settings.host, settings.port), connections, context.metrics)
    log_event("listening", host=settings.host, port=listener.port)
    return listener


async def _drain(lifecycle: Lifecycle, seconds: float, at_once: asyncio.Event) -> None:
    """Report "not ready" for a while, so that load balancers switch before the port closes."""
    lifecycle.draining = True
    log_event("draining", seconds=0.0 if at_once.is_set() else seconds)
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await at_once.wait()


async def _finish(lifecycle: Lifecycle) -> None:
    """Let the requests in flight finish; aiohttp's own clean-up no longer reads bodies that are still arriving."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_SHUTDOWN_SECONDS):
            while lifecycle.in_flight:
                await asyncio.sleep(_FINISH_LOOK_SECONDS)
