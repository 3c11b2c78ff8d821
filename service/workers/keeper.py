"""The keeper's side of its workers: it starts them, tells them what to answer from, and replaces those that end.

They inherit the port's open socket, rather than that each opens its own with SO_REUSEPORT. With that, connections in
the queue of a worker that dies are lost with it, a worker that hangs still gets its share of them, and a second service
on the same port is not noticed. From one queue, whichever worker is free takes what waits.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Never

import msgspec

from service.answering import SENDING_SECONDS, SHUTDOWN_SECONDS
from service.api.context import Context
from service.live.children import child_process, end_of
from service.observe.logs import log_event
from service.observe.sheets import Sheet, Sums, make_sheet
from service.workers.messages import Answer, Ask, Assignment, FromWorker, News, Taken, line
from service.workers.turns import Turns

_MODULE = "service.workers.worker"
#: How often it is looked whether there are news. Hooks wherever something may change would be many, and one forgotten.
_LOOK_SECONDS = 0.1
#: The same news again, so that a worker which no longer takes any is noticed.
_REPEAT_SECONDS = 10.0
_HUNG_SECONDS = 60.0
#: How long scrapes by way of workers wait for one another, in times of each: a flood of them leaves time for the rest.
_REST = 4
#: Between the end of a worker and the start of the next, where one after the other ends soon.
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 30.0
_SOON_SECONDS = 5.0
#: After its standard input has ended, a worker may take this long to finish.
_CLOSING_SECONDS = SHUTDOWN_SECONDS + 2 * SENDING_SECONDS

_message = msgspec.json.Decoder(FromWorker)


class WorkerProcess:
    """One running worker, and how far it is with what it was told.

    ``answers`` is whether it has opened the port, ``generation`` the number of the one it answers from, 0 for none.
    """

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        assert child.stdin
        self.child = child
        self.answers = False
        self.generation = 0
        self._stdin = child.stdin
        self._waits_since: float | None = None

    def tell(self, said: bytes) -> None:
        """Send a line; one that does not read is not waited for."""
        if not self._stdin.is_closing():
            self._stdin.write(said)

    def tell_news(self, said: bytes, now: float) -> None:
        """Send news, and kill a worker that has not taken earlier ones for long."""
        self.tell(said)
        if self._waits_since is None:
            self._waits_since = now
        elif now - self._waits_since > _HUNG_SECONDS:
            log_event("worker_hung", pid=self.child.pid, seconds=now - self._waits_since)
            self.child.kill()

    def has_taken(self, taken: Taken) -> None:
        """Note that it answers from the last news."""
        self.answers, self.generation, self._waits_since = True, taken.generation, None

    def close(self) -> None:
        """Ask it to end: no more is said."""
        self._stdin.close()


class Workers:
    """Keeps a worker running for each assignment, from :meth:`start` to :meth:`close`."""

    def __init__(
        self,
        assignments: Sequence[Assignment],
        environment: Mapping[str, str],
        context: Context,
        sums: Sums,
    ) -> None:
        """``context`` has what they answer from, and answers scrapes for all; ``sums`` adds up what they count."""
        self._assignments = assignments
        self._environment = environment
        self._context = context
        self._sums = sums
        self._turns = Turns(assignments[0].turns)
        self._running: set[WorkerProcess] = set()
        self._line = self._news()
        self._closing = asyncio.Event()
        self._scraping = asyncio.Lock()
        self._answering: set[asyncio.Task[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start the workers."""
        self._tasks = [asyncio.create_task(self._keep(assignment)) for assignment in self._assignments]

    async def tell(self) -> Never:
        """Tell every worker whatever is the news."""
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
        """Have all of them close the port and end, once what is in flight has been answered."""
        self._closing.set()
        for worker in self._running:
            worker.close()
        await asyncio.wait(self._tasks, timeout=_CLOSING_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        os.close(self._assignments[0].turns)

    async def _keep(self, assignment: Assignment) -> None:
        """Run one worker after the other; where they end soon, after a pause that grows."""
        loop = asyncio.get_running_loop()
        pause = 0.0
        while not self._closing.is_set():
            started = loop.time()
            how = await self._run(assignment)
            if self._closing.is_set():
                return
            soon = loop.time() - started < _SOON_SECONDS
            pause = min(max(2 * pause, _FIRST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS) if soon else 0.0
            self._context.metrics.worker_ends.inc()
            log_event("worker_ended", detail=how, seconds=pause)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._closing.wait()

    async def _run(self, assignment: Assignment) -> str:
        """Run a worker to its end, and say how it ended."""
        try:
            with self._counted(assignment.place) as descriptor:
                return await self._converse(msgspec.structs.replace(assignment, sheet=descriptor))
        except OSError as error:
            return f"could not be started: {error.strerror}"

    @contextmanager
    def _counted(self, place: int) -> Iterator[int]:
        """Lend a sheet for a worker to count in. Raises OSError."""
        descriptor = make_sheet()
        sheet = Sheet(descriptor)
        self._sums.add(sheet)
        try:
            yield descriptor
        finally:
            self._sums.retire(sheet)
            self._turns.clear(place)
            os.close(descriptor)

    async def _converse(self, assignment: Assignment) -> str:
        task, lent = msgspec.json.encode(assignment), (*assignment.sockets, assignment.sheet, assignment.turns)
        async with child_process(_MODULE, task, self._environment, pass_fds=lent, in_background=False) as child:
            worker = WorkerProcess(child)
            self._running.add(worker)
            try:
                worker.tell_news(self._line, asyncio.get_running_loop().time())
                if self._closing.is_set():
                    worker.close()
                await self._hear(worker)
                return end_of(await child.wait())
            except (ValueError, msgspec.MsgspecError):  # a line longer than any of ours, or none of ours
                return "said what is not a message"
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
                case Ask() as ask:
                    answering = asyncio.create_task(self._answer(worker, ask))
                    self._answering.add(answering)
                    answering.add_done_callback(self._answering.discard)

    async def _answer(self, worker: WorkerProcess, ask: Ask) -> None:
        loop = asyncio.get_running_loop()
        async with self._scraping:
            started = loop.time()
            found = await self._context.scrape(ask.what.accept, ask.what.names)
            worker.tell(line(Answer(ask.number, found.content_type, found.body)))
            await asyncio.sleep(_REST * (loop.time() - started))

    def _news(self) -> bytes:
        return line(News.of(self._context.status, draining=self._context.lifecycle.draining))

    def _note(self) -> None:
        self._context.metrics.workers.set(sum(worker.answers for worker in self._running))
        self._context.lifecycle.answering = any(worker.generation for worker in self._running)
