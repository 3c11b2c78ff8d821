"""Starting and stopping the real server: signals, draining, ports, and a child that is never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.support.load import open_loop
from tests.support.running import RunningServer, running_server


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return the path of a small model."""
    rng = np.random.default_rng(0)
    path = tmp_path / "als_model.npz"
    factors = {name: rng.normal(size=(50, 4)).astype(np.float32) for name in ("user_factors", "item_factors")}
    np.savez(path, allow_pickle=False, **factors)
    return path


async def test_sigterm_under_load_fails_no_request(model: Path, tmp_path: Path) -> None:
    """After SIGTERM the server is not ready yet still answers; then all in flight is finished, and it exits 0."""
    with running_server(model, tmp_path / "state", drain_seconds=1) as server:
        await asyncio.to_thread(server.wait_until_ready)
        stop = asyncio.Event()
        load = asyncio.create_task(open_loop(server.url, lambda n: f"/v1/users/{n % 50}/recommendations", 100, stop))
        await asyncio.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(server.wait_for, "draining")
        status, problem = await asyncio.to_thread(server.get, "/readyz")
        await asyncio.sleep(0.5)
        stop.set()
        answers = await load
        code = await asyncio.to_thread(server.process.wait, 30)
    assert (status, problem["code"]) == (503, "not_ready")
    assert {answer.status for answer in answers} == {200}
    assert code == 0
    assert server.wait_for("stopped")


def test_a_request_in_flight_is_finished_before_the_exit(model: Path, tmp_path: Path) -> None:
    """A body that is still arriving when the port closes is waited for, and answered."""
    with running_server(model, tmp_path / "state") as server:
        server.wait_until_ready()
        body = b'{"users": [1], "n": 3}'
        headers = f"Host: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), timeout=20) as connection:
            connection.sendall(f"POST /v1/recommendations HTTP/1.1\r\n{headers}\r\n".encode() + body[:5])
            server.get("/healthz")  # the half request was read before this one was answered
            server.process.send_signal(signal.SIGTERM)
            server.wait_for("draining")
            connection.sendall(body[5:])
            answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert server.process.wait(30) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_idle_server_exits_0_at_once_without_drain(model: Path, tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl+C, and SIGTERM with nothing to drain, end with exit code 0."""
    with running_server(model, tmp_path / "state", drain_seconds=0) as server:
        server.wait_until_ready()
        assert server.stop(number) == 0


def test_ctrl_c_skips_the_drain_and_says_so(model: Path, tmp_path: Path) -> None:
    """Ctrl+C at a terminal skips the drain."""
    with running_server(model, tmp_path / "state", drain_seconds=3600) as server:
        server.wait_until_ready()
        assert server.stop(signal.SIGINT) == 0
        assert server.wait_for("draining")["seconds"] == 0


def test_a_second_signal_skips_the_drain(model: Path, tmp_path: Path) -> None:
    """An hour of draining is cut short by asking twice."""
    with running_server(model, tmp_path / "state", drain_seconds=3600) as server:
        server.wait_until_ready()
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("draining")
        assert server.stop(signal.SIGTERM) == 0


def test_sigterm_during_an_import_reaps_the_child(tmp_path: Path) -> None:
    """A server that is stopped while it imports leaves no process and no temporary file."""
    path = tmp_path / "als_model.npz"
    rng = np.random.default_rng(0)
    np.savez_compressed(
        path, user_factors=rng.random((200_000, 32), np.float32), item_factors=rng.random((50_000, 32), np.float32)
    )
    with running_server(path, tmp_path / "state") as server:
        child = _importing_child(server)
        assert server.stop(signal.SIGTERM) == 0
    assert not child.is_running()
    assert list((tmp_path / "state" / "snapshots").iterdir()) == []


def test_a_killed_server_takes_its_importing_child_along(tmp_path: Path) -> None:
    """Even SIGKILL leaves no orphan: the child notices that its parent is gone."""
    path = tmp_path / "als_model.npz"
    np.savez(path, user_factors=np.ones((500_000, 32), np.float32), item_factors=np.ones((200_000, 32), np.float32))
    with running_server(path, tmp_path / "state") as server:
        child = _importing_child(server)
        server.stop(signal.SIGKILL)
    _, alive = psutil.wait_procs([child], timeout=30)
    assert alive == []


def _importing_child(server: RunningServer) -> psutil.Process:
    """Return the importing process as soon as there is one."""
    found: list[psutil.Process] = []
    arrived = threading.Event()

    def look() -> bool:
        found.extend(psutil.Process(server.process.pid).children())
        return bool(found)

    for _ in range(3000):
        if look():
            return found[0]
        arrived.wait(0.01)
    raise AssertionError("no import was started")


def test_a_taken_port_is_said_in_one_sentence(model: Path, tmp_path: Path) -> None:
    """The server does not start partially: it says which address is taken and what to set."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = subprocess.run(
            [sys.executable, "-m", "service", "serve", "--model-path", str(model), "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
            env=os.environ | {"ALS_LOG_LEVEL": "error"},
            check=False,
        )
    assert result.returncode == 1
    assert result.stderr == (
        f"Error: Cannot listen on 127.0.0.1:{port}: Address already in use; set ALS_HOST or ALS_PORT.\n"
    )


def test_a_state_directory_that_cannot_be_is_said_at_once(model: Path, tmp_path: Path) -> None:
    """A server with nowhere to keep models does not start, and says what to set."""
    (tmp_path / "file").touch()
    command = [sys.executable, "-m", "service", "serve", "--model-path", str(model), "--state-dir", "file"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False)
    assert result.returncode == 1
    assert result.stderr == "Error: ALS_STATE_DIR file cannot be used: File exists; set it to a writable directory.\n"
