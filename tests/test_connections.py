"""Limits of connections, and clients that are silent or do not read."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from service.connections import RESERVED_DESCRIPTORS, Budget, Connections, most_connections, raise_descriptor_limit
from service.listening import Listener, open_sockets
from service.observe.metrics import Metrics
from tests.support.helpers import eventually

GET = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"
MEBIBYTE = 2**20
#: More than the kernel keeps for a client that does not read.
LARGE = 16 * MEBIBYTE
BUDGET = Budget(connections=3, unsent=2 * LARGE, unsent_in_all=3 * LARGE, send_seconds=60)


@dataclass
class Served:
    """A server whose answers have as many bytes as the path says; the handler waits for ``go``."""

    port: int
    metrics: Metrics
    go: asyncio.Event
    busy: set[asyncio.Protocol]

    def closed(self, reason: str) -> float | None:
        """Return how many connections were closed for a reason."""
        return self.metrics.registry.get_sample_value("als_connections_closed_total", {"reason": reason})

    def sample(self, name: str) -> float | None:
        """Return one sample as a scrape would."""
        return self.metrics.registry.get_sample_value(name)


@dataclass
class Client:
    """One connection to it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, size: int) -> bytes:
        """Ask for an answer of so many bytes, and read it."""
        self.writer.write(GET % size)
        head = await self.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK")
        return await self.reader.readexactly(size)

    async def is_closed(self) -> bool:
        """Say whether the server closes the connection within ten seconds, whatever it sent before."""
        async with asyncio.timeout(10):
            try:
                await self.reader.read()
            except ConnectionResetError:
                return True
            return self.reader.at_eof()


@asynccontextmanager
async def serving(budget: Budget = BUDGET) -> AsyncIterator[Served]:
    """Serve for the length of a block."""
    metrics, go, busy = Metrics(CollectorRegistry()), asyncio.Event(), set[asyncio.Protocol]()
    go.set()

    async def answer(request: web.Request) -> web.Response:
        busy.add(request.protocol)
        try:
            await go.wait()
        finally:
            busy.discard(request.protocol)
        return web.Response(body=bytes(int(request.match_info["size"])))

    app = web.Application()
    app.router.add_get("/{size}", answer)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    assert runner.server
    listener = Listener(open_sockets("127.0.0.1", 0), Connections(runner.server, busy, budget, metrics), metrics)
    try:
        yield Served(listener.port, metrics, go, busy)
    finally:
        listener.close()
        await runner.cleanup()


@asynccontextmanager
async def connected(served: Served, count: int) -> AsyncIterator[list[Client]]:
    """Connect so often, one after the other; the server has taken in each before the next."""
    clients: list[Client] = []
    limit = served.sample("als_connections_limit") or 0
    try:
        for number in range(1, count + 1):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.setblocking(False)
            await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", served.port))
            clients.append(Client(*await asyncio.open_connection(sock=connection, limit=1024)))
            await eventually(at_least(served, min(number, limit)))
        yield clients
    finally:
        for client in clients:
            client.writer.close()


def at_least(served: Served, count: float) -> Callable[[], bool]:
    """Return a condition: so many connections are open."""
    return lambda: (served.sample("als_connections") or 0) >= count


async def test_above_the_cap_the_longest_idle_connection_is_closed() -> None:
    """A new connection is always accepted; the one that has been idle longest is closed."""
    async with serving() as served, connected(served, 3) as clients:
        first, second, third = clients
        await first.ask(10)
        async with connected(served, 1) as (newcomer,):
            assert await newcomer.ask(10)
            assert await second.is_closed()
            assert await first.ask(10)
            assert await third.ask(10)
        assert served.closed("idle") == 1


async def test_a_flood_of_silent_connections_leaves_room_for_those_that_ask() -> None:
    """However many connect and say nothing, never more are open than the cap, and each that asks is answered."""
    async with serving() as served, connected(served, 20):
        assert served.sample("als_connections") == 3
        async with connected(served, 1) as (client,):
            assert await client.ask(10)


async def test_a_connection_whose_request_is_answered_is_not_closed() -> None:
    """If all connections are busy, the new one is refused."""
    async with serving() as served, connected(served, 3) as clients:
        served.go.clear()
        asked = [asyncio.create_task(client.ask(10)) for client in clients]
        await eventually(lambda: len(served.busy) == 3)
        async with connected(served, 1) as (newcomer,):
            assert await newcomer.is_closed()
        served.go.set()
        await asyncio.gather(*asked)
        assert (served.closed("refused"), served.closed("idle")) == (1, 0)


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r"])
async def test_a_head_that_does_not_arrive_in_time_closes_its_connection(sent: bytes) -> None:
    """However much of it has come, and whether anyone else needs the place or not."""
    async with serving(replace(BUDGET, head_seconds=0.05)) as served, connected(served, 1) as (client,):
        client.writer.write(sent)
        assert await client.is_closed()
        await eventually(lambda: served.closed("head_timeout") == 1)


async def test_a_dripping_head_has_no_more_time() -> None:
    """Each byte is heard, and none puts the deadline off."""

    async def drip(client: Client) -> None:
        client.writer.write(b"GET / HTTP/1.1\r\nX: ")
        while True:
            client.writer.write(b"x")
            await asyncio.sleep(0.001)

    async with serving(replace(BUDGET, head_seconds=0.05)) as served, connected(served, 1) as (client,):
        dripping = asyncio.create_task(drip(client))
        assert await client.is_closed()
        dripping.cancel()
        assert served.closed("head_timeout") == 1


async def test_a_head_in_pieces_is_a_head() -> None:
    """A connection that has asked once is kept, even if the end of its head came in two pieces."""
    async with serving(replace(BUDGET, head_seconds=1)) as served, connected(served, 2) as (client, silent):
        for piece in (b"GET /1 HTTP/1.1\r\nHost: x\r", b"\n\r", b"\n"):
            client.writer.write(piece)
            await client.writer.drain()
            await asyncio.sleep(0)
        await client.reader.readuntil(b"\r\n\r\n")
        assert await client.reader.readexactly(1) == b"\0"
        assert await silent.is_closed()
        assert served.closed("head_timeout") == 1
        assert await client.ask(1) == b"\0"


async def test_an_answer_that_is_not_read_in_time_is_dropped() -> None:
    """The connection is closed at the deadline, and what it held is gone."""
    async with serving(replace(BUDGET, send_seconds=0.2)) as served, connected(served, 1) as (client,):
        client.writer.write(GET % LARGE)
        await eventually(lambda: served.closed("send_timeout") == 1)
        assert served.sample("als_unsent_bytes") == served.sample("als_connections") == 0
        assert await client.is_closed()


async def test_a_slow_reader_in_time_gets_everything() -> None:
    """An answer that does not fit into the kernel's buffers is sent as it is read, and counted meanwhile."""
    async with serving() as served, connected(served, 1) as (client,):
        client.writer.write(GET % LARGE)
        await eventually(lambda: (served.sample("als_unsent_bytes") or 0) > MEBIBYTE)
        await client.reader.readuntil(b"\r\n\r\n")
        assert len(await client.reader.readexactly(LARGE)) == LARGE
        await eventually(lambda: served.sample("als_unsent_bytes") == 0)
        assert await client.ask(10)


async def test_an_unread_answer_counts_as_a_whole() -> None:
    """Even what the kernel has taken, because the server keeps the whole answer until the kernel has the rest."""
    async with serving() as served, connected(served, 1) as (client,):
        client.writer.write(GET % LARGE)
        await eventually(lambda: (served.sample("als_unsent_bytes") or 0) > LARGE - MEBIBYTE / 2)


async def test_an_answer_beyond_the_budget_of_one_connection_closes_it() -> None:
    """A single client cannot exceed its limit of unread bytes."""
    async with serving(replace(BUDGET, unsent=MEBIBYTE)) as served, connected(served, 2) as (greedy, other):
        greedy.writer.write(GET % LARGE)
        assert await greedy.is_closed()
        assert served.closed("unsent_bytes") == 1
        assert await other.ask(10)


async def test_beyond_the_budget_of_all_what_has_waited_for_longest_is_closed() -> None:
    """Clients that do not read must not cause others to be refused."""
    async with serving(replace(BUDGET, unsent_in_all=2 * LARGE)) as served, connected(served, 3) as clients:
        for client in clients[:2]:
            before = served.sample("als_unsent_bytes") or 0
            client.writer.write(GET % LARGE)
            await eventually(
                partial(lambda least: (served.sample("als_unsent_bytes") or 0) > least, before + LARGE / 2)
            )
        clients[2].writer.write(GET % LARGE)
        await eventually(lambda: served.closed("unsent_bytes") == 1)
        assert await clients[0].is_closed()
        for client in clients[1:]:
            await client.reader.readuntil(b"\r\n\r\n")
            await client.reader.readexactly(LARGE)


async def test_a_silent_connection_with_an_unread_answer_is_not_idle() -> None:
    """The deadline is for those; the cap closes those that wait for nothing."""
    async with serving(replace(BUDGET, connections=2)) as served, connected(served, 2) as (reading, idle):
        reading.writer.write(GET % LARGE)
        await eventually(lambda: (served.sample("als_unsent_bytes") or 0) > MEBIBYTE)
        await idle.ask(10)
        async with connected(served, 1):
            assert await idle.is_closed()
        await reading.reader.readuntil(b"\r\n\r\n")
        assert len(await reading.reader.readexactly(LARGE)) == LARGE


async def test_no_answer_is_begun_while_another_is_unread() -> None:
    """Small ones do not pile up either: however much a client asks for at once, one of them waits for it."""
    size = 16 * 1024
    async with serving() as served, connected(served, 1) as (client,):
        client.writer.write(GET % size * 1000)
        await eventually(lambda: served.sample("als_unsent_bytes"))
        assert 0 < (served.sample("als_unsent_bytes") or 0) < 1000 * size / 2
        for _ in range(1000):
            await client.reader.readuntil(b"\r\n\r\n")
            await client.reader.readexactly(size)


async def test_a_client_that_leaves_is_forgotten() -> None:
    """With the answer that it did not read, and without being counted among those that were closed."""
    async with serving(replace(BUDGET, send_seconds=0.3)) as served, connected(served, 2) as (leaving, other):
        leaving.writer.write(GET % LARGE)
        await eventually(lambda: (served.sample("als_unsent_bytes") or 0) > MEBIBYTE)
        leaving.writer.transport.abort()
        await eventually(lambda: served.sample("als_connections") == 1)
        assert served.sample("als_unsent_bytes") == 0
        await asyncio.sleep(0.4)
        assert await other.ask(10)
        assert served.closed("send_timeout") == 0


def test_the_limit_of_descriptors_is_raised_as_far_as_it_goes() -> None:
    """A soft limit costs nothing to raise, and no right is needed."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, before[1]), before[1]))
        assert raise_descriptor_limit() == before[1]
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize(
    ("descriptors", "connections"),
    [
        (1024, 1024 - RESERVED_DESCRIPTORS),
        (64, 16),
        (2**20, 10_000),
        (resource.RLIM_INFINITY, 10_000),
    ],
)
def test_connections_leave_descriptors_for_everything_else(descriptors: int, connections: int) -> None:
    """Files, children and S3 have theirs, at any limit that a server can live with; memory is the other bound."""
    assert most_connections(descriptors) == connections
