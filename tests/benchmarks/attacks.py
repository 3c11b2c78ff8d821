"""Four attacks on the HTTP side of a real server, and what a client that only asks /healthz sees meanwhile.

    python -m tests.benchmarks.attacks [--python PATH] [--seconds 15] [encoded] [idle] [gone] [unread]

``encoded`` sends gzipped bodies, ``idle`` opens more sockets than there are descriptors and says nothing, ``gone``
asks for long answers and hangs up, ``unread`` asks for large answers and reads none. Each runs against a server of its
own for a bounded time. ``--python`` names the interpreter of another installation, to compare two versions.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

USERS, ITEMS, FACTORS = 20_000, 50_000, 64
DESCRIPTORS = 1024
HEALTH_SECONDS = 2.0

# Runs the command with a timer that wakes every millisecond in place of the one that measures the loop's lag; how late
# it was at most is printed at the end.
_TIMED = """
import asyncio, runpy, sys, time
from service.live import background
latest = [0.0]
async def tick(metrics):
    while True:
        started = time.perf_counter()
        await asyncio.sleep(0.001)
        latest[0] = max(latest[0], time.perf_counter() - started - 0.001)
background.measure_lag = tick
sys.argv[1:] = ["serve"]
try:
    runpy.run_module("service", run_name="__main__")
finally:
    print(f"latest {latest[0]}", file=sys.stderr)
"""


@dataclass
class Victim:
    """A server under attack: where it listens, its process, its log, and the health checks' latencies in seconds."""

    port: int
    process: psutil.Process
    log: Path
    model: Path
    latencies: list[float] = field(default_factory=list)
    failed: int = 0
    resident: int = 0

    async def watch(self) -> None:
        """Ask for its health on a new connection, and look at its memory, ten times a second until cancelled."""
        while True:
            self.resident = max(self.resident, self.process.memory_info().rss)
            started = time.perf_counter()
            try:
                async with asyncio.timeout(HEALTH_SECONDS):
                    await _exchange(self.port, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                self.latencies.append(time.perf_counter() - started)
            except (TimeoutError, OSError):
                self.failed += 1
            await asyncio.sleep(0.1)


Attack = Callable[[Victim, float], Awaitable[str]]


async def _exchange(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        answer = await reader.read()
        if not answer.startswith(b"HTTP/1.1 "):
            raise ConnectionResetError
        return answer
    finally:
        writer.close()


def _request(path: str, body: bytes, *headers: str) -> bytes:
    lines = (f"POST {path} HTTP/1.1", "Host: x", "Content-Type: application/json", f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


async def encoded(victim: Victim, until: float) -> str:
    """Send what becomes a thousand times larger when it is unpacked."""
    body = gzip.compress(bytes(900_000_000), 9)
    request = _request("/v1/recommendations", body, "Content-Encoding: gzip", "Connection: close")
    statuses: dict[bytes, int] = {}

    async def attack() -> None:
        while time.monotonic() < until:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(5):
                    status = (await _exchange(victim.port, request))[9:12]
                    statuses[status] = statuses.get(status, 0) + 1

    await asyncio.gather(*(attack() for _ in range(8)))
    return f"{len(body)} bytes each, answered {statuses}"


async def idle(victim: Victim, until: float) -> str:
    """Open half as many connections again as the server has descriptors; put a new model in the midst of it."""
    connections = [socket.socket() for _ in range(DESCRIPTORS * 3 // 2)]
    connect = asyncio.get_running_loop().sock_connect
    for connection in connections:
        connection.setblocking(False)
        with suppress(TimeoutError):  # beyond the limit, nobody accepts
            await asyncio.wait_for(connect(connection, ("127.0.0.1", victim.port)), 0.01)
    write_model(victim.model, seed=1)
    await asyncio.sleep(max(0.0, until - time.monotonic()))
    for connection in connections:
        connection.close()
    await asyncio.sleep(10)
    return f"the new model: {await _last_reload(victim.port)}"


async def _last_reload(port: int) -> str:
    """Return how the last reload ended, once the server answers again, or that it does not."""
    for _ in range(20):
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                answer = await _exchange(port, b"GET /v1/model HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                last = json.loads(answer.partition(b"\r\n\r\n")[2])["last_reload"]
                return f"{last['outcome']} {last['reason']}"
        await asyncio.sleep(0.5)
    return "unknown, the server does not answer"


def _batch(n: int) -> bytes:
    users = [str(user) + " " * 900 for user in range(1000)] if n == 1 else list(range(1000))
    return _request("/v1/recommendations", json.dumps({"users": users, "n": n}).encode())


async def gone(victim: Victim, until: float) -> str:
    """Ask for what takes long, with a megabyte of body, and hang up."""
    busy = [await _silent(victim.port, _batch(100)) for _ in range(4)]
    request, sent = _batch(1), 0
    while time.monotonic() < until:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", victim.port)
            writer.write(request)
            await asyncio.wait_for(writer.drain(), 5)
            await asyncio.sleep(0.02)
            writer.transport.abort()
            sent += 1
    for connection in busy:
        connection.close()
    return f"{sent} queries left alone"


async def unread(victim: Victim, until: float) -> str:
    """Ask for answers of megabytes on 150 connections and read none of them."""
    connections = [await _silent(victim.port, _batch(100)) for _ in range(150)]
    requests = asyncio.get_running_loop()
    while time.monotonic() < until:
        for connection in connections:  # what was refused with 503 is asked for again
            with suppress(OSError):
                await asyncio.wait_for(requests.sock_sendall(connection, _batch(100)), 0.2)
        await asyncio.sleep(0.5)
    for connection in connections:
        connection.close()
    return ""


async def _silent(port: int, request: bytes) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
    await asyncio.get_running_loop().sock_sendall(connection, request)
    return connection


def write_model(path: Path, seed: int = 0) -> None:
    """Put a model of falling norms at a path by a rename."""
    rng = np.random.default_rng(seed)
    falling = (np.arange(1, ITEMS + 1) ** -0.5)[:, None]
    beside = path.with_name("new.npz")
    np.savez(
        beside,
        user_factors=rng.normal(size=(USERS, FACTORS)).astype(np.float32),
        item_factors=(rng.normal(size=(ITEMS, FACTORS)) * falling).astype(np.float32),
    )
    beside.replace(path)


@contextmanager
def _victim(python: str, directory: Path) -> Iterator[Victim]:
    model, log = directory / "model.npz", directory / "log"
    write_model(model)
    settings = {"ALS_MODEL_PATH": str(model), "ALS_STATE_DIR": str(directory / "state"), "ALS_PORT": "0"}
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            ["prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}", python, "-I", "-c", _TIMED],
            env=settings | {"ALS_LOG_FORMAT": "json", "ALS_DRAIN_SECONDS": "0", "OPENBLAS_NUM_THREADS": "1"},
            stderr=stderr,
            cwd=directory,
        )
    try:
        yield Victim(_port_of(log), psutil.Process(process.pid), log, model)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def _port_of(log: Path) -> int:
    """Return the port, once a model is served there."""
    while "initialized" not in (text := log.read_text()):
        time.sleep(0.1)
    return next(int(json.loads(line)["port"]) for line in text.splitlines() if '"listening"' in line)


async def _under_attack(victim: Victim, attack: Attack, seconds: float) -> str:
    watching = asyncio.create_task(victim.watch())
    said = await attack(victim, time.monotonic() + seconds)
    watching.cancel()
    return said


def _run(name: str, attack: Attack, python: str, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as place:
        with _victim(python, Path(place)) as victim:
            time.sleep(1)
            before, quiet = victim.process.memory_info().rss, victim.log.stat().st_size
            said = asyncio.run(_under_attack(victim, attack, seconds))
        text = victim.log.read_bytes()
    latest = float(text.rpartition(b"latest ")[2])
    asked = sorted(victim.latencies) or [float("nan")]
    print(
        f"{name:8} healthz p50 {1000 * statistics.median(asked):6.1f} ms, worst {1000 * asked[-1]:6.0f} ms, "
        f"{victim.failed} of {victim.failed + len(victim.latencies)} failed; "
        f"the loop {1000 * latest:.0f} ms late at most; "
        f"resident {before / 2**20:.0f} → {victim.resident / 2**20:.0f} MB; log {len(text) - quiet} bytes; {said}",
        flush=True,
    )


ATTACKS: dict[str, Attack] = {"encoded": encoded, "idle": idle, "gone": gone, "unread": unread}


def main() -> None:
    """Run the attacks that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("attacks", nargs="*", choices=[*ATTACKS, []], metavar="ATTACK")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--seconds", type=float, default=15)
    options = parser.parse_args()
    for name in options.attacks or ATTACKS:
        _run(name, ATTACKS[name], options.python, options.seconds)


if __name__ == "__main__":
    main()
