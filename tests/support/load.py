"""Open-loop load: requests leave on a fixed schedule, whatever became of the ones before.

A closed loop waits for each answer and so hides every stall; here latency counts from when a request was due.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request. Times are seconds on the event loop's clock; status 0 is a failed connection."""

    path: str
    due: float
    done: float
    status: int
    version: str | None
    body: Any

    @property
    def latency(self) -> float:
        """Return the seconds from when the request was due to its whole answer."""
        return self.done - self.due


async def open_loop(
    url: str,
    path_of: Callable[[int], str],
    rate: float,
    stop: asyncio.Event,
    headers: Mapping[str, str] | None = None,
) -> list[Answer]:
    """Send ``rate`` requests a second, with these headers, until ``stop`` is set; return every answer."""
    loop = asyncio.get_running_loop()
    answers: list[asyncio.Task[Answer]] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers) as session:
        started = loop.time()
        while not stop.is_set():
            due = started + len(answers) / rate
            await asyncio.sleep(max(0.0, due - loop.time()))
            path = path_of(len(answers))
            answers.append(asyncio.create_task(_one(session, url, path, due)))
        return list(await asyncio.gather(*answers))


async def _one(session: aiohttp.ClientSession, url: str, path: str, due: float) -> Answer:
    loop = asyncio.get_running_loop()
    try:
        async with session.get(url + path) as response:
            body = await response.json()
            version = response.headers.get("X-Model-Version")
            return Answer(path, due, loop.time(), response.status, version, body)
    except aiohttp.ClientError as error:
        return Answer(path, due, loop.time(), 0, None, repr(error))


def percentile(latencies: list[float], percent: float) -> float:
    """Return the latency in milliseconds that ``percent`` of the requests stayed within."""
    ordered = sorted(latencies)
    return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
