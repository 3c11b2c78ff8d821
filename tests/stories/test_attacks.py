"""Attacks by clients on a real server: encoded bodies, idle sockets, half-sent bodies."""

from __future__ import annotations

import asyncio
import gzip
import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import hdrs
from aiohttp.compression_utils import ZLibDecompressor

from service.api.context import Lifecycle
from service.api.routes import ROUTES
from service.live.reading import Reading
from tests.support.helpers import eventually, model_bytes, put
from tests.support.models import make_factors
from tests.support.running import RunningServer, running_server
from tests.support.serving import Api, make_snapshot, serving
from tests.test_server import started, without_model

SNAPSHOT = make_snapshot(make_factors())
METHODS = sorted(hdrs.METH_ALL - {"CONNECT"})
#: With 128 of them in reserve, 128 connections may be open.
DESCRIPTORS = 256
HALF_A_REQUEST = (
    b"POST /v1/recommendations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
)


def encoded(method: str, path: str, body: bytes, coding: str = "gzip") -> bytes:
    """Make a request whose body says that it is encoded."""
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Encoding: {coding}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.fixture
def decompressed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return what is decompressed from now on."""
    seen: list[bytes] = []

    real = ZLibDecompressor.decompress_sync

    def record(self: ZLibDecompressor, data: bytes, *arguments: Any, **options: Any) -> bytes:
        seen.append(data)
        return real(self, data, *arguments, **options)

    monkeypatch.setattr(ZLibDecompressor, "decompress_sync", record)
    return seen


@pytest.mark.parametrize("path", sorted({route.path for route in ROUTES} | {"/nowhere"}))
async def test_an_encoded_body_is_refused_on_every_path_and_method(path: str, decompressed: list[bytes]) -> None:
    """415 as a problem document, the connection closes, and not a byte is decompressed."""
    body = gzip.compress(b"{}")
    async with serving(SNAPSHOT) as api:
        for method in METHODS:
            answer = await api.raw(encoded(method, path.replace("{", "").replace("}", ""), body))
            assert answer.startswith(b"HTTP/1.1 415 Unsupported Media Type\r\n")
            assert b"\r\nContent-Type: application/problem+json\r\n" in answer
            assert b"\r\nAccept-Encoding: identity\r\n" in answer
            assert method == "HEAD" or b'"code":"encoded_body"' in answer
    assert decompressed == []


async def test_the_server_unpacks_nothing_that_it_throws_away(
    tmp_path: Path, decompressed: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """What is still arriving when it has been refused is read, so that the client gets its answer, and no more."""
    running, port = await started(without_model(tmp_path))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(encoded("POST", "/v1/recommendations", gzip.compress(b"{}" * 1000)))
    async with asyncio.timeout(10):
        assert (await reader.read()).startswith(b"HTTP/1.1 415 ")
    writer.close()
    os.kill(os.getpid(), signal.SIGINT)
    await running
    assert decompressed == []


@pytest.mark.parametrize("coding", ["deflate", "br", "zstd", "identity", "x-unheard-of", "gzip, gzip"])
async def test_whatever_the_encoding_is_called(coding: str) -> None:
    """No coding is looked at, none is looked up."""
    async with serving(SNAPSHOT) as api:
        answer = await api.raw(encoded("POST", "/v1/recommendations", b"\x00\x01", coding))
    assert answer.startswith(b"HTTP/1.1 415 ")


async def test_an_encoded_body_is_counted_by_its_route() -> None:
    """Someone who looks at the metrics sees where it comes in."""
    async with serving(SNAPSHOT) as api:
        await api.raw(encoded("POST", "/v1/recommendations", b"x"))
        labels = {"route": "/v1/recommendations", "method": "POST", "status": "415"}
        assert api.sample("als_http_requests_total", **labels) == 1


NEXT = b"GET /v1/model HTTP/1.1\r\nHost: x\r\n\r\n"
START = b"POST /v1/recommendations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
NOTHING = b"0\r\n\r\n"
SMUGGLED = {
    "a length before chunks": START + b"Content-Length: 4\r\n" + CHUNKED + NOTHING,
    "a length after chunks": START + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + NOTHING,
    "two lengths": START + b"Content-Length: 0\r\nContent-Length: 40\r\n\r\n",
    "one length twice": START + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a list of lengths": START + b"Content-Length: 0, 40\r\n\r\n",
    "a signed length": START + b"Content-Length: +2\r\n\r\n{}",
    "a negative length": START + b"Content-Length: -1\r\n\r\n",
    "a hexadecimal length": START + b"Content-Length: 0x2\r\n\r\n{}",
    "a space before the colon": START + b"Transfer-Encoding : chunked\r\n\r\n" + NOTHING,
    "a folded line": START + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + NOTHING,
    "another coding": START + b"Transfer-Encoding: xchunked\r\n\r\n" + NOTHING,
    "a coding after chunks": START + b"Transfer-Encoding: chunked, identity\r\n\r\n" + NOTHING,
    "a chunk of another notation": START + CHUNKED + b"0x2\r\n{}\r\n" + NOTHING,
    "a chunk of a negative size": START + CHUNKED + b"-2\r\n{}\r\n" + NOTHING,
    "chunks without CR": START + CHUNKED + b"2\n{}\n0\n\n",
    "lines without CR": START.replace(b"\r", b"") + b"Content-Length: 0\n\n",
    "a CR within a line": START + b"X: a\rContent-Length: 40\r\n\r\n",
    "a NUL": START + b"X: a\0b\r\nContent-Length: 0\r\n\r\n",
    "no colon": START + b"Content-Length 0\r\n\r\n",
    "chunks in HTTP/1.0": START.replace(b"1.1", b"1.0") + CHUNKED + NOTHING,
}


@pytest.mark.parametrize("case", SMUGGLED)
async def test_no_request_is_smuggled(case: str) -> None:
    """What two readers could take for different requests gets one 400, and nothing after it is read."""
    async with serving(SNAPSHOT) as api:
        answer = await api.raw(SMUGGLED[case] + NEXT)
    assert answer.split(b" ", 2)[1] == b"400"
    assert answer.count(b"\r\nServer: ") == 1
    assert b"last_reload" not in answer


async def test_a_scrape_during_swaps_is_of_one_model() -> None:
    """Its version, its size and its scores belong together, whenever it comes."""
    other = make_snapshot(make_factors(users=7, items=9), "other")
    users = {SNAPSHOT.version: 40, other.version: 7}
    async with serving(SNAPSHOT) as api:

        async def swap() -> None:
            while True:
                for snapshot in (other, SNAPSHOT):
                    api.store.slot.serve(await api.store.slot.offer(snapshot), Reading(""))
                    await asyncio.sleep(0)

        api.store.slot.serve(await api.store.slot.offer(SNAPSHOT), Reading(""))
        swapping = asyncio.create_task(swap())
        for _ in range(50):
            text = (await api.get("/metrics")).body.decode()
            (info,) = re.findall(r'^als_model_info\{.*\bversion="(\w+)".*\} 1\.0$', text, re.MULTILINE)
            (count,) = re.findall(r"^als_model_users (\S+)$", text, re.MULTILINE)
            assert float(count) == users[info]
        swapping.cancel()


@pytest.mark.parametrize("path", sorted({route.path for route in ROUTES} | {"/nowhere"}))
async def test_no_answer_is_taken_for_another_type(path: str) -> None:
    """No browser guesses that an answer, or an error, is a script."""
    async with serving(SNAPSHOT) as api:
        for method in METHODS:
            answer = await api.request(method, path.replace("{", "").replace("}", ""))
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_no_answer_names_a_version(tmp_path: Path) -> None:
    """Neither ours nor those that aiohttp gives to what is not HTTP say which libraries could be attacked."""
    running, port = await started(without_model(tmp_path))
    for sent in (b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"nonsense\r\n\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()
        assert b"\r\nServer: als-serve\r\n" in answer
        assert b"aiohttp" not in answer
        assert b"Python/" not in answer
    os.kill(os.getpid(), signal.SIGINT)
    await running


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("path", ["recommendations", "similar", "scores?items=0", "items", "explanations/0"])
async def test_no_answer_has_a_number_that_is_not_finite(path: str, bad: float) -> None:
    """Not even of factors that were changed on disk, after validation: an answer with null would be wrong silently."""
    snapshot = make_snapshot(replace(make_factors(users=3, items=4), user_ids=np.arange(3), item_ids=np.arange(4)))
    assert snapshot.model.seen
    for array in (snapshot.model.user_factors, snapshot.model.item_factors, snapshot.model.seen.weights):
        array[:] = bad
    async with serving(snapshot) as api:
        answer = await api.get(f"/v1/users/0/{path}")
    assert b"null" not in answer.body
    assert answer.status in (200, 500)


async def test_a_body_that_is_still_to_come_does_not_keep_its_connection() -> None:
    """A connection that waits for its client may be closed to make room."""
    async with serving(SNAPSHOT) as api:
        _, writer = await asyncio.open_connection("127.0.0.1", api.server.port)
        writer.write(HALF_A_REQUEST)
        await eventually(lambda: lifecycle(api).in_flight == 1)
        assert lifecycle(api).busy == set()
        writer.close()
        await eventually(lambda: lifecycle(api).in_flight == 0)
        assert lifecycle(api).busy == set()


def lifecycle(api: Api) -> Lifecycle:
    """Return what the server is doing."""
    return api.context.lifecycle


@pytest.fixture
def cramped(tmp_path: Path) -> Iterator[RunningServer]:
    """Run a server that may have few descriptors."""
    model = tmp_path / "model.npz"
    put(model, model_bytes(0))
    command = ("prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}", sys.executable, "-m", "service", "serve")
    # The next model is another random one, of which the gate for overlap would warn.
    with running_server(model, tmp_path / "state", command=command, gate_overlap="off") as server:
        server.wait_until_ready()
        yield server


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\n", HALF_A_REQUEST])
def test_more_silent_sockets_than_descriptors_stop_nothing(cramped: RunningServer, tmp_path: Path, sent: bytes) -> None:
    """Every health check is answered, a model that arrives is swapped in, and the log stays as it was."""
    port = int(cramped.url.rsplit(":", 1)[1])
    with ExitStack() as sockets:
        for number in range(2 * DESCRIPTORS):
            connection = sockets.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            connection.sendall(sent)
            if number % 64 == 0:
                assert cramped.get("/healthz")[0] == 200
        logged = len(cramped.events)
        cramped.wait_until_serving(put(tmp_path / "model.npz", model_bytes(1)))
        assert cramped.get("/healthz")[0] == 200
    assert [event["event"] for event in cramped.events[logged:]] == ["swapped"]
