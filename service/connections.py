"""Limits on client connections: their number, and how much they leave unread and for how long.

A client that is idle or does not read its answers costs a descriptor or memory. Beyond the limits, the connection that
has been idle or unread longest is closed and counted.
"""

from __future__ import annotations

import asyncio
import fcntl
import resource
import sys
import termios
from collections.abc import Callable, Container
from dataclasses import dataclass, replace
from typing import Final, cast

from service.observe.metrics import Metrics

#: Reserved descriptors: for the model's files, children, S3, and health checks.
RESERVED_DESCRIPTORS: Final = 128
#: An upper limit however many descriptors there are: a connection takes about 20 kB, and more need another server.
_MOST_CONNECTIONS: Final = 10_000
_LEAST_CONNECTIONS: Final = 16
#: Bytes; a batch of 100,000 items with their titles is smaller.
_LARGE_ANSWER: Final = 12 * 2**20
_END_OF_HEAD: Final = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Budget:
    """The limits of connections.

    connections: how many may be open. unsent, unsent_in_all: unread bytes of answers, of one connection and of all.
    send_seconds: how long an answer may remain unread. head_seconds: how long the first request's head may take to
    arrive; the later ones have the time for which aiohttp keeps an idle connection.

    An answer counts while the kernel has not taken all of it, since aiohttp keeps the whole answer until then. It
    counts with what the kernel has taken: an answer of 3.5 MB with 0.7 MB unsent takes 5 MB of memory.
    """

    connections: int
    unsent: int = _LARGE_ANSWER
    unsent_in_all: int = 64 * 2**20
    send_seconds: float = 30.0
    head_seconds: float = 30.0

    def share(self, processes: int) -> Budget:
        """Return the share of one of several processes.

        Together they take no more than this, except that each can always send one large answer.
        """
        return replace(
            self,
            connections=max(self.connections // processes, _LEAST_CONNECTIONS),
            unsent_in_all=max(self.unsent_in_all // processes, _LARGE_ANSWER),
        )


def raise_descriptor_limit() -> int:
    """Raise this process's descriptor limit as far as allowed, and return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def most_connections(descriptors: int) -> int:
    """Return how many connections a descriptor limit allows."""
    if descriptors == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    return min(max(descriptors - RESERVED_DESCRIPTORS, _LEAST_CONNECTIONS), _MOST_CONNECTIONS)


class Connections:
    """The open connections of one server; calling it creates the protocol of a new one.

    ``make_handler`` creates aiohttp's protocol for a connection. ``answering`` has the protocols whose request is being
    answered: those clients are waiting for the server, and are not idle.
    """

    def __init__(
        self,
        make_handler: Callable[[], asyncio.Protocol],
        answering: Container[asyncio.Protocol],
        budget: Budget,
        metrics: Metrics,
        *,
        exposed: bool = True,
    ) -> None:
        """``exposed`` says whether the gauges show these connections."""
        self.budget = budget
        self._make_handler = make_handler
        self._answering = answering
        self._metrics = metrics
        # Both in the order of time: the connection that has been idle or waiting longest is first.
        self._open: dict[Connection, None] = {}
        self._unsent: dict[Connection, int] = {}
        if exposed:
            metrics.connections_limit.set(budget.connections)
            metrics.connections.set_function(lambda: len(self._open))
            metrics.unsent_bytes.set_function(lambda: sum(self._unsent.values()))

    def __len__(self) -> int:
        return len(self._open)

    def __call__(self) -> Connection:
        """Create the protocol of an accepted connection."""
        return Connection(self, self._make_handler())

    def admit(self, connection: Connection) -> None:
        """Add a new connection; if there are too many, close the one that has been idle longest."""
        if len(self._open) >= self.budget.connections and not self.close_longest_idle():
            self.close(connection, "refused")
            return
        self._open[connection] = None

    def close_longest_idle(self) -> bool:
        """Close the connection that has been idle longest; return whether there is one."""
        for connection in self._open:
            if connection.handler not in self._answering and connection not in self._unsent:
                self.close(connection, "idle")
                return True
        return False

    def heard(self, connection: Connection) -> None:
        """Note that a client has just sent something."""
        if connection in self._open:
            del self._open[connection]
            self._open[connection] = None

    def wait_for_reader(self, connection: Connection) -> None:
        """Note that an answer could not be sent at once; all of it is written by the loop's next iteration."""
        self._unsent[connection] = 0
        asyncio.get_running_loop().call_soon(self._weigh, connection)

    def done_with(self, connection: Connection) -> None:
        """Note that an answer has been read."""
        self._unsent.pop(connection, None)

    def forget(self, connection: Connection) -> None:
        """Note that a connection has closed."""
        self._open.pop(connection, None)
        self._unsent.pop(connection, None)

    def close(self, connection: Connection, reason: str) -> None:
        """Close a connection at once, dropping unsent bytes, and count the reason."""
        self._metrics.connections_closed.labels(reason).inc()
        self.forget(connection)
        connection.transport.abort()

    def _weigh(self, connection: Connection) -> None:
        """Check one answer against the limits; if all together exceed theirs, close what has waited longest."""
        if connection not in self._unsent:
            return
        self._unsent[connection] = unsent = connection.unread()
        if unsent > self.budget.unsent:
            self.close(connection, "unsent_bytes")
        while sum(self._unsent.values()) > self.budget.unsent_in_all:
            self.close(next(iter(self._unsent)), "unsent_bytes")


class Connection(asyncio.Protocol):
    """One connection: forwards events to aiohttp's protocol and reports them to the limits."""

    __slots__ = ("_connections", "_deadline", "_end", "_head_deadline", "handler", "transport")

    transport: asyncio.Transport

    def __init__(self, connections: Connections, handler: asyncio.Protocol) -> None:
        self.handler = handler
        self._connections = connections
        self._deadline: asyncio.TimerHandle | None = None
        self._head_deadline: asyncio.TimerHandle | None = None
        self._end = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start, with a write buffer whose limit is zero, so that every unsent byte is reported."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one without inheriting from it
        self.transport.set_write_buffer_limits(0)
        self.handler.connection_made(transport)
        seconds = self._connections.budget.head_seconds
        closing = self._connections.close
        self._head_deadline = asyncio.get_running_loop().call_later(seconds, closing, self, "head_timeout")
        self._connections.admit(self)

    def data_received(self, data: bytes) -> None:
        """Forward received data."""
        self._connections.heard(self)
        if self._head_deadline:
            self._look_for_end(data)
        self.handler.data_received(data)

    def unread(self) -> int:
        """Return how many bytes the client has not read: here and in the kernel."""
        in_kernel = fcntl.ioctl(self.transport.get_extra_info("socket"), termios.TIOCOUTQ, bytes(4))
        return self.transport.get_write_buffer_size() + int.from_bytes(in_kernel, sys.byteorder)

    def eof_received(self) -> bool | None:
        """Forward the end of the data."""
        return self.handler.eof_received()

    def pause_writing(self) -> None:
        """Start to wait for the client to read."""
        seconds = self._connections.budget.send_seconds
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(seconds, self._connections.close, self, "send_timeout")
        self._connections.wait_for_reader(self)
        self.handler.pause_writing()

    def resume_writing(self) -> None:
        """Continue, because the client has read everything."""
        self._stop_waiting()
        self._connections.done_with(self)
        self.handler.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_waiting()
        self._stop_looking()
        self._connections.forget(self)
        self.handler.connection_lost(exc)

    def _look_for_end(self, data: bytes) -> None:
        """Stop the deadline for the first head once its end has arrived, which may be in two pieces."""
        if _END_OF_HEAD in self._end + data:
            self._stop_looking()
        else:
            self._end = (self._end + data)[1 - len(_END_OF_HEAD) :]

    def _stop_looking(self) -> None:
        if self._head_deadline:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _stop_waiting(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None
