"""Listening sockets: addresses, and a lack of descriptors."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from service import listening
from service.connections import Budget, Connections
from service.errors import SettingsError
from service.listening import Listener, authority, open_sockets
from service.observe.metrics import Metrics
from tests.support.helpers import events, eventually, no_descriptor_left


class Echo(asyncio.Protocol):
    """Sends back what it receives, in place of aiohttp's protocol."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Send it back."""
        self._transport.write(data)


@asynccontextmanager
async def listener(is_our_turn: Callable[[int], bool] | None = None) -> AsyncIterator[tuple[Listener, Metrics]]:
    """Listen on a free port for the length of a block."""
    metrics = Metrics(CollectorRegistry())
    connections = Connections(Echo, (), Budget(10), metrics)
    listens = Listener(open_sockets("127.0.0.1", 0), connections, metrics, is_our_turn)
    try:
        yield listens, metrics
    finally:
        listens.close()


async def test_without_a_descriptor_one_line_is_logged_and_it_goes_on_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each failure is counted, the first is logged, and who waited is let in once there is room."""
    loop = asyncio.get_running_loop()
    async with listener() as (listens, metrics):
        with socket.socket() as client:
            client.setblocking(False)
            with no_descriptor_left():
                await loop.sock_connect(client, ("127.0.0.1", listens.port))
                await eventually(lambda: errors(metrics) >= 3)
            await loop.sock_sendall(client, b"hello")
            async with asyncio.timeout(10):
                assert await loop.sock_recv(client, 5) == b"hello"
    assert events(caplog) == ["accept_failed"]
    assert "Too many open files" in caplog.messages[0]


def errors(metrics: Metrics) -> float:
    """Return how often nothing could be accepted."""
    return metrics.registry.get_sample_value("als_accept_errors_total") or 0


async def test_without_a_descriptor_a_silent_client_makes_room() -> None:
    """The longest idle connection is closed, so a health check gets in although nothing else gives way."""
    async with listener() as (listens, metrics):
        _, silent = await asyncio.open_connection("127.0.0.1", listens.port)
        await eventually(lambda: metrics.registry.get_sample_value("als_connections") == 1)
        loop = asyncio.get_running_loop()
        with socket.socket() as client:
            client.setblocking(False)
            with no_descriptor_left():
                await loop.sock_connect(client, ("127.0.0.1", listens.port))
                await loop.sock_sendall(client, b"hello")
                async with asyncio.timeout(10):
                    assert await loop.sock_recv(client, 5) == b"hello"
        silent.close()


async def test_closing_stops_listening_even_while_it_waits_to_try_again(caplog: pytest.LogCaptureFixture) -> None:
    """A retry that is due does not come back to a closed socket."""
    loop = asyncio.get_running_loop()
    async with listener() as (listens, metrics):
        with socket.socket() as client:
            client.setblocking(False)
            with no_descriptor_left():
                await loop.sock_connect(client, ("127.0.0.1", listens.port))
                await eventually(lambda: errors(metrics) >= 1)
    await asyncio.sleep(2 * listening._PAUSE_SECONDS)
    assert [record.name for record in caplog.records] == ["als_serve"]


async def test_what_nobody_else_accepts_is_accepted() -> None:
    """Who has more connections than others lets them go first, and takes the client if they do not come."""
    asked: list[int] = []

    def is_our_turn(connections: int) -> bool:
        asked.append(connections)
        return False

    async with listener(is_our_turn) as (listens, _):
        writers = []
        for number in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", listens.port)
            writers.append(writer)
            writer.write(b"hello")
            async with asyncio.timeout(10):
                assert await reader.readexactly(5) == b"hello"
            assert set(asked) == {number}
            asked.clear()
        for writer in writers:
            writer.close()
            await writer.wait_closed()


def test_a_host_name_is_listened_to_at_all_its_addresses() -> None:
    """With one port, also where it is any free one."""
    opened = open_sockets("localhost", 0)
    try:
        addresses = {found[4][0] for found in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
        assert {listens.getsockname()[0] for listens in opened} == addresses
        assert len({listens.getsockname()[1] for listens in opened}) == 1
    finally:
        for listens in opened:
            listens.close()


def test_a_host_that_is_not_there_is_said_in_the_systems_words() -> None:
    """Not as a number that nobody knows."""
    with pytest.raises(SettingsError, match=r"^Cannot listen on no\.such\.host\.invalid:0: .*[nN]ame.*; set ALS_HOST"):
        open_sockets("no.such.host.invalid", 0)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
async def test_all_addresses_of_ipv6_are_those_of_ipv4_too() -> None:
    """A server at :: answers both, and the port is free in both."""
    (listens,) = open_sockets("::", 0)
    with listens:
        port = listens.getsockname()[1]
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with socket.socket(family) as client:
                client.connect((address, port))


@pytest.mark.parametrize("host", ["[::1]", "unix:/run/als.sock", "no such host", "a..b", "x" * 70, "http://127.0.0.1"])
def test_what_is_no_host_is_one_sentence(host: str) -> None:
    """In the system's words, with the settings that may be wrong."""
    with pytest.raises(SettingsError, match=r"^Cannot listen on .*:0: .*[Nn]ame.*; set ALS_HOST or ALS_PORT\.$"):
        open_sockets(host, 0)


@pytest.mark.parametrize(
    ("host", "written"),
    [
        ("::", "[::]:8080"),
        ("::ffff:10.0.0.1", "[::ffff:10.0.0.1]:8080"),
        ("fe80::1%eth0", "[fe80::1%eth0]:8080"),
        ("[::1]", "[::1]:8080"),
        ("unix:/run/als.sock", "unix:/run/als.sock:8080"),
        ("localhost", "localhost:8080"),
    ],
)
def test_an_address_is_written_as_in_a_url(host: str, written: str) -> None:
    """So that it can be copied from the log."""
    assert authority(host, 8080) == written


def test_a_taken_port_lets_go_of_what_was_opened_before() -> None:
    """Where one of several addresses cannot be had, none is kept."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        before = len(list(Path("/proc/self/fd").iterdir()))
        with pytest.raises(SettingsError, match=os.strerror(errno.EADDRINUSE)):
            open_sockets("localhost", port)
        assert len(list(Path("/proc/self/fd").iterdir())) == before
