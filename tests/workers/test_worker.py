"""A worker by itself, in this process: what it does with what it hears, and what it says."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from service.connections import Budget
from service.listening import open_sockets
from service.live.commands import KeptVersions, Show
from service.model.rollout.arms import Experiment
from service.observe.sheets import make_sheet
from service.tokens import Token, digest_of
from service.workers.messages import Answer, Ask, Assignment, FromWorker, Lost, News, Refusal, Scrape, Taken, line
from service.workers.turns import make_turns
from service.workers.worker import work
from tests.support.helpers import Place
from tests.workers.test_follower import imported, kept, news

_message = msgspec.json.Decoder(FromWorker)


class Said(asyncio.WriteTransport):
    """Collects what a worker says."""

    def __init__(self) -> None:
        super().__init__()
        self._messages: asyncio.Queue[FromWorker] = asyncio.Queue()

    def write(self, data: Any) -> None:
        """Collect a line."""
        self._messages.put_nowait(_message.decode(data))

    async def next(self) -> FromWorker:
        """Return what was said next."""
        async with asyncio.timeout(30):
            return await self._messages.get()


class Running:
    """A worker that runs, and its keeper's ends of the pipes."""

    def __init__(self, **changes: object) -> None:
        listening = open_sockets("127.0.0.1", 0)[0]
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self.said = Said()
        self.hears = asyncio.StreamReader()
        self.shared = make_sheet(), make_turns()
        settings = {
            "max_n": 10,
            "fallback": "none",
            "access_log": 0,
            "allowed_hosts": None,
            "log_format": "json",
            "log_level": "error",
        }
        descriptors = {"sockets": (listening.detach(),), "sheet": self.shared[0], "turns": self.shared[1]}
        share = {"budget": Budget(16), "query_threads": 1, "queue_ms": 100, "cache_mb": 1}
        assignment = msgspec.convert({"place": 0, **descriptors, **share, **settings, **changes}, Assignment)
        self.tell(line(assignment))
        self.task = asyncio.create_task(work(self.hears, self.said))

    def tell(self, said: bytes) -> None:
        """Say something to the worker."""
        self.hears.feed_data(said)

    async def get(self, path: str, token: str | None = None) -> tuple[int, bytes]:
        """Ask it for something on a new connection."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with aiohttp.ClientSession(headers=headers) as session, session.get(self.url + path) as answer:
            return answer.status, await answer.read()

    async def end(self) -> None:
        """Say no more, and wait until the worker has ended."""
        self.hears.feed_eof()
        async with asyncio.timeout(30):
            await self.task


@asynccontextmanager
async def at_work(**changes: object) -> AsyncIterator[Running]:
    """Run a worker for the length of a block."""
    running = Running(**changes)
    try:
        yield running
    finally:
        if not running.task.done():
            await running.end()
        for descriptor in running.shared:
            os.close(descriptor)


@pytest.fixture
async def worker() -> AsyncIterator[Running]:
    """Run a worker that has heard nothing but its assignment."""
    async with at_work() as running:
        yield running


TOKENS = (Token("ops", frozenset({"admin"}), digest_of("secret")),)


@pytest.fixture
async def guarded() -> AsyncIterator[Running]:
    """Run a worker whose news have a token with the scope admin."""
    async with at_work(has_tokens=True) as running:
        running.tell(line(msgspec.structs.replace(news(None), tokens=TOKENS)))
        assert await running.said.next() == Taken(0)
        yield running


async def test_it_answers_from_the_first_news_on(worker: Running, place: Place) -> None:
    """Who connects before that waits, and is never answered from something older than others are."""
    asked = asyncio.create_task(worker.get("/v1/model"))
    worker.tell(line(news(kept(place, await imported(place), number=7))))
    assert await worker.said.next() == Taken(7)
    status, body = await asked
    assert (status, msgspec.json.decode(body)["state"]) == (200, "ready")


async def test_without_a_model_it_answers_that(worker: Running) -> None:
    """It is not ready, as one process would not be."""
    worker.tell(line(news(None)))
    assert await worker.said.next() == Taken(0)
    assert (await worker.get("/readyz"))[0] == 503


async def test_without_the_snapshot_it_waits_for_another(worker: Running, place: Place) -> None:
    """It says that it is lost, and accepts nothing that other workers can answer, until it can answer itself."""
    told = kept(place, await imported(place), number=7)
    worker.tell(line(news(msgspec.structs.replace(told, snapshot=Path("/gone")))))
    assert await worker.said.next() == Lost()
    asked = asyncio.create_task(worker.get("/v1/model"))
    worker.tell(line(news(told)))
    assert await worker.said.next() == Taken(7)
    assert (await asked)[0] == 200


async def test_without_the_candidate_it_answers_and_says_so(worker: Running, place: Place) -> None:
    """So that the keeper has it imported again; once it is, the worker has it, too."""
    told = kept(place, await imported(place), number=7)
    beside = kept(place, await imported(place, 1), number=8)
    lost = msgspec.structs.replace(beside, snapshot=Path("/gone"))
    worker.tell(line(news(msgspec.structs.replace(told, candidate=(lost, Experiment(percent=50))))))
    assert {await worker.said.next(), await worker.said.next()} == {Lost(), Taken(7)}
    worker.tell(line(news(msgspec.structs.replace(told, candidate=(beside, Experiment(percent=50))))))
    assert await worker.said.next() == Taken(7)


async def test_it_says_that_it_drains_as_soon_as_the_keeper_does(worker: Running, place: Place) -> None:
    """And goes on answering meanwhile."""
    told = news(kept(place, await imported(place)))
    worker.tell(line(told))
    await worker.said.next()
    assert (await worker.get("/readyz"))[0] == 200
    worker.tell(line(msgspec.structs.replace(told, draining=True)))
    await worker.said.next()
    assert (await worker.get("/readyz"))[0] == 503
    assert (await worker.get("/healthz"))[0] == 200


async def test_a_scrape_is_answered_by_the_keeper(worker: Running) -> None:
    """Which knows the numbers of all."""
    worker.tell(line(news(None)))
    await worker.said.next()
    scraped = asyncio.create_task(worker.get("/metrics?name[]=als_workers"))
    asked = await worker.said.next()
    assert isinstance(asked, Ask)
    assert asked.what == Scrape("*/*", ["als_workers"])
    worker.tell(line(Answer(asked.number, "text/plain", b"als_workers 4.0\n")))
    assert await scraped == (200, b"als_workers 4.0\n")


async def test_tokens_come_with_the_news(guarded: Running) -> None:
    """Those that were revoked are no longer known once the worker has taken them."""
    assert (await guarded.get("/v1/admin/versions"))[0] == 401
    guarded.tell(line(msgspec.structs.replace(news(None), tokens=(Token("anonymous", frozenset({"read"}), None),))))
    await guarded.said.next()
    assert (await guarded.get("/v1/admin/versions", "secret"))[0] == 401


async def test_a_command_is_carried_out_by_the_keeper(guarded: Running) -> None:
    """It is for all processes, so the keeper's answer, or its refusal, is the worker's."""
    listed = asyncio.create_task(guarded.get("/v1/admin/versions", "secret"))
    asked = await guarded.said.next()
    assert isinstance(asked, Ask)
    assert asked.what == Show()
    found = KeptVersions("0" * 16, None, None, 0, [])
    guarded.tell(line(Answer(asked.number, "application/json", msgspec.json.encode(found))))
    status, body = await listed
    assert (status, msgspec.json.decode(body, type=KeptVersions)) == (200, found)
    refused = asyncio.create_task(guarded.get("/v1/admin/versions", "secret"))
    asked = await guarded.said.next()
    assert isinstance(asked, Ask)
    guarded.tell(line(Refusal(asked.number, "state_directory", "The disk is full.")))
    status, body = await refused
    problem = msgspec.json.decode(body)
    assert (status, problem["code"], problem["detail"]) == (503, "state_directory", "The disk is full.")


async def test_an_answer_that_nobody_waits_for_is_let_go(worker: Running) -> None:
    """Prometheus may have hung up meanwhile."""
    worker.tell(line(news(None)))
    await worker.said.next()
    scraped = asyncio.create_task(worker.get("/metrics"))
    asked = await worker.said.next()
    assert isinstance(asked, Ask)
    scraped.cancel()
    await asyncio.wait({scraped})
    assert (await worker.get("/healthz"))[0] == 200  # by now it knows that the client is gone
    worker.tell(line(Answer(asked.number, "text/plain", b"")) + line(news(None)))
    assert await worker.said.next() == Taken(0)


async def test_a_refusal_that_nobody_waits_for_is_let_go(guarded: Running) -> None:
    """As an answer is."""
    listed = asyncio.create_task(guarded.get("/v1/admin/versions", "secret"))
    asked = await guarded.said.next()
    assert isinstance(asked, Ask)
    listed.cancel()
    await asyncio.wait({listed})
    assert (await guarded.get("/healthz"))[0] == 200
    refusal = Refusal(asked.number, "state_directory", "The disk is full.")
    guarded.tell(line(refusal) + line(msgspec.structs.replace(news(None), tokens=TOKENS)))
    assert await guarded.said.next() == Taken(0)


async def test_a_flood_of_scrapes_is_refused(worker: Running) -> None:
    """The keeper has other things to do; what it has not answered counts, even where the client has gone."""
    worker.tell(line(news(None)))
    await worker.said.next()
    scrapes = [asyncio.create_task(worker.get("/metrics")) for _ in range(4)]
    asked = [await worker.said.next() for _ in scrapes]
    assert (await worker.get("/metrics"))[0] == 503
    for each in asked:
        assert isinstance(each, Ask)
        worker.tell(line(Answer(each.number, "text/plain", b"")))
    assert {status for status, _ in await asyncio.gather(*scrapes)} == {200}


async def test_it_ends_when_the_keeper_is_gone(worker: Running) -> None:
    """The port is closed and the work in the background is over."""
    worker.tell(line(news(None)))
    await worker.said.next()
    await worker.end()
    with pytest.raises(aiohttp.ClientConnectorError):
        await worker.get("/healthz")


async def test_it_ends_before_it_has_begun(worker: Running) -> None:
    """The keeper may go while a worker starts."""
    await worker.end()
    reader = asyncio.StreamReader()
    reader.feed_eof()
    await work(reader, worker.said)


async def test_what_is_not_a_message_ends_it(worker: Running) -> None:
    """It says why, and the next one begins anew."""
    logging.getLogger("als_serve").setLevel(logging.CRITICAL)
    worker.tell(b"nothing of ours\n")
    with pytest.raises(msgspec.DecodeError):
        await worker.task


def test_news_survive_the_pipe() -> None:
    """Whatever a path is made of."""
    told = news(None)
    assert isinstance(told, News)
