"""The server's own life, in this process: what a signal does, and how long an idle connection is kept."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from service import answering, server
from service.api.context import Context
from service.connections import most_connections, raise_descriptor_limit
from service.errors import SettingsError
from service.settings import Settings
from tests.support.helpers import events

pytestmark = pytest.mark.usefixtures("children_are_measured")


async def started(settings: Settings) -> tuple[asyncio.Task[None], int]:
    """Start a server on a free port; return what runs it, and the port."""
    listening: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def on_start(_: Context, port: int) -> None:
        listening.set_result(port)

    running = asyncio.create_task(server.serve(settings, on_start))
    return running, await listening


def without_model(tmp_path: Path, drain_seconds: float = 0.0) -> Settings:
    """Return the settings of a server that waits for a model."""
    return Settings(model_path=tmp_path / "m.npz", state_dir=tmp_path / "s", port=0, drain_seconds=drain_seconds)


async def test_the_log_begins_with_the_model(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The first log line is unchanged."""
    caplog.set_level("INFO")
    running, _ = await started(without_model(tmp_path))
    assert events(caplog)[:2] == ["initializing", "listening"]
    os.kill(os.getpid(), signal.SIGINT)
    await running


def test_idle_connections_are_kept_for_75_seconds() -> None:
    """Longer than the 60 s after which common load balancers drop an idle connection: they, not we, close it."""
    assert answering.KEEP_ALIVE_SECONDS == 75


async def test_an_idle_connection_is_closed_after_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that says nothing more does not hold its connection for ever."""
    monkeypatch.setattr(answering, "KEEP_ALIVE_SECONDS", 0.1)
    running, port = await started(without_model(tmp_path))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(30):
        answered = await reader.read()
    writer.close()
    assert answered.startswith(b"HTTP/1.1 200 OK\r\n")
    os.kill(os.getpid(), signal.SIGTERM)
    await running


async def test_while_draining_connections_are_let_go(tmp_path: Path) -> None:
    """After SIGTERM the server still answers, not ready, and tells the client to connect anew elsewhere."""
    running, port = await started(without_model(tmp_path, drain_seconds=3600))
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0)  # the signal's handler runs on the loop's next turn
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(30):
        answered = await reader.read()
    writer.close()
    assert answered.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"\r\nConnection: close\r\n" in answered
    os.kill(os.getpid(), signal.SIGINT)
    await running


async def test_one_process_tells_its_health_on_a_port_of_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is the same server, with the same numbers; what it answers is asked elsewhere."""
    caplog.set_level("INFO")
    running, port = await started(replace(without_model(tmp_path), management_port=0))
    managing = next(vars(record)["facts"]["port"] for record in caplog.records if vars(record)["event"] == "managing")
    async with aiohttp.ClientSession() as session:
        for path, status in {"/healthz": 200, "/readyz": 503, "/v1/model": 404}.items():
            async with session.get(f"http://127.0.0.1:{managing}{path}") as answer:
                assert answer.status == status
        async with session.get(f"http://127.0.0.1:{port}/healthz") as answer:
            assert answer.status == 200
        async with session.get(f"http://127.0.0.1:{managing}/metrics?name[]=als_http_requests_total") as answer:
            assert 'route="/healthz",status="200"} 2.0' in await answer.text()
        async with session.get(f"http://127.0.0.1:{managing}/metrics?name[]=als_connections_limit") as answer:
            limit = most_connections(raise_descriptor_limit())  # of the port that answers
            assert f"als_connections_limit {limit}.0" in await answer.text()
    os.kill(os.getpid(), signal.SIGINT)
    await running


async def test_a_taken_management_port_is_said_before_anything_begins(tmp_path: Path) -> None:
    """With the setting that is wrong."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = replace(without_model(tmp_path), management_port=taken.getsockname()[1], workers=2)
        with pytest.raises(SettingsError, match=r"Address already in use; set ALS_HOST or ALS_MANAGEMENT_PORT\."):
            await server.serve(settings)


async def test_a_state_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """The server does not start, and says which setting is wrong and why."""
    (tmp_path / "s").write_text("a file")
    with pytest.raises(SettingsError, match=r"^ALS_STATE_DIR .*/s cannot be used: File exists; set it to a writable"):
        await server.serve(without_model(tmp_path))


async def test_a_server_starts_without_noting_its_address(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Only ``als-serve health`` needs that, so that a disk that refuses it stops nobody."""
    settings = without_model(tmp_path)
    (settings.state_dir / "address.json").mkdir(parents=True)
    running, _ = await started(settings)
    assert "housekeeping_failed" in events(caplog)
    os.kill(os.getpid(), signal.SIGINT)
    await running
