"""The lifecycle of the server process: start, listen, wait for a signal, drain, stop."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager, suppress

from service.answering import answering, running
from service.api import create_monitoring
from service.api.context import Context, Lifecycle
from service.app import create_app, create_keeper
from service.connections import Budget, most_connections, raise_descriptor_limit
from service.errors import SettingsError
from service.health import note_address
from service.listening import authority, open_sockets
from service.model.scoring import kernel
from service.observe.logs import log_event
from service.settings import Settings
from service.workers.processors import worker_count

#: The budget of the management port, which few clients use.
_MANAGEMENT = Budget(connections=32)

OnStart = Callable[[Context, int], None]


async def serve(settings: Settings, on_start: OnStart | None = None) -> None:
    """Run until SIGTERM or SIGINT, then return.

    After SIGTERM the server reports "not ready" for ``drain_seconds`` while it still answers, closes the port, and lets
    the requests in flight finish. SIGINT or a second signal skips the wait. ``on_start`` is called with the API's
    context and the port once it listens. Raises SettingsError if it cannot listen or cannot use the state directory.
    """
    _make_state_directory(settings)
    stop, at_once = _signals()
    async with _service(settings) as (context, port):
        if on_start:
            on_start(context, port)
        await stop.wait()
        await _drain(context.lifecycle, settings.drain_seconds, at_once)
    log_event("stopped")


@asynccontextmanager
async def _service(settings: Settings) -> AsyncIterator[tuple[Context, int]]:
    """Answer at the port until the end of the block, in one process or several; yield the context and the port."""
    workers = worker_count(settings.workers)
    with (
        _listening(settings.host, settings.port, "ALS_PORT") as sockets,
        _listening(settings.host, settings.management_port, "ALS_MANAGEMENT_PORT") as management,
    ):
        answered = _by_workers(settings, workers, sockets) if workers > 1 else _by_itself(settings, sockets)
        async with answered as context, _managed(settings, management, context):
            _note_address(settings, (management or sockets)[0])
            port = _port_of(sockets)
            log_event("listening", host=settings.host, port=port, address=authority(settings.host, port))
            log_event("scan_kernel" if kernel.name() == "int8" else "no_scan_kernel")
            yield context, port


@asynccontextmanager
async def _by_itself(settings: Settings, sockets: Sequence[socket.socket]) -> AsyncIterator[Context]:
    """Keep the model and answer requests in this process."""
    api, works = create_app(settings)
    budget = Budget(most_connections(raise_descriptor_limit()))
    with closing(api.context.queries):
        async with running(api, works) as server:
            await asyncio.sleep(0)  # the store logs its first line before the port's line
            async with answering(server, api.context, sockets, budget):
                yield api.context


@asynccontextmanager
async def _by_workers(settings: Settings, count: int, sockets: Sequence[socket.socket]) -> AsyncIterator[Context]:
    """Keep the model in this process, and have workers answer requests."""
    api, works, workers = create_keeper(settings, count, sockets)
    async with running(api, works):
        await asyncio.sleep(0)  # as above
        workers.start()
        try:
            yield api.context
        finally:
            for each in sockets:
                each.close()  # so that the port closes when the last worker closes it
            await workers.close()


@asynccontextmanager
async def _managed(settings: Settings, sockets: Sequence[socket.socket], context: Context) -> AsyncIterator[None]:
    """Answer health checks and scrapes at these sockets, if there are any."""
    if not sockets:
        yield
        return
    monitoring = create_monitoring(context, settings.access_log)
    async with (
        running(monitoring, {}) as server,
        answering(server, context, sockets, _MANAGEMENT, exposed=False),
    ):
        port = _port_of(sockets)
        log_event("managing", host=settings.host, port=port, address=authority(settings.host, port))
        yield


@contextmanager
def _listening(host: str, port: int | None, setting: str) -> Iterator[list[socket.socket]]:
    """Open the sockets of a port, if one is given. Raises SettingsError."""
    sockets = [] if port is None else open_sockets(host, port, setting)
    try:
        yield sockets
    finally:
        for each in sockets:
            each.close()


def _port_of(sockets: Sequence[socket.socket]) -> int:
    port: int = sockets[0].getsockname()[1]
    return port


def _note_address(settings: Settings, listening: socket.socket) -> None:
    try:
        note_address(settings.state_dir, listening)
    except OSError as error:  # only als-serve health needs it
        log_event("housekeeping_failed", detail=str(error))


def _make_state_directory(settings: Settings) -> None:
    try:
        settings.state_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"ALS_STATE_DIR {settings.state_dir} cannot be used: {error.strerror}; set it to a writable directory."
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
    """Raise SettingsError if :func:`serve` could not listen, before long work that would be wasted."""
    for listening in open_sockets(host, port):
        listening.close()


async def _drain(lifecycle: Lifecycle, seconds: float, at_once: asyncio.Event) -> None:
    """Report "not ready" for a while, so that load balancers switch before the port closes."""
    lifecycle.draining = True
    log_event("draining", seconds=0.0 if at_once.is_set() else seconds)
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await at_once.wait()
