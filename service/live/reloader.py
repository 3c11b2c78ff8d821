"""The reloader: one reload at a time, the newest file wins, the last good one stays."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Generic, Never, TypeVar

from service.errors import AlsServeError, OutOfResourcesError, SourceChangedError, StateDirectoryError
from service.live.loader import Loader
from service.live.reading import Reading, Settling
from service.live.report import Outcome, Reload
from service.model.storage.source import Signature, Source, identify, look
from service.observe.logs import log_event
from service.threads import ResultT, in_thread

_HISTORY = 10
#: The pause between two attempts at a file that keeps being replaced.
_PAUSE_SECONDS = 0.05
#: A full disk is not the file's fault, so it is retried.
STATE_DIRECTORY_RETRY_SECONDS = 60.0
#: The first pause after the system lacked resources for a file; doubled up to the above.
_FIRST_RETRY_SECONDS = 1.0

T = TypeVar("T")


class Reloader(Generic[T]):
    """Keeps whatever is loaded from the file at ``path`` current.

    A newer file ends the reading and the import of an older one, but not twice in a row: files that are replaced faster
    than they can be imported are served, too. A file larger than ``most_bytes`` is rejected. ``settle_seconds`` is how
    long a file that is rewritten in place must rest before it is read. ``history`` has the last ten reloads, latest
    first.
    """

    def __init__(self, path: Path, loader: Loader[T], settle_seconds: float, most_bytes: int | None = None) -> None:
        self.path = path
        self.history: deque[Reload] = deque(maxlen=_HISTORY)
        self._loader = loader
        self._settling = Settling(path, settle_seconds, careful=loader.part_is_valid)
        self._most_bytes = most_bytes
        self._requested = asyncio.Event()
        self._noticed = asyncio.Event()
        self._gave_up = False
        self._concluded: Signature | str | None = None
        self._onlookers: list[asyncio.Event] = []
        self._try_again = False
        self._retry_seconds = _FIRST_RETRY_SECONDS

    @property
    def last(self) -> Reload | None:
        """Return the last reload."""
        return self.history[0] if self.history else None

    def request(self) -> None:
        """Request a reload; requests during a reload lead to one more."""
        self._requested.set()
        self._noticed.set()

    def retry(self) -> None:
        """Request a reload even of the file that was rejected last."""
        self._try_again = True
        self.request()

    def revoke(self, error: AlsServeError, version: str) -> None:
        """Record that this version, which was swapped in, is rejected after all."""
        self._conclude(Reading(self._concluded or "", version=version), "rejected", error)

    async def look(self) -> None:
        """Request a reload, and return once one has ended, with any outcome."""
        ended = asyncio.Event()
        self._onlookers.append(ended)
        self.request()
        await ended.wait()

    async def run(self) -> Never:
        """Load the file, then reload it on request."""
        await self._loader.begin()
        self.request()
        while True:
            await self._requested.wait()
            self._requested.clear()
            onlookers = tuple(self._onlookers)
            await self._reload()
            if self._concluded:  # a file that changes while it is being read may turn out to be good
                await self._loader.look_ended()
                self._tell(onlookers)

    async def load(self) -> None:
        """Load the file once, without :meth:`run`. Raises any AlsServeError that rejects it."""
        while True:
            reading = Reading(await self._settling.settled())
            try:
                loaded = await self._take(reading)
            except SourceChangedError:
                await self._pause()
            else:
                return await self._clean_up(loaded, reading)

    async def _reload(self) -> None:
        """Reload the file once, to a conclusion; if it changed meanwhile, request another reload."""
        seen = await self._settling.settled()
        if seen == self._concluded and not self._try_again:
            return
        self._try_again = False
        reading = Reading(seen)
        try:
            loaded = await self._take(reading)
        except OutOfResourcesError as error:
            await self._postpone(reading, error)
        except AlsServeError as error:
            await self._reject_or_read_again(reading, error)
        except OSError as error:
            await self._postpone(
                reading, OutOfResourcesError(f"{self.path} cannot be loaded right now: {error.strerror or error}.")
            )
        except Exception as error:
            # Counted and raised, not retried here: the caller logs it and restarts this task.
            await self._reject(reading, AlsServeError(f"Unexpected {type(error).__name__}; the log says more."))
            raise
        else:
            await self._clean_up(loaded, reading)
        if await asyncio.to_thread(look, self.path) != reading.seen:
            self.request()

    async def _take(self, reading: Reading) -> T | None:
        """Identify, find or import, warm, admit and serve; return what is served now. Raises any AlsServeError.

        There is no await between serving and the conclusion, and nothing that could fail: a file is either served, or
        why not is known.
        """
        source = await self._unless_newer(reading, self._identify(reading))
        if await self._loader.serves(source):
            self._conclude(reading, "unchanged")
            return None
        loaded = await self._unless_newer(reading, self._loader.obtain(source, reading))
        # Warmed first: comparing reads nearly all of it, and a page that is not in memory would stop the event loop.
        await self._loader.warm(loaded, reading)
        await self._loader.admit(loaded, reading)
        self._loader.hand_over(loaded, reading)
        self._conclude(reading, "swapped")
        return loaded

    async def _unless_newer(self, reading: Reading, work: Coroutine[None, None, ResultT]) -> ResultT:
        """Do the work, but give up with SourceChangedError once there is a newer file."""
        working = asyncio.create_task(work)
        watching = asyncio.create_task(self._until_newer(reading))
        tasks = {working} if self._gave_up else {working, watching}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
        finally:
            working.cancel()
            watching.cancel()
            await asyncio.gather(working, watching, return_exceptions=True)
        self._gave_up = True
        raise SourceChangedError(f"{self.path} was replaced while it was being read; reading the new one.")

    async def _until_newer(self, reading: Reading) -> None:
        """Wait until there is another file than the one that is being read."""
        while True:
            await self._noticed.wait()
            self._noticed.clear()
            now = await asyncio.to_thread(look, self.path)
            if isinstance(now, Signature) and now != reading.seen:
                return

    async def _clean_up(self, loaded: T | None, reading: Reading) -> None:
        """Clean up after a swap; a failure here no longer changes how the reload ended."""
        if loaded is not None:
            await self._loader.handed_over(loaded, reading)

    async def _identify(self, reading: Reading) -> Source:
        if isinstance(reading.seen, Signature):
            self._settling.read = reading.seen
            await self._loader.found(reading)
        with reading.phase("verify"):
            source = await in_thread(
                partial(identify, self.path, self._most_bytes, may_be_empty=self._loader.may_be_empty)
            )
        self._settling.read = reading.seen = source.signature
        reading.version = source.version
        await self._loader.verified(source)
        return source

    async def _reject_or_read_again(self, reading: Reading, error: AlsServeError) -> None:
        """Reject the file, unless it was still changing, which proves nothing."""
        now = await asyncio.to_thread(look, self.path)
        if isinstance(error, SourceChangedError) or self._settling.rewritten(now):
            log_event("changed_while_read")
            self.request()
            await self._pause()
            await self._loader.do_without(f"{self.path} is still being written.")
        else:
            await self._reject(reading, error)

    async def _reject(self, reading: Reading, error: AlsServeError) -> None:
        self._conclude(reading, "rejected", error)
        if isinstance(error, StateDirectoryError):
            self._try_again_in(STATE_DIRECTORY_RETRY_SECONDS)
        await self._loader.do_without(str(error))

    async def _postpone(self, reading: Reading, error: OutOfResourcesError) -> None:
        """Report that the file could not be checked, and retry with increasing pauses."""
        seconds = self._retry_seconds
        self._conclude(reading, "postponed", error)
        log_event("postponed", detail=str(error), seconds=seconds)
        self._try_again_in(seconds)
        self._retry_seconds = min(2 * seconds, STATE_DIRECTORY_RETRY_SECONDS)
        await self._loader.do_without(str(error))

    def _conclude(self, reading: Reading, outcome: Outcome, error: AlsServeError | None = None) -> None:
        """Record how a reload ended; every outcome passes through here."""
        reason, detail = (error.code, error.public) if error else ("", "")
        self._concluded = reading.seen
        self._gave_up = self._gave_up and outcome == "unchanged"  # which took no time
        self._retry_seconds = _FIRST_RETRY_SECONDS
        reload = Reload(outcome, reason, detail, datetime.now(UTC), reading.version, reading.seconds, reading.gates)
        self.history.appendleft(reload)
        self._loader.concluded(reload, error)

    def _tell(self, onlookers: tuple[asyncio.Event, ...]) -> None:
        for ended in onlookers:
            ended.set()
            self._onlookers.remove(ended)

    def _try_again_in(self, seconds: float) -> None:
        self._try_again = True
        asyncio.get_running_loop().call_later(seconds, self.request)

    async def _pause(self) -> None:
        await asyncio.sleep(min(_PAUSE_SECONDS, self._settling.seconds))


async def request_every(seconds: float, reloader: Reloader[T]) -> Never:
    """Reload a file at intervals, because it is not watched."""
    while True:
        reloader.request()
        await asyncio.sleep(seconds)
