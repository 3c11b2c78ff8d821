"""The server's own life, in this process: what a signal does, and how long an idle connection is kept."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from aiohttp import web

from service import server
from service.settings import Settings
from tests.support.helpers import events


async def started(settings: Settings) -> tuple[asyncio.Task[None], int]:
    """Start a server on a free port; return what runs it, and the port."""
    listening: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def on_start(_: web.Application, port: int) -> None:
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
    assert server.KEEP_ALIVE_SECONDS == 75


async def test_an_idle_connection_is_closed_after_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that says nothing more does not hold its connection for ever."""
    monkeypatch.setattr(server, "KEEP_ALIVE_SECONDS", 0.1)
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
