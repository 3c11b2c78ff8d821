"""A TCP proxy in front of an HTTP server, which breaks what the network or the server could break.

Each request travels on connections of its own: the proxy asks the server to close after the answer, and the answer
tells the client so. Therefore everything after a request's head is its body, whatever its framing. The head is passed
on as it was but for ``Connection``, so the signature of an S3 request still holds.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import sys
import termios
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from fcntl import ioctl
from functools import partial
from typing import NamedTuple
from urllib.parse import urlsplit

from tests.support.helpers import eventually

CHUNK = 65536
END_OF_HEAD = b"\r\n\r\n"
Send = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True)
class Cut:
    """Close after this many bytes of the response's body."""

    after: int


@dataclass(frozen=True)
class Drip:
    """Pass the response's body on in pieces of this many bytes, each followed by a pause."""

    size: int
    seconds: float


@dataclass(frozen=True)
class Stall:
    """Pass nothing on after this many bytes of the response's body (None: no response), and keep the connection."""

    after: int | None = None


@dataclass(frozen=True)
class Reset:
    """Reset the connection after this many bytes of the response's body (None: in place of a response)."""

    after: int | None = None


@dataclass(frozen=True)
class Refuse:
    """Reset a connection as soon as it is made, so before anything is known of a request."""


@dataclass(frozen=True)
class Answer:
    """Answer in the server's place."""

    status: int
    body: bytes
    content_type: str

    def to(self, method: str) -> bytes:
        """Return the response to a request; one to HEAD has no body."""
        head = (
            f"HTTP/1.1 {self.status} Made Up\r\nContent-Type: {self.content_type}\r\n"
            f"Content-Length: {len(self.body)}\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + (b"" if method == "HEAD" else self.body)


def page(status: int) -> Answer:
    """Return the answer of something on the way that speaks HTML: a login page, a proxy's error."""
    return Answer(status, b"<!DOCTYPE html><html><body><h1>Not what you asked for</h1></body></html>", "text/html")


def s3_error(status: int, code: str) -> Answer:
    """Return the answer by which S3 refuses a request: SlowDown, AccessDenied, ExpiredToken and so on."""
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>Made up.</Message></Error>'
    return Answer(status, body.encode(), "application/xml")


Fault = Cut | Drip | Stall | Reset | Refuse | Answer


@dataclass
class Rule:
    """A fault, the requests that it is for, and how many more times it happens (None: always)."""

    fault: Fault
    matching: re.Pattern[str]
    times: int | None

    def happens(self, line: str) -> bool:
        """Say whether the fault happens to a request of this first line, which uses it up once."""
        if self.times == 0 or not self.matching.search(line):
            return False
        self.times = self.times and self.times - 1
        return True


class Seen(NamedTuple):
    """A request that came by; the path is with its query."""

    method: str
    path: str


class FaultProxy:
    """A proxy that passes everything on until it is given a fault."""

    def __init__(self, upstream: str) -> None:
        self._upstream = urlsplit(upstream)
        self._rules: list[Rule] = []
        self._at_work: set[asyncio.Task[None]] = set()
        self.endpoint = ""
        self.connections = 0
        self.requests: list[Seen] = []
        self.bytes_up = 0
        self.bytes_down = 0

    def fail(self, fault: Fault, *, matching: str = "", times: int | None = None) -> None:
        """Let this happen to the requests whose first line has a match, after the faults told before."""
        self._rules.append(Rule(fault, re.compile(matching), times))

    def heal(self) -> None:
        """Pass everything on again; what has happened to a request stays."""
        self._rules.clear()

    @property
    def open(self) -> int:
        """Return how many connections clients hold open."""
        return len(self._at_work)

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.endpoint = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Close every connection and listen no more."""
        self._server.close()
        for task in list(self._at_work):
            task.cancel()
        await asyncio.gather(*self._at_work, return_exceptions=True)
        await self._server.wait_closed()

    def _fault(self, line: str, *, connecting: bool = False) -> Fault | None:
        rules = [rule for rule in self._rules if isinstance(rule.fault, Refuse) == connecting]
        return next((rule.fault for rule in rules if rule.happens(line)), None)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Begin to serve a connection, in a task of our own: asyncio's logs an error when it is cancelled."""
        self.connections += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._at_work.add(task)
        task.add_done_callback(self._at_work.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._exchange(reader, writer)
        finally:
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one request; the caller closes the connection."""
        if self._fault("", connecting=True):
            return reset(writer)
        head = await reader.readuntil(END_OF_HEAD)
        self.bytes_up += len(head)
        line = head.decode("latin-1").partition("\r\n")[0]
        seen = Seen(*line.split(" ")[:2])
        self.requests.append(seen)
        fault = self._fault(line)
        match fault:
            case Answer():
                await self._down(writer, fault.to(seen.method))
            case Stall(after=None):
                await until_closed(reader)
            case Reset(after=None):
                return reset(writer)
            case _:
                await self._relay(closing(head), reader, writer, fault)
        if isinstance(fault, Reset):
            await eventually(lambda: not unsent(writer))
            return reset(writer)
        writer.write_eof()
        await until_closed(reader)  # closing with something unread would reset the connection
        return None

    async def _relay(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault | None
    ) -> None:
        """Ask the server and pass its response on, until that ends or the client leaves."""
        response, request = await asyncio.open_connection(self._upstream.hostname, self._upstream.port)
        request.write(head)
        up = asyncio.create_task(copied(reader, partial(self._up, request)))
        down = asyncio.create_task(self._respond(response, writer, fault))
        try:
            await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
        finally:
            up.cancel()
            down.cancel()
            request.transport.abort()
            await asyncio.wait([up, down])
        if down.cancelled():
            raise ConnectionAbortedError("the client left")
        down.result()

    async def _respond(self, response: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault | None) -> None:
        """Pass a response on, as far as the fault lets it come."""
        down = partial(self._down, writer)
        await pass_heads(response, down)
        match fault:
            case Drip(size, seconds):
                while data := await response.read(size):
                    await down(data)
                    await asyncio.sleep(seconds)
            case Stall(int(after)):
                await copied(response, down, after)
                await asyncio.Event().wait()
            case Cut(after) | Reset(int(after)):
                await copied(response, down, after)
            case _:
                await copied(response, down)

    async def _up(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        self.bytes_up += len(data)
        with suppress(ConnectionError):  # a server may answer and close without reading all
            writer.write(data)
            await writer.drain()

    async def _down(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        self.bytes_down += len(data)
        writer.write(data)
        await writer.drain()


async def copied(source: asyncio.StreamReader, send: Send, most: int = sys.maxsize) -> None:
    """Send what comes, at most so many bytes, to its end."""
    while most and (data := await source.read(min(most, CHUNK))):
        await send(data)
        most -= len(data)


async def pass_heads(response: asyncio.StreamReader, send: Send) -> None:
    """Send the head of a response, and those before it that only say 100 Continue."""
    informational = True
    while informational:
        head = await response.readuntil(END_OF_HEAD)
        informational = head.split(b" ")[1].startswith(b"1")
        await send(head)


async def until_closed(reader: asyncio.StreamReader) -> None:
    """Return once the client has closed, whatever it sends until then."""
    while await reader.read(CHUNK):
        pass


def closing(head: bytes) -> bytes:
    """Return the head of a request with the wish that the server closes after its answer."""
    line, *headers = head.removesuffix(END_OF_HEAD).split(b"\r\n")
    kept = [header for header in headers if not header.lower().startswith(b"connection:")]
    return b"\r\n".join([line, *kept, b"Connection: close"]) + END_OF_HEAD


def unsent(writer: asyncio.StreamWriter) -> int:
    """Return how many bytes have not reached the client's machine; a reset would take them back."""
    waiting = ioctl(writer.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
    return writer.transport.get_write_buffer_size() + int.from_bytes(waiting, sys.byteorder)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST, as a process or a machine that dies does."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


@asynccontextmanager
async def fault_proxy(upstream: str) -> AsyncIterator[FaultProxy]:
    """Run a proxy in front of the server at this URL for the length of a block."""
    proxy = FaultProxy(upstream)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()
