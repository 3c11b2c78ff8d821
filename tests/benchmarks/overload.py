"""More than a server can do: what it still answers, and how fast, at one, two and three times its capacity.

    python -m tests.benchmarks.overload [--items 250000] [--seconds 6] [--rounds 3] [--threads 2] [--python PATH]
    python -m tests.benchmarks.overload cheap [--seconds 4] [--rounds 5]
    python -m tests.benchmarks.overload batches [--items 1000000] [--seconds 20]

Every query is for another user of a model without taste: the norms of its items do not differ, so all are scanned.
Requests leave at random moments on a fixed average schedule, whether or not earlier ones are answered, and latencies
count from those moments. Capacity is what a few clients get who ask again as soon as they are answered; the first
second of each step is not counted. Goodput is relative to capacity, p99 to that of one client alone. Per processor
second, goodput is relative to the same of the capacity: this also tells something while others use the machine.
``cheap`` asks for queries of microseconds instead, on three times the connections that saturate the server, by wrk.
``batches`` sends 34 large batches at once, and then asks for single users, one after the other.
``--python`` names the interpreter of another installation, to compare two versions. Every step ends by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import select
import shutil
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from tests.benchmarks.made import gaussian
from tests.benchmarks.processor_time import show
from tests.benchmarks.throughput import USERS, write_model, wrk_script
from tests.benchmarks.workers import one_round, worked
from tests.support.running import RunningServer, running_server

FACTORS = 64
#: So many more clients than threads, who ask again at once, find the capacity: as many as are never refused.
MORE_CLIENTS = 2
#: Batches of 1000 users.
BATCHES = 34
#: An open loop has this many connections; a request that finds none free counts as not answered.
MOST_CONNECTIONS = 400
WARM_UP_SECONDS = 1.0
#: How long the last answers may take.
LAST_SECONDS = 5.0


class Client(asyncio.Protocol):
    """One connection, with at most one request at a time; it reads as little of an answer as it can."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.answer: asyncio.Future[int] | None = None
        self._missing = 0
        self._status = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def ask(self, request: bytes) -> asyncio.Future[int]:
        """Send a request; the result is the status of its answer."""
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self.answer

    def data_received(self, data: bytes) -> None:
        """Read an answer, whose head comes in one piece."""
        if not self._missing:
            head, _, rest = data.partition(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            self._status, self._missing, data = int(head[9:12]), int(length), rest
        self._missing -= len(data)
        if not self._missing:
            self._end(self._status)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count what was not answered."""
        self._end(0)

    def _end(self, status: int) -> None:
        if self.answer and not self.answer.done():
            self.answer.set_result(status)


@dataclass
class Step:
    """What came of one load: the seconds until each answer, by status; 0 is a request without an answer.

    worked: the seconds that the server's processor worked.
    """

    seconds: float
    worked: float = 0.0
    latencies: dict[int, list[float]] = field(default_factory=dict)

    def note(self, status: int, latency: float) -> None:
        """Count one answer."""
        self.latencies.setdefault(status, []).append(latency)

    def of(self, status: int) -> list[float]:
        """Return the latencies of one status."""
        return self.latencies.get(status, [])

    @property
    def goodput(self) -> float:
        """Return the answers a second."""
        return len(self.of(200)) / self.seconds

    @property
    def efficiency(self) -> float:
        """Return the answers for each second of the processor."""
        return len(self.of(200)) / self.worked

    def quantile(self, share: float, status: int = 200) -> float:
        """Return a quantile of the milliseconds of one status."""
        found = sorted(self.of(status))
        return 1000 * found[int(share * len(found))] if found else float("nan")


def recommendation() -> bytes:
    """Return a request for some user."""
    return f"GET /v1/users/{random.randrange(USERS)}/recommendations HTTP/1.1\r\nHost: x\r\n\r\n".encode()


async def connect(port: int, count: int) -> list[Client]:
    """Open connections."""
    loop = asyncio.get_running_loop()
    return [(await loop.create_connection(Client, "127.0.0.1", port))[1] for _ in range(count)]


async def closed_loop(port: int, clients: int, seconds: float) -> Step:
    """Have each client ask again as soon as it is answered."""
    step, begins = Step(seconds), time.monotonic() + WARM_UP_SECONDS

    async def ask(client: Client) -> None:
        while (sent := time.monotonic()) < begins + seconds:
            status = await client.ask(recommendation())
            if sent >= begins:
                step.note(status, time.monotonic() - sent)
        client.transport.close()

    await asyncio.gather(*map(ask, await connect(port, clients)))
    return step


class OpenLoop:
    """Sends so many requests a second on average, at random moments, and waits for their answers.

    Without asyncio, which would take a third of a processor from the server.
    """

    def __init__(self, port: int, rate: float) -> None:
        self._rate = rate
        made = [socket.create_connection(("127.0.0.1", port)) for _ in range(MOST_CONNECTIONS)]
        self._connections = {connection.fileno(): connection for connection in made}
        self._free, self._asked = list(self._connections), dict[int, float]()
        self._ready = select.epoll()
        for number in self._connections:
            self._ready.register(number, select.EPOLLIN)

    def run(self, seconds: float) -> Step:
        """Send for so long, after a warm-up, and wait for the last answers."""
        step, due = Step(seconds), time.monotonic()
        begins, last = due + WARM_UP_SECONDS, due + WARM_UP_SECONDS + seconds
        while due < last or (self._asked and time.monotonic() < last + LAST_SECONDS):
            while due < min(last, time.monotonic()):
                self._send(step, due, counts=due >= begins)
                due += random.expovariate(self._rate)
            self._receive(step, begins, max(0.0, due - time.monotonic()) if due < last else 0.01)
        for connection in self._connections.values():
            connection.close()
        return step

    def _send(self, step: Step, due: float, *, counts: bool) -> None:
        if self._free:
            self._asked[number := self._free.pop()] = due
            self._connections[number].sendall(recommendation())
        elif counts:
            step.note(0, 0.0)

    def _receive(self, step: Step, begins: float, patience: float) -> None:
        for number, _ in self._ready.poll(patience):
            due, status = self._asked.pop(number), answered(self._connections[number])
            self._free.append(number)
            if due >= begins:
                step.note(status, time.monotonic() - due)


def answered(connection: socket.socket) -> int:
    """Read an answer, whose head comes in one piece, and return its status."""
    data = connection.recv(65536)
    head, _, rest = data.partition(b"\r\n\r\n")
    missing = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]) - len(rest)
    while missing:
        missing -= len(connection.recv(missing))
    return int(head[9:12])


async def health(port: int) -> list[float]:
    """Ask for the server's health ten times a second until cancelled; return the latencies, or infinity if it fails."""
    latencies, (client,) = list[float](), await connect(port, 1)
    with suppress(asyncio.CancelledError):
        while True:
            sent = time.monotonic()
            status = await client.ask(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            latencies.append(time.monotonic() - sent if status == 200 else float("inf"))
            await asyncio.sleep(0.1)
    return latencies


async def watched(server: RunningServer, load: Coroutine[None, None, Step]) -> Step:
    """Return a step with what the server worked after the warm-up."""
    running = asyncio.create_task(load)
    await asyncio.sleep(WARM_UP_SECONDS)
    before = worked(server)
    step = await running
    step.worked = worked(server) - before
    return step


async def times_the_capacity(server: RunningServer, threads: int, seconds: float) -> None:
    """Measure the capacity and then more than that; print a line for each."""
    port = int(server.url.rpartition(":")[2])
    alone = await closed_loop(port, 1, seconds / 2)
    busy = await watched(server, closed_loop(port, threads + MORE_CLIENTS, seconds))
    print(f"capacity {busy.goodput:.0f}/s; alone p50 {alone.quantile(0.5):.1f} ms, p99 {alone.quantile(0.99):.1f} ms")
    for times in (1, 2, 3):
        watching = asyncio.create_task(health(port))
        step = await watched(server, asyncio.to_thread(OpenLoop(port, times * busy.goodput).run, seconds))
        watching.cancel()
        worst = 1000 * max(await watching)
        lost = len(step.of(0)) / max(1, sum(map(len, step.latencies.values())))
        print(
            f"  {times} x: goodput {step.goodput / busy.goodput:.2f}, per processor second "
            f"{step.efficiency / busy.efficiency:.2f}, p50 {step.quantile(0.5):.1f} ms, "
            f"p99 {step.quantile(0.99):.1f} ms ({step.quantile(0.99) / alone.quantile(0.99):.1f} x alone); "
            f"503 within p99 {step.quantile(0.99, 503):.1f} ms; not answered {lost:.1%}; healthz within {worst:.0f} ms",
            flush=True,
        )


def heavy(directory: Path, options: argparse.Namespace) -> None:
    """Measure queries of milliseconds."""
    users, items = gaussian(USERS, options.items, FACTORS, seed=0)
    np.savez(directory / "als_model.npz", user_factors=users, item_factors=items)
    with served(directory, options, query_threads=options.threads) as server:
        for _ in range(options.rounds):
            asyncio.run(times_the_capacity(server, options.threads, options.seconds))


def batches(directory: Path, options: argparse.Namespace) -> None:
    """Measure single queries while there are too many batches."""
    users, items = gaussian(USERS, options.items, FACTORS, seed=0)
    np.savez(directory / "als_model.npz", user_factors=users, item_factors=items)
    with served(directory, options, query_threads=options.threads) as server:
        asyncio.run(beside_batches(int(server.url.rpartition(":")[2]), options.seconds))


async def beside_batches(port: int, seconds: float) -> None:
    """Print what becomes of single requests, and of the batches meanwhile."""
    body = json.dumps({"users": list(range(1000)), "exclude": list(range(1000))}).encode()
    head = "POST /v1/recommendations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "
    clients = await connect(port, BATCHES)
    answers = [client.ask(f"{head}{len(body)}\r\n\r\n".encode() + body) for client in clients]
    step = await closed_loop(port, 1, seconds)
    done = Counter(answer.result() for answer in answers if answer.done())
    print(f"batches after {WARM_UP_SECONDS + seconds:.0f} s: {dict(done)}, {BATCHES - done.total()} not answered yet")
    for status, latencies in step.latencies.items():
        slowest = 1000 * max(latencies)
        print(f"single: {len(latencies)} x {status}, p50 {step.quantile(0.5, status):.0f} ms, slowest {slowest:.0f} ms")
    for client in clients:
        client.transport.close()


def cheap(directory: Path, options: argparse.Namespace) -> None:
    """Measure queries of microseconds."""
    if not shutil.which("wrk"):
        raise SystemExit("wrk is missing: apt-get install wrk")
    write_model(directory / "als_model.npz")
    script = directory / "users.lua"
    script.write_text(wrk_script(USERS))
    with served(directory, options) as server:
        load = partial(one_round, script, int(options.seconds), [server], 1)
        figures = []
        for number in range(options.rounds):
            measured = {count: load(count) for count in ((96, 32) if number % 2 else (32, 96))}
            figures.append((measured[96], measured[32]))
    for place, unit in enumerate(("requests/s", "microseconds of a processor for each")):
        show(unit, ("96 connections", "32"), [(many[place], few[place]) for many, few in figures])


@contextmanager
def served(directory: Path, options: argparse.Namespace, query_threads: int = 2) -> Iterator[RunningServer]:
    """Serve the model in a directory, without the response cache."""
    command = [options.python, "-m", "service", "serve"]
    model, state = directory / "als_model.npz", directory / "state"
    with running_server(
        model, state, command=command, cwd=directory, cache_mb=0, query_threads=query_threads
    ) as server:
        server.wait_until_ready()
        yield server


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("queries", nargs="?", choices=["heavy", "cheap", "batches"], default="heavy")
    parser.add_argument("--items", type=int, default=250_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--python", default=sys.executable)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        {"heavy": heavy, "cheap": cheap, "batches": batches}[options.queries](Path(directory), options)


if __name__ == "__main__":
    main()
