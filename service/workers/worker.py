"""A worker: a process that answers requests from what the keeper serves, and does nothing else.

It only opens the keeper's snapshots, catalogs and lists, and has no secrets. It ends when its standard input does,
because the keeper asked it to or is gone.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager, closing
from functools import partial
from typing import Never

import msgspec
import uvloop
from prometheus_client import CollectorRegistry

from service.answering import Work, answering, running
from service.api import create_api
from service.api.problems import HTTP_STATUS
from service.api.tokens import Access
from service.children.lifeline import hide_memory
from service.errors import OverloadedError, SnapshotDamagedError
from service.live.background import measure_lag
from service.live.commands import Command, KeptVersions
from service.live.generation import Slot
from service.live.held import HeldVersions
from service.live.report import FallbackTraining
from service.live.status import Status
from service.model.storage.shelf import Shelf
from service.model.storage.source import read_path
from service.observe.exposition import Exposition
from service.observe.logs import log_event, set_up_logging
from service.observe.metrics import Metrics
from service.observe.sheets import Sheet
from service.workers.follower import Follower
from service.workers.messages import (
    MOST_BYTES,
    Answer,
    Ask,
    Assignment,
    FromKeeper,
    Lost,
    News,
    Refusal,
    Scrape,
    Taken,
    line,
)
from service.workers.turns import Turns

_PUBLISH_SECONDS = 1.0
#: The most questions that may wait for the keeper, so that a flood of scrapes cannot keep it busy.
_MOST_ASKED = 4
_ERRORS = {error.code: error for error in HTTP_STATUS}
_versions = msgspec.json.Decoder(KeptVersions)
_assignment = msgspec.json.Decoder(Assignment, dec_hook=read_path)
_message = msgspec.json.Decoder(FromKeeper, dec_hook=read_path)


class Worker:
    """Talks to the keeper and follows its news."""

    def __init__(self, assignment: Assignment, reader: asyncio.StreamReader, writer: asyncio.WriteTransport) -> None:
        self.metrics = Metrics(CollectorRegistry(), Sheet(assignment.sheet))
        slot, as_text = Slot(self.metrics), assignment.ids == "text"
        shelf = Shelf(assignment.shelf, keep=0, reading=assignment.reading, ids_as_text=as_text)
        self.status = Status(slot, HeldVersions(slot, shelf), [], FallbackTraining())
        # Until the first news no token is known, but nothing is accepted before that.
        self._access = Access((), self.metrics) if assignment.has_tokens else None
        self.api = create_api(
            assignment,
            self.status,
            self.metrics,
            access=self._access,
            administer=self.administer,
            scrape=self.scrape,
        )
        self.works: dict[str, Work] = {
            "Publishing numbers": self.publish,
            "Measuring the event loop's lag": lambda: measure_lag(self.metrics),
        }
        self._lifecycle = self.api.context.lifecycle
        self._follower = Follower(self.status)
        self._reader = reader
        self._writer = writer
        self._latest: News | None = None
        self._arrived = asyncio.Event()
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[Answer]] = {}

    async def listen(self) -> None:
        """Read the keeper's messages to the end."""
        try:
            while said := await self._reader.readline():
                self._hear(_message.decode(said))
        finally:
            self._latest = None
            self._arrived.set()

    async def take_news(self) -> bool:
        """Wait for news and answer from the latest; return False when the keeper has closed the pipe."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            if self._latest is None:
                return False
            if await self._follow(self._latest):
                return True

    async def _follow(self, news: News) -> bool:
        """Answer from these news, if what they name can be opened; say whether it can."""
        try:
            is_whole = await self._follower.take(news)
        except (SnapshotDamagedError, OSError) as error:
            log_event("not_answering", detail=str(error))
            self._writer.write(line(Lost()))
            return False
        if not is_whole:
            self._writer.write(line(Lost()))
        generation = self.status.slot.current
        self._writer.write(line(Taken(generation.number if generation else 0)))
        return True

    def _hear(self, message: FromKeeper) -> None:
        match message:
            case News() as news:
                # At once, because opening a model may take longer.
                self._lifecycle.draining = news.draining
                if self._access and news.tokens is not None and news.tokens != self._access.tokens:
                    self._access.use(news.tokens)
                self._latest = news
                self._arrived.set()
            case Answer() as answer:
                asked = self._asked.pop(answer.number)
                if not asked.cancelled():  # its client may have disconnected
                    asked.set_result(answer)
            case Refusal() as refusal:
                asked = self._asked.pop(refusal.number)
                if not asked.cancelled():
                    asked.set_exception(_ERRORS[refusal.code](refusal.detail))

    async def scrape(self, accept: str, names: Sequence[str]) -> Exposition:
        """Ask the keeper for the metrics of all processes."""
        self.metrics.publish()
        answer = await self._ask(Scrape(accept, list(names)))
        return Exposition(answer.content_type, answer.body)

    async def administer(self, command: Command) -> KeptVersions:
        """Have the keeper carry out a command, so that it is for all processes."""
        return _versions.decode((await self._ask(command)).body)

    async def publish(self) -> Never:
        """Write to the sheet regularly what is only known on demand."""
        while True:
            self.metrics.publish()
            await asyncio.sleep(_PUBLISH_SECONDS)

    async def _ask(self, what: Scrape | Command) -> Answer:
        """Ask the keeper. Raises OverloadedError if too many questions are waiting, or the error of a refusal."""
        if len(self._asked) >= _MOST_ASKED:
            raise OverloadedError("Too many scrapes and commands are waiting; try again in a second.")
        number = next(self._numbers)
        asked: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked[number] = asked
        self._writer.write(line(Ask(number, what)))
        return await asked


async def work(reader: asyncio.StreamReader, writer: asyncio.WriteTransport) -> None:
    """Answer requests until the keeper, at the other end of these pipes, closes them."""
    if not (said := await reader.readline()):
        return
    assignment = _assignment.decode(said)
    set_up_logging(assignment.log_format, assignment.log_level)
    worker = Worker(assignment, reader, writer)
    context = worker.api.context
    is_our_turn = partial(Turns(assignment.turns).is_mine, assignment.place)
    hearing = asyncio.create_task(worker.listen())
    with closing(context.queries):
        async with _open(assignment.sockets) as sockets, running(worker.api, worker.works) as server:
            # Nothing is accepted before the first news, so that no answer is older than those of other workers.
            if await worker.take_news():
                async with answering(server, context, sockets, assignment.budget, is_our_turn=is_our_turn):
                    while await worker.take_news():
                        pass
                    context.lifecycle.draining = True
    await hearing


@asynccontextmanager
async def _open(descriptors: Sequence[int]) -> AsyncIterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(socket.socket(fileno=descriptor)) for descriptor in descriptors]


async def _work_at_standard_streams() -> (
    None
):  # pragma: no cover - runs only in workers, where coverage is not measured
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=MOST_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    writer, _ = await loop.connect_write_pipe(asyncio.Protocol, sys.stdout)
    await work(reader, writer)


def main() -> None:  # pragma: no cover - as above
    """Run a worker. It ignores signals that a terminal or systemd sends to all processes: the keeper handles them."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    hide_memory()
    uvloop.run(_work_at_standard_streams())


if __name__ == "__main__":
    main()
