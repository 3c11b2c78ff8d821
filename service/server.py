"""The life of the server process: start, listen, wait for a signal, drain, stop."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from aiohttp import web

from service.api.context import CONTEXT, Lifecycle
from service.app import create_app
from service.errors import SettingsError
from service.logs import log_event
from service.settings import Settings

KEEP_ALIVE_SECONDS = 75.0
# What is in flight when the port closes may take this long; a query takes milliseconds.
_SHUTDOWN_SECONDS = 30.0
_FINISH_LOOK_SECONDS = 0.01
# And what was answered already, this long to be sent to a slow client.
_SENDING_SECONDS = 5.0

OnStart = Callable[[web.Application, int], None]


async def serve(settings: Settings, on_start: OnStart | None = None) -> None:
    """Run until SIGTERM or SIGINT, then return.

    After SIGTERM the server says "not ready" for ``drain_seconds`` while it goes on answering, closes the
    port, and lets the requests in flight finish. SIGINT, or a second signal, skips the wait.
    ``on_start`` is called with the app and the port once it listens. Raises SettingsError if it cannot listen,
    or has nowhere to keep models.
    """
    _make_state_directory(settings)
    app = create_app(settings)
    stop, at_once = _signals()
    runner = web.AppRunner(
        app,
        access_log=None,
        keepalive_timeout=KEEP_ALIVE_SECONDS,
        shutdown_timeout=_SENDING_SECONDS,
        handler_cancellation=True,  # a client that goes away gives its place in the queue back
    )
    await runner.setup()
    try:
        site = await _listen(runner, settings)
        if on_start:
            on_start(app, _port(runner))
        await stop.wait()
        await _drain(app[CONTEXT].lifecycle, settings.drain_seconds, at_once)
        await site.stop()
        await _finish(app[CONTEXT].lifecycle)
    finally:
        await runner.cleanup()
    log_event("stopped")


def _make_state_directory(settings: Settings) -> None:
    try:
        settings.state_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"ALS_STATE_DIR {settings.state_dir} cannot be used: {error.strerror}; name a directory to write into."
        ) from None


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
    """Raise SettingsError where :func:`serve` could not listen: before long work that would be in vain."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with _listening(host, port), socket.create_server((host, port), family=family):
        pass


@contextmanager
def _listening(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SettingsError(
            f"Cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}; set ALS_HOST or ALS_PORT."
        ) from None


async def _listen(runner: web.AppRunner, settings: Settings) -> web.TCPSite:
    """Open the port."""
    site = web.TCPSite(runner, settings.host, settings.port)
    with _listening(settings.host, settings.port):
        await site.start()
    log_event("listening", host=settings.host, port=_port(runner))
    return site


def _port(runner: web.AppRunner) -> int:
    port: int = runner.addresses[0][1]
    return port


async def _drain(lifecycle: Lifecycle, seconds: float, at_once: asyncio.Event) -> None:
    """Say "not ready" for a while, so that load balancers look elsewhere before the port closes."""
    lifecycle.draining = True
    log_event("draining", seconds=0.0 if at_once.is_set() else seconds)
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await at_once.wait()


async def _finish(lifecycle: Lifecycle) -> None:
    """Let the requests in flight end. aiohttp's own clean-up no longer reads bodies that are still arriving."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_SHUTDOWN_SECONDS):
            while lifecycle.in_flight:
                await asyncio.sleep(_FINISH_LOOK_SECONDS)
