"""How the keeper runs its workers: it starts them, sends them news, and replaces those that end.

Workers inherit the open sockets of the port; they do not open their own with SO_REUSEPORT. With SO_REUSEPORT, each
worker has its own queue of new connections: if it dies, they are lost, and if it hangs, they wait. It would also hide
that another service has the same port. From a shared queue, any free worker accepts.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple, Never

import msgspec

from service.answering import SENDING_SECONDS, SHUTDOWN_SECONDS
from service.api.context import Context
from service.errors import AlsServeError
from service.live.children import child_process, end_of
from service.live.commands import Command
from service.model.storage.source import text_of
from service.observe.logs import log_event
from service.observe.sheets import Sheet, Sums, make_sheet
from service.workers.messages import Answer, Ask, Assignment, FromWorker, Lost, News, Refusal, Scrape, Taken, line
from service.workers.turns import Turns

_MODULE = "service.workers.worker"
#: How often to check for news. Hooks at every place where something changes would be many, and one would be forgotten.
_LOOK_SECONDS = 0.1
#: How often to repeat news, to notice workers that do not respond.
_REPEAT_SECONDS = 10.0
_HUNG_SECONDS = 60.0
#: How often at most to look at the files again because workers cannot open a snapshot.
_RECOVER_AGAIN_SECONDS = 60.0
#: Pause after each scrape through a worker, as a multiple of its duration: a flood must not block the keeper.
_REST = 4
#: Pause before a worker is replaced, if workers keep ending soon after their start. It stays short for one that
#: answered requests: its clients wait, and starting it is not what fails.
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 30.0
_LONGEST_AFTER_ANSWERS_SECONDS = 0.8
_SOON_SECONDS = 5.0
#: How long a worker may take to finish after its standard input has ended.
_CLOSING_SECONDS = SHUTDOWN_SECONDS + 2 * SENDING_SECONDS

_message = msgspec.json.Decoder(FromWorker)


class End(NamedTuple):
    """How a worker ended, and whether it answered requests before."""

    how: str
    answered: bool = False


class WorkerProcess:
    """One running worker.

    ``answers`` says whether it answers requests; ``generation`` is the number of its generation, or 0.
    """

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        assert child.stdin
        self.child = child
        self.answers = False
        self.generation = 0
        self._stdin = child.stdin
        self._waits_since: float | None = None

    def tell(self, said: bytes) -> None:
        """Send a line, without waiting for a worker that does not read."""
        if not self._stdin.is_closing():
            self._stdin.write(said)

    def tell_news(self, said: bytes, now: float) -> None:
        """Send news; kill a worker that has not responded to earlier news for too long."""
        self.tell(said)
        if self._waits_since is None:
            self._waits_since = now
        elif now - self._waits_since > _HUNG_SECONDS:
            log_event("worker_hung", pid=self.child.pid, seconds=now - self._waits_since)
            self.child.kill()

    def has_taken(self, taken: Taken) -> None:
        """Note that the worker answers from the latest news."""
        self.answers, self.generation = True, taken.generation
        self.has_responded()

    def has_responded(self) -> None:
        """Note that the worker does not hang."""
        self._waits_since = None

    def close(self) -> None:
        """Ask the worker to end, by closing its standard input."""
        self._stdin.close()


class Workers:
    """Keeps one worker running per assignment, from :meth:`start` to :meth:`close`."""

    def __init__(
        self,
        assignments: Sequence[Assignment],
        environment: Mapping[str, str],
        context: Context,
        sums: Sums,
        recover: Callable[[], Awaitable[None]],
    ) -> None:
        """``context`` is the keeper's; ``sums`` adds up what the workers count.

        ``recover`` has a model served that workers can open, because a snapshot is lost.
        """
        self._assignments = assignments
        self._environment = environment
        self._context = context
        self._sums = sums
        self._recover = recover
        self._turns = Turns(assignments[0].turns)
        self._running: set[WorkerProcess] = set()
        self._line = self._news()
        self._closing = asyncio.Event()
        self._scraping = asyncio.Lock()
        self._answering: set[asyncio.Task[None]] = set()
        self._recovered = -math.inf
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start the workers."""
        self._tasks = [asyncio.create_task(self._keep(assignment)) for assignment in self._assignments]

    async def tell(self) -> Never:
        """Send every worker the news, whenever there are any."""
        loop = asyncio.get_running_loop()
        told = 0.0
        while True:
            said, now = self._news(), loop.time()
            if said != self._line or now - told > _REPEAT_SECONDS:
                self._line, told = said, now
                for worker in self._running:
                    worker.tell_news(said, now)
            await asyncio.sleep(_LOOK_SECONDS)

    async def close(self) -> None:
        """Have all workers close the port, finish the requests in flight, and end."""
        self._closing.set()
        for worker in self._running:
            worker.close()
        await asyncio.wait(self._tasks, timeout=_CLOSING_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        os.close(self._assignments[0].turns)

    async def _keep(self, assignment: Assignment) -> None:
        """Run one worker after another; if they end soon, with a growing pause in between."""
        loop = asyncio.get_running_loop()
        pause = 0.0
        while not self._closing.is_set():
            started = loop.time()
            end = await self._run(assignment)
            if self._closing.is_set():
                return
            soon = loop.time() - started < _SOON_SECONDS
            longest = _LONGEST_AFTER_ANSWERS_SECONDS if end.answered else _LONGEST_PAUSE_SECONDS
            pause = min(max(2 * pause, _FIRST_PAUSE_SECONDS), longest) if soon else 0.0
            self._context.metrics.worker_ends.inc()
            log_event("worker_ended", detail=end.how, seconds=pause)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._closing.wait()

    async def _run(self, assignment: Assignment) -> End:
        """Run a worker to its end; return how it ended."""
        try:
            with self._counted(assignment.place) as descriptor:
                return await self._converse(msgspec.structs.replace(assignment, sheet=descriptor))
        except OSError as error:
            return End(f"could not be started: {error.strerror}")

    @contextmanager
    def _counted(self, place: int) -> Iterator[int]:
        """Provide a sheet for a worker. Raises OSError."""
        descriptor = make_sheet()
        sheet = Sheet(descriptor)
        self._sums.add(sheet)
        try:
            yield descriptor
        finally:
            self._sums.retire(sheet)
            self._turns.clear(place)
            os.close(descriptor)

    async def _converse(self, assignment: Assignment) -> End:
        task = msgspec.json.encode(assignment, enc_hook=text_of)
        lent = (*assignment.sockets, assignment.sheet, assignment.turns)
        async with child_process(_MODULE, task, self._environment, pass_fds=lent, in_background=False) as child:
            worker = WorkerProcess(child)
            self._running.add(worker)
            try:
                worker.tell_news(self._line, asyncio.get_running_loop().time())
                if self._closing.is_set():
                    worker.close()
                await self._hear(worker)
                return End(end_of(await child.wait()), worker.answers)
            except (ValueError, msgspec.MsgspecError):  # a line longer than any of ours, or none of ours
                return End("said what is not a message")
            finally:
                self._running.discard(worker)
                self._note()

    async def _hear(self, worker: WorkerProcess) -> None:
        assert worker.child.stdout
        async for said in worker.child.stdout:
            match _message.decode(said):
                case Taken() as taken:
                    worker.has_taken(taken)
                    self._note()
                case Lost():
                    worker.has_responded()
                    self._begin(self._recover_again())
                case Ask() as ask:
                    self._begin(self._answer(worker, ask.number, ask.what))

    def _begin(self, answering: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(answering)
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _recover_again(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._recovered > _RECOVER_AGAIN_SECONDS:
            self._recovered = now
            await self._recover()

    async def _answer(self, worker: WorkerProcess, number: int, what: Scrape | Command) -> None:
        if isinstance(what, Scrape):
            await self._scrape(worker, number, what)
            return
        assert self._context.administer
        try:
            found = await self._context.administer(what)
        except AlsServeError as error:
            worker.tell(line(Refusal(number, error.code, error.marked)))
        else:
            worker.tell(line(Answer(number, "application/json", msgspec.json.encode(found))))

    async def _scrape(self, worker: WorkerProcess, number: int, what: Scrape) -> None:
        loop = asyncio.get_running_loop()
        async with self._scraping:
            started = loop.time()
            found = await self._context.scrape(what.accept, what.names)
            worker.tell(line(Answer(number, found.content_type, found.body)))
            await asyncio.sleep(_REST * (loop.time() - started))

    def _news(self) -> bytes:
        context = self._context
        tokens = context.access.tokens if context.access else None
        return line(News.of(context.status, draining=context.lifecycle.draining, tokens=tokens))

    def _note(self) -> None:
        self._context.metrics.workers.set(sum(worker.answers for worker in self._running))
        self._context.lifecycle.answering = any(worker.generation for worker in self._running)
