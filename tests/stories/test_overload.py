"""The story of more long queries than a server can answer: refused at once, and nothing else stops."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from contextlib import AbstractContextManager
from pathlib import Path

import aiohttp
import pytest

from tests.support.helpers import model_bytes, put
from tests.support.models import make_factors
from tests.support.running import RunningServer, running_server
from tests.support.workers import samples

pytestmark = pytest.mark.usefixtures("children_are_measured")

FACTORS = make_factors(users=100, items=2000, factors=16)
#: Each takes so long that it goes to a thread, whatever the machine.
BATCH = {"users": FACTORS.user_ids.tolist() * 10, "n": 100}
#: Far more than may wait for one thread.
BATCHES = 150
REFUSED = "als_queries_refused_total[('lane', 'batch')]"
MONITORING = ("/healthz", "/readyz", "/metrics")


async def flood(session: aiohttp.ClientSession, url: str) -> Counter[tuple[int, str | None]]:
    """Send all batches at once; return the statuses, each with what it says of trying again."""

    async def send() -> tuple[int, str | None]:
        async with session.post(f"{url}/v1/recommendations", json=BATCH) as answer:
            await answer.read()
            return answer.status, answer.headers.get("Retry-After")

    return Counter(await asyncio.gather(*(send() for _ in range(BATCHES))))


async def check_health(session: aiohttp.ClientSession, url: str) -> Counter[int]:
    """Ask whether all is well until cancelled; return the statuses."""
    statuses = Counter[int]()
    try:
        while True:
            for path in MONITORING:
                async with session.get(url + path) as answer:
                    statuses[answer.status] += 1
    except asyncio.CancelledError:
        return statuses


def started(directory: Path, workers: int) -> AbstractContextManager[RunningServer]:
    """Start a server with one thread, for which a batch may wait a twentieth of a second."""
    model, state = directory / "als_model.npz", directory / "state"
    put(model, model_bytes(factors=FACTORS))
    return running_server(model, state, workers=workers, query_threads=1, queue_ms=1, drain_seconds=60)


@pytest.mark.parametrize("workers", [1, 2])
async def test_too_many_batches_are_refused_and_the_rest_is_answered(tmp_path: Path, workers: int) -> None:
    """Each gets its answer, or 503 with Retry-After; health, readiness and metrics are 200 throughout."""
    with started(tmp_path, workers) as server:
        await asyncio.to_thread(server.wait_until_ready)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            watching = asyncio.create_task(check_health(session, server.url))
            answers = await flood(session, server.url)
            watching.cancel()
            health = await watching
        numbers = await asyncio.to_thread(samples, server.url)
    assert set(answers) == {(200, None), (503, "1")}
    assert set(health) == {200}
    assert numbers[REFUSED] == answers[503, "1"]


async def test_sigterm_under_overload_loses_no_request(tmp_path: Path) -> None:
    """While it drains, what was admitted is answered and the rest refused, as before; then the server exits 0."""
    with started(tmp_path, 1) as server:
        await asyncio.to_thread(server.wait_until_ready)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            flooding = asyncio.create_task(flood(session, server.url))
            await asyncio.to_thread(server.wait_until, lambda: samples(server.url)[REFUSED] > 0)
            server.process.send_signal(signal.SIGTERM)
            answers = await flooding
        server.process.send_signal(signal.SIGTERM)  # which ends the drain
        assert set(answers) == {(200, None), (503, "1")}
        assert await asyncio.to_thread(server.process.wait, 30) == 0
