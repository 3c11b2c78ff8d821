"""The proxy that the tests of remote storage trust: each fault is what it says."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from botocore.exceptions import ClientError

from tests.support.fault_proxy import Cut, Drip, FaultProxy, Refuse, Reset, Stall, fault_proxy, page, s3_error
from tests.support.helpers import eventually
from tests.support.seaweed import Seaweed, running_seaweed

BODY = bytes(range(256)) * 4096  # 1 MiB: more than any buffer on the way holds at a time

Raw = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def give(request: web.Request) -> web.Response:
    """Answer with the body that everybody gets."""
    return web.Response(body=BODY, headers={"Host-Seen": request.host})


async def digest(request: web.Request) -> web.Response:
    """Answer with the hash of what was sent."""
    return web.Response(text=hashlib.sha256(await request.read()).hexdigest())


async def refuse_unread(request: web.Request) -> web.Response:
    """Answer without reading what was sent."""
    raise web.HTTPPreconditionFailed(text="not that one")


@pytest.fixture
async def proxy(
    aiohttp_server: Callable[[web.Application], Awaitable[TestServer]],
) -> AsyncIterator[FaultProxy]:
    """Return a proxy in front of a server that gives and hashes."""
    app = web.Application(client_max_size=2 * len(BODY))
    app.add_routes([web.get("/give", give), web.put("/digest", digest), web.put("/unread", refuse_unread)])
    server = await aiohttp_server(app)
    async with fault_proxy(str(server.make_url("/"))) as running:
        yield running


async def connected(proxy: FaultProxy) -> Raw:
    """Return a connection to the proxy that nothing was sent on."""
    return await asyncio.open_connection("127.0.0.1", int(proxy.endpoint.rpartition(":")[2]))


async def asked(proxy: FaultProxy) -> Raw:
    """Return a connection to the proxy, on which the body was asked for."""
    reader, writer = await connected(proxy)
    writer.write(b"GET /give HTTP/1.1\r\nHost: a.test\r\n\r\n")
    return reader, writer


async def fetched(proxy: FaultProxy, method: str = "GET") -> tuple[int, bytes]:
    """Return the status and the body of one request."""
    async with aiohttp.ClientSession() as session, session.request(method, proxy.endpoint + "/give") as response:
        return response.status, await response.read()


async def sent(proxy: FaultProxy, path: str, data: object, *, expect: bool = False) -> tuple[int, str]:
    """Return the status and the text of the answer to an upload."""
    url = proxy.endpoint + path
    async with aiohttp.ClientSession() as session, session.put(url, data=data, expect100=expect) as response:
        return response.status, await response.text()


async def received(reader: asyncio.StreamReader) -> tuple[bytes, BaseException | None]:
    """Return all that comes of a response's body, and how it ends other than by being closed."""
    await reader.readuntil(b"\r\n\r\n")
    came = b""
    try:
        while data := await reader.read(65536):
            came += data
    except OSError as error:
        return came, error
    return came, None


async def pieces() -> AsyncIterator[bytes]:
    """Yield the body in pieces, which aiohttp sends chunked."""
    for start in range(0, len(BODY), 100_000):
        yield BODY[start : start + 100_000]


async def test_without_a_fault_all_is_passed_on_and_counted(proxy: FaultProxy) -> None:
    """Requests reach the server as they were, one connection each, and are recorded."""
    async with aiohttp.ClientSession() as session:
        for _ in range(3):
            async with session.get(proxy.endpoint + "/give?a=b", headers={"Host": "a.test:1"}) as response:
                assert await response.read() == BODY
                assert response.headers["Host-Seen"] == "a.test:1"
    assert proxy.requests == [("GET", "/give?a=b")] * 3
    assert proxy.connections == 3
    assert 3 * len(BODY) < proxy.bytes_down < 3 * len(BODY) + 3000
    assert 0 < proxy.bytes_up < 3000
    await eventually(lambda: proxy.open == 0)


@pytest.mark.parametrize("expect", [False, True])
@pytest.mark.parametrize("data", [BODY, None], ids=["length", "chunked"])
async def test_uploads_are_passed_on(proxy: FaultProxy, data: bytes | None, expect: bool) -> None:
    """A body arrives whole, of known length or chunked, announced (Expect: 100-continue) or not."""
    assert await sent(proxy, "/digest", data or pieces(), expect=expect) == (200, hashlib.sha256(BODY).hexdigest())
    assert proxy.bytes_up > len(BODY)


async def test_an_answer_before_the_upload_ends_arrives(proxy: FaultProxy) -> None:
    """A server that refuses an upload unread is heard."""
    assert await sent(proxy, "/unread", BODY, expect=True) == (412, "not that one")


@pytest.mark.parametrize("after", [0, 1, 700_000])
async def test_cut_closes_after_so_many_bytes(proxy: FaultProxy, after: int) -> None:
    """Exactly that much of the body comes, then the end."""
    proxy.fail(Cut(after))
    reader, writer = await asked(proxy)
    assert await received(reader) == (BODY[:after], None)
    writer.close()


async def test_a_client_notices_a_cut(proxy: FaultProxy) -> None:
    """To an HTTP client a response that was cut is an error."""
    proxy.fail(Cut(1000))
    with pytest.raises(aiohttp.ClientPayloadError):
        await fetched(proxy)


@pytest.mark.parametrize("after", [0, 1, 700_000])
async def test_reset_takes_nothing_back(proxy: FaultProxy, after: int) -> None:
    """Exactly that much of the body comes, then a reset."""
    proxy.fail(Reset(after))
    reader, writer = await asked(proxy)
    came, error = await received(reader)
    assert came == BODY[:after]
    assert isinstance(error, ConnectionResetError)
    writer.close()


@pytest.mark.parametrize("fault", [Cut(700_000), Reset(700_000)], ids=["cut", "reset"])
async def test_a_slow_reader_gets_what_comes_before_the_end(proxy: FaultProxy, fault: Cut | Reset) -> None:
    """What was passed on comes before the end, although the client takes it late."""
    proxy.fail(fault)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", int(proxy.endpoint.rpartition(":")[2])))
        await loop.sock_sendall(client, b"GET /give HTTP/1.1\r\nHost: a.test\r\n\r\n")
        await eventually(lambda: proxy.bytes_down > 700_000)
        reader, writer = await asyncio.open_connection(sock=client)
        assert (await received(reader))[0] == BODY[:700_000]
        writer.close()


async def test_reset_in_place_of_a_response(proxy: FaultProxy) -> None:
    """The request was read, and a reset is all that comes."""
    proxy.fail(Reset())
    reader, writer = await asked(proxy)
    with pytest.raises(ConnectionResetError):
        await reader.read(1)
    assert proxy.requests == [("GET", "/give")]
    writer.close()


async def test_refuse_resets_what_has_not_spoken(proxy: FaultProxy) -> None:
    """A connection is reset before anything was sent on it, as often as told."""
    proxy.fail(Refuse(), times=1)
    reader, writer = await connected(proxy)
    with pytest.raises(ConnectionResetError):
        await reader.read(1)
    assert proxy.requests == []
    writer.close()
    assert await fetched(proxy) == (200, BODY)


async def test_drip_passes_pieces_on(proxy: FaultProxy) -> None:
    """The body comes in pieces of this size, and in the end it is whole."""
    proxy.fail(Drip(100_000, seconds=0.01))
    assert await fetched(proxy) == (200, BODY)


async def test_a_long_pause_lets_one_piece_through(proxy: FaultProxy) -> None:
    """During a pause nothing comes, and the client can leave."""
    proxy.fail(Drip(10, seconds=3600))
    reader, writer = await asked(proxy)
    await reader.readuntil(b"\r\n\r\n")
    assert await reader.readexactly(10) == BODY[:10]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.1)
    writer.close()
    await eventually(lambda: proxy.open == 0)


@pytest.mark.parametrize("after", [0, 700_000])
async def test_stall_keeps_the_connection(proxy: FaultProxy, after: int) -> None:
    """That much of the body comes, nothing more, and the connection stays until the client leaves."""
    proxy.fail(Stall(after))
    reader, writer = await asked(proxy)
    await reader.readuntil(b"\r\n\r\n")
    assert await reader.readexactly(after) == BODY[:after]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.1)
    assert proxy.open == 1
    writer.close()
    await eventually(lambda: proxy.open == 0)


async def test_stall_in_place_of_a_response(proxy: FaultProxy) -> None:
    """Not even the head of a response comes."""
    proxy.fail(Stall())
    reader, writer = await asked(proxy)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.1)
    assert (proxy.open, proxy.bytes_down) == (1, 0)
    writer.close()
    await eventually(lambda: proxy.open == 0)


async def test_a_page_in_the_servers_place(proxy: FaultProxy) -> None:
    """The status is the one that was told, the body a page, of which HEAD gets the headers alone."""
    proxy.fail(page(200))
    status, body = await fetched(proxy)
    assert (status, b"<html>" in body) == (200, True)
    assert await fetched(proxy, "HEAD") == (200, b"")


async def test_an_upload_is_answered_in_the_servers_place(proxy: FaultProxy) -> None:
    """An answer is heard by a client that sends more than buffers hold."""
    proxy.fail(page(503))
    reader, writer = await connected(proxy)
    writer.write(b"PUT /digest HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY)
    await writer.drain()
    assert await received(reader) == (page(503).body, None)
    writer.close()


async def test_what_says_continue_is_no_response(proxy: FaultProxy) -> None:
    """The bytes that a fault counts are those of the response after 100 Continue."""
    proxy.fail(Cut(10))
    reader, writer = await connected(proxy)
    writer.write(b"PUT /digest HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
    assert b" 100 " in await reader.readuntil(b"\r\n\r\n")
    writer.write(b"x")
    assert await received(reader) == (hashlib.sha256(b"x").hexdigest()[:10].encode(), None)
    writer.close()


async def test_a_fault_is_for_the_requests_that_match(proxy: FaultProxy) -> None:
    """The first fault that matches a request's first line happens, and others are passed on."""
    proxy.fail(page(403), matching="^HEAD /give")
    proxy.fail(page(503), matching="^(HEAD|POST) ")
    assert (await fetched(proxy, "HEAD"))[0] == 403
    assert (await fetched(proxy, "POST"))[0] == 503
    assert await fetched(proxy) == (200, BODY)


async def test_a_fault_happens_as_often_as_told(proxy: FaultProxy) -> None:
    """Each is used up by itself, in the order told; then all is passed on."""
    proxy.fail(page(500), times=2)
    proxy.fail(page(503), times=1)
    assert [(await fetched(proxy))[0] for _ in range(4)] == [500, 500, 503, 200]


async def test_healing(proxy: FaultProxy) -> None:
    """What was told is forgotten at once."""
    proxy.fail(page(500))
    assert (await fetched(proxy))[0] == 500
    proxy.heal()
    assert await fetched(proxy) == (200, BODY)


async def test_closing_ends_what_is_open(proxy: FaultProxy) -> None:
    """A stalled client sees the proxy close."""
    proxy.fail(Stall())
    reader, writer = await asked(proxy)
    await eventually(lambda: proxy.requests)
    await proxy.close()
    assert await reader.read() == b""
    writer.close()


async def test_a_server_that_is_gone(unused_tcp_port: int) -> None:
    """Where nothing listens behind the proxy, the client's connection ends without an answer."""
    async with fault_proxy(f"http://127.0.0.1:{unused_tcp_port}") as proxy:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await fetched(proxy)


async def test_signed_requests_pass(seaweed: Seaweed) -> None:
    """A real S3 accepts what comes through the proxy: a client signs the host that it speaks to."""
    bucket = await seaweed.make_bucket(versioned=True)
    async with fault_proxy(seaweed.endpoint) as proxy, seaweed.client(proxy.endpoint) as client:
        put = await client.put_object(Bucket=bucket, Key="model", Body=BODY)
        got = await client.get_object(Bucket=bucket, Key="model", VersionId=put["VersionId"])
        assert await got["Body"].read() == BODY
        with pytest.raises(ClientError) as caught:
            await client.put_object(Bucket=bucket, Key="model", Body=BODY, IfNoneMatch="*")
        assert caught.value.response["Error"]["Code"] == "PreconditionFailed"
    assert [seen.method for seen in proxy.requests] == ["PUT", "GET", "PUT"]


@pytest.mark.parametrize(
    ("status", "code"),
    [(503, "SlowDown"), (403, "AccessDenied"), (500, "InternalError"), (400, "KMS.AccessDeniedException")],
)
async def test_a_client_understands_made_up_errors(seaweed: Seaweed, status: int, code: str) -> None:
    """A client finds the code in the answer, whether to a download or to an upload."""
    async with fault_proxy(seaweed.endpoint) as proxy, seaweed.client(proxy.endpoint) as client:
        proxy.fail(s3_error(status, code))
        for call in (client.get_object(Bucket="b", Key="k"), client.put_object(Bucket="b", Key="k", Body=BODY)):
            with pytest.raises(ClientError) as caught:
                await call
            assert caught.value.response["Error"]["Code"] == code
            assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """Return a store that no other module uses."""
    with running_seaweed(tmp_path_factory.mktemp("second")) as running:
        yield running


async def test_a_store_can_be_killed_and_started_again(second: Seaweed) -> None:
    """What a killed store has acknowledged is there when it is started again, at the same address."""
    bucket = await second.make_bucket()
    async with second.client() as client:
        await client.put_object(Bucket=bucket, Key="model", Body=BODY)
        await asyncio.to_thread(second.kill)
        await asyncio.to_thread(second.start)
        got = await client.get_object(Bucket=bucket, Key="model")
        assert await got["Body"].read() == BODY


async def test_a_reader_may_not_write(seaweed: Seaweed) -> None:
    """The reader can read but not write, and a wrong secret is refused."""
    bucket = await seaweed.make_bucket()
    async with seaweed.client() as client:
        await client.put_object(Bucket=bucket, Key="model", Body=b"model")
    async with seaweed.client(identity="reader") as reader, seaweed.client(identity="wrong") as wrong:
        assert (await reader.head_object(Bucket=bucket, Key="model"))["ContentLength"] == 5
        with pytest.raises(ClientError, match="AccessDenied"):
            await reader.put_object(Bucket=bucket, Key="model", Body=b"other")
        with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
            await wrong.get_object(Bucket=bucket, Key="model")


async def test_stores_run_side_by_side(seaweed: Seaweed, second: Seaweed) -> None:
    """A second store has ports and data of its own, as tests in parallel need."""
    bucket = await seaweed.make_bucket()
    async with seaweed.client() as here, second.client() as there:
        await here.head_bucket(Bucket=bucket)
        with pytest.raises(ClientError, match="404"):
            await there.head_bucket(Bucket=bucket)
