"""The port: its sockets, and accepting connections even if the system runs out of resources."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from service.connections import Connections
from service.errors import SettingsError
from service.observe.logs import log_event
from service.observe.metrics import Metrics

#: Connections that the kernel queues while the loop is busy.
_BACKLOG = 1024
#: Connections accepted in one iteration of the loop.
_AT_ONCE = 64
#: How long other processes get to accept a connection first.
_TURN_SECONDS = 0.002
_PAUSE_SECONDS = 0.1
#: One log line per interval; the metric counts every failure.
_SECONDS_BETWEEN_LINES = 60.0


def open_sockets(host: str, port: int, setting: str = "ALS_PORT") -> list[socket.socket]:
    """Listen at every address of a host, all with the same port; 0 picks a free one.

    "::" stands for every address of IPv6 and IPv4. Raises SettingsError, which names the setting of the port.
    """
    with ExitStack() as undone:
        try:
            addresses = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            opened: list[socket.socket] = []
            for family, _, _, _, address in dict.fromkeys(addresses):
                port = opened[0].getsockname()[1] if opened else port
                both = family == socket.AF_INET6 and host == "::" and socket.has_dualstack_ipv6()
                opened.append(
                    socket.create_server((address[0], port), family=family, backlog=_BACKLOG, dualstack_ipv6=both)
                )
                undone.callback(opened[-1].close)
                opened[-1].setblocking(False)
        except (OSError, UnicodeError) as error:
            raise SettingsError(
                f"Cannot listen on {authority(host, port)}: {_reason(error)}; set ALS_HOST or {setting}."
            ) from None
        undone.pop_all()
    return opened


def authority(host: str, port: int) -> str:
    """Return an address as a URL has it, with IPv6 addresses in brackets."""
    is_ipv6 = re.fullmatch(r"[0-9A-Fa-f.]*:[0-9A-Fa-f.:]*(%.+)?", host)
    return f"[{host}]:{port}" if is_ipv6 else f"{host}:{port}"


def _reason(error: OSError | UnicodeError) -> str | None:
    if isinstance(error, UnicodeError):
        return "not a host name"
    return error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)


class Listener:
    """Accepts connections until it is closed.

    asyncio's own server, when out of descriptors, tries to accept 128 times in a row, logs each failure with a
    traceback, and schedules as many retries.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        connections: Connections,
        metrics: Metrics,
        is_our_turn: Callable[[int], bool] | None = None,
    ) -> None:
        """``is_our_turn`` is for sockets of several processes: it is called with our number of connections.

        If it returns False, the other processes get a moment to accept first.
        """
        self._sockets = sockets
        self._connections = connections
        self._metrics = metrics
        self._is_our_turn = is_our_turn
        self._at_once = _AT_ONCE if is_our_turn is None else 1
        self._loop = asyncio.get_running_loop()
        self._beginning: set[asyncio.Task[object]] = set()
        self._retry: dict[socket.socket, asyncio.TimerHandle] = {}
        self._silent_until = 0.0
        for listening in sockets:
            self._loop.add_reader(listening, self._on_client, listening)

    @property
    def port(self) -> int:
        """Return the port."""
        port: int = self._sockets[0].getsockname()[1]
        return port

    def close(self) -> None:
        """Stop listening; accepted connections continue."""
        for retry in self._retry.values():
            retry.cancel()
        for listening in self._sockets:
            self._loop.remove_reader(listening)
            listening.close()

    def _on_client(self, listening: socket.socket) -> None:
        """Accept, or let other processes go first."""
        ours = len(self._connections) + len(self._beginning)
        if self._is_our_turn is None or self._is_our_turn(ours):
            self._accept(listening)
        else:
            self._come_back(listening, _TURN_SECONDS, accept=True)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(self._at_once):
            try:
                accepted, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause(listening, error)
                return
            accepted.setblocking(False)
            beginning = self._loop.create_task(self._begin(accepted))
            self._beginning.add(beginning)
            beginning.add_done_callback(self._beginning.discard)

    async def _begin(self, accepted: socket.socket) -> None:
        await self._loop.connect_accepted_socket(self._connections, accepted)

    def _pause(self, listening: socket.socket, error: OSError) -> None:
        """Close an idle connection, in case a descriptor is missing, and retry a little later."""
        self._metrics.accept_errors.inc()
        now = self._loop.time()
        if now >= self._silent_until:
            self._silent_until = now + _SECONDS_BETWEEN_LINES
            log_event("accept_failed", detail=os.strerror(error.errno or 0))
        self._connections.close_longest_idle()
        self._come_back(listening, _PAUSE_SECONDS, accept=False)

    def _come_back(self, listening: socket.socket, seconds: float, *, accept: bool) -> None:
        """Ignore a socket for a while; then accept what is still waiting, or only watch it again."""

        def look() -> None:
            self._loop.add_reader(listening, self._on_client, listening)
            if accept:
                self._accept(listening)

        self._loop.remove_reader(listening)
        self._retry[listening] = self._loop.call_later(seconds, look)
