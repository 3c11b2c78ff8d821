"""The served model, and the one road by which it is replaced: one reload at a time, the newest file wins."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Never
from weakref import WeakSet

from service.errors import (
    AlsServeError,
    ModelRejectedError,
    OutOfResourcesError,
    SourceChangedError,
    StateDirectoryError,
)
from service.live.child import ImportLimits
from service.live.preparing import Preparation
from service.live.reading import Reading, Settling
from service.live.report import (
    Outcome,
    Reload,
    Served,
    State,
    Training,
    announce_first,
    announce_rejection,
    measure_model,
    measure_reload,
)
from service.model.formats.table import format_of
from service.model.model import Model
from service.model.storage.shelf import Shelf
from service.model.storage.snapshot import Snapshot
from service.model.storage.source import Signature, Source, identify, look
from service.model.titles import Titles
from service.observe.logs import log_event
from service.observe.metrics import Metrics

_HISTORY = 10
#: Between two tries at a file that other files keep replacing.
_PAUSE_SECONDS = 0.05
#: A full disk is no fault of the model: the same file is tried again.
_STATE_DIRECTORY_RETRY_SECONDS = 60.0
#: Until a file is looked at again for which the system lacked something: at first, and doubled up to the above.
_FIRST_RETRY_SECONDS = 1.0


class ModelStore:
    """Holds the served model and keeps it current.

    A request takes ``current`` once and answers from that snapshot to the end. ``good`` is set once that is a model
    with factors. ``training`` is that of a model for want of one, ``titles`` are those of items, whatever the model.
    ``history`` has the versions served before, the latest first. ``load_seconds`` are the phases of
    :class:`Reload` that the served model went through in this process.
    """

    def __init__(
        self,
        path: Path,
        shelf: Shelf,
        limits: ImportLimits,
        metrics: Metrics,
        *,
        settle_seconds: float = 2.0,
        downloaded: Callable[[str], float | None] | None = None,
    ) -> None:
        """``settle_seconds`` is how long a file that is rewritten in place must rest before it is read.

        ``downloaded`` is that of :class:`Preparation`.
        """
        self.path = path
        self.current: Snapshot | None = None
        self.good = asyncio.Event()
        self.training: Training | None = None
        self.titles: Titles | None = None
        self.last_reload: Reload | None = None
        self.history: list[Served] = []
        self.loaded_at: datetime | None = None
        self.load_seconds: dict[str, float] = {}
        self._shelf = shelf
        self._preparation = Preparation(shelf, limits, downloaded)
        self._metrics = metrics
        self._settling = Settling(path, settle_seconds)
        self._requested = asyncio.Event()
        self._concluded: Signature | str | None = None
        self._onlookers: list[asyncio.Event] = []
        self._stand_ins: tuple[Path, ...] = ()
        self._try_again = False
        self._retry_seconds = _FIRST_RETRY_SECONDS
        self._fresh = False
        self._earlier: WeakSet[Model] = WeakSet()
        metrics.model_snapshots_held.set_function(lambda: len(self._earlier))

    @property
    def state(self) -> State:
        """Return how things stand with the served model; see :meth:`state_of`."""
        return self.state_of(self.current)

    def state_of(self, current: Snapshot | None) -> State:
        """Return "loading", or "training", until a model is served.

        Then it is "limited" while that has no factors, "ready" while it is the one at the model path, and "stale" while
        the path has another that was rejected, or none: a stale model serves as well as any, and someone should know.
        """
        if current is None:
            return "training" if self.training and self.training.outcome == "running" else "loading"
        if current.model.limited:
            return "limited"
        return "ready" if self._fresh else "stale"

    @property
    def _was_trained(self) -> bool:
        """Say whether what stands at the path is most likely what was trained for want of a model."""
        training = self.training
        return training is not None and (training.phase == "saving" or training.outcome == "trained")

    def request_reload(self) -> None:
        """Ask for a look at the model file; requests during a reload lead to one more."""
        self._requested.set()

    async def look(self) -> None:
        """Have the file looked at, and return once such a look has come to an end, whatever it was."""
        ended = asyncio.Event()
        self._onlookers.append(ended)
        self._requested.set()
        await ended.wait()

    def stand_in(self, *paths: Path) -> None:
        """Ask for the first usable of these files to be served, unless the path has a good model by then."""
        self._stand_ins = paths
        self._requested.set()

    async def run(self) -> Never:
        """Load the model, then reload it whenever asked to; nothing else changes ``current``."""
        if self.current is None:
            log_event("initializing")
        await self._tidy()
        self._requested.set()
        while True:
            await self._requested.wait()
            self._requested.clear()
            onlookers = tuple(self._onlookers)
            await self._reload()
            if self._concluded:  # a file that changes while it is read may well turn out to be good
                await self._take_stand_in()
                self._tell(onlookers)

    async def load(self) -> Snapshot:
        """Take the file that stands at the path, once, without :meth:`run`. Raises ModelRejectedError and its kinds."""
        while True:
            try:
                return await self._take(Reading(await self._settling.settled()))
            except SourceChangedError:
                await self._pause()

    async def _reload(self) -> None:
        """Look at the file once, to a conclusion; or, where it changed meanwhile, ask for one more look."""
        seen = await self._settling.settled()
        if seen == self._concluded and not self._try_again:
            return
        self._try_again = False
        reading = Reading(seen)
        try:
            await self._take(reading)
        except ModelRejectedError as error:
            await self._reject_or_read_again(reading, error)
        except OutOfResourcesError as error:
            await self._postpone(reading, error)
        except Exception as error:
            # Counted, and not tried over and over: who runs us logs it and starts us again.
            self._conclude(reading, "rejected", AlsServeError(f"Unexpected {type(error).__name__}: {error}."))
            if self.current is None:
                await self._serve_last_used()
            raise
        if await asyncio.to_thread(look, self.path) != reading.seen:
            self._requested.set()

    async def _take(self, reading: Reading) -> Snapshot:
        """Identify, find or import, warm and swap. Raises ModelRejectedError and its kinds."""
        source = await self._identify(reading)
        if self.current and self.current.manifest.source.sha256 == source.sha256:
            self._conclude(reading, "unchanged")
            log_event("unchanged", model_version=source.version)
            return self.current
        first = self.current is None
        snapshot = await self._preparation.obtain(source, reading)
        await self._preparation.warm(snapshot, reading)
        previous = [self._swap(snapshot, reading)]
        self._conclude(reading, "swapped")
        if first:
            announce_first(snapshot, trained=self._was_trained)
        else:
            log_event("swapped", model_version=snapshot.version, seconds=time.perf_counter() - reading.started)
        # Unmapping gigabytes takes its time, so the last reference goes in a thread.
        await asyncio.to_thread(previous.clear)
        await self._tidy()
        return snapshot

    async def _identify(self, reading: Reading) -> Source:
        if isinstance(reading.seen, Signature):
            self._settling.read = reading.seen
            if self.current is None:
                found = await asyncio.to_thread(format_of, self.path)
                log_event("file_found", format=found, path=str(self.path), bytes=reading.seen.size)
                if not self._was_trained:
                    log_event("skipping_training")
                log_event("loading", path=str(self.path))
        with reading.phase("verify"):
            source = await asyncio.to_thread(identify, self.path)
        self._settling.read = reading.seen = source.signature
        reading.version = source.version
        if self.current is None:
            log_event("file_verified", path=str(self.path), bytes=source.signature.size)
        return source

    def _swap(self, snapshot: Snapshot, reading: Reading) -> Snapshot | None:
        """Serve a snapshot from now on, and return the one before."""
        with reading.phase("swap"):
            previous, loaded_at = self.current, datetime.now(UTC)
            if previous and self.loaded_at:
                self.history = [Served(previous.version, self.loaded_at), *self.history][:_HISTORY]
                self._earlier.add(previous.model)
            self.current = snapshot
            if not snapshot.model.limited:
                self.good.set()
        self.loaded_at, self.load_seconds = loaded_at, reading.seconds
        measure_model(self._metrics, snapshot, loaded_at, reading.seconds)
        return previous

    async def _reject_or_read_again(self, reading: Reading, error: ModelRejectedError) -> None:
        """Report why the file is not served, unless its bytes were still changing: then they prove nothing."""
        now = await asyncio.to_thread(look, self.path)
        if isinstance(error, SourceChangedError) or self._settling.rewritten(now):
            log_event("changed_while_read")
            self._requested.set()
            await self._pause()
        else:
            self._conclude(reading, "rejected", error)
            announce_rejection(error, str(self.path), self.current)
        if isinstance(error, StateDirectoryError):
            self._try_again_in(_STATE_DIRECTORY_RETRY_SECONDS)
        if self.current is None:
            await self._serve_last_used()

    async def _postpone(self, reading: Reading, error: OutOfResourcesError) -> None:
        """Report that nothing could be found out about the file, and look at it again soon, then ever more rarely."""
        seconds = self._retry_seconds
        self._conclude(reading, "postponed", error)
        log_event("postponed", detail=str(error), seconds=seconds)
        self._try_again_in(seconds)
        self._retry_seconds = min(2 * seconds, _STATE_DIRECTORY_RETRY_SECONDS)
        if self.current is None:
            await self._serve_last_used()

    async def _serve_last_used(self) -> None:
        """Serve what was served last, before this process started; it is not what stands at the path."""
        reason = self.last_reload.detail if self.last_reload else f"{self.path} is still being written."
        reading = Reading(reason)
        with reading.phase("open"):
            snapshot = await asyncio.to_thread(self._shelf.last_used)
        if snapshot is None:
            log_event("waiting", path=str(self.path))
            return
        await self._serve_in_place(snapshot, reading)
        log_event("stale", model_version=snapshot.version, reason=reason)

    async def _take_stand_in(self) -> None:
        """Serve the first usable of the files that were asked for in place of the one at the path."""
        while self._stand_ins and not self.good.is_set():
            path, *others = self._stand_ins
            try:
                snapshot = await self._read_stand_in(path)
            except (StateDirectoryError, OutOfResourcesError) as error:
                log_event("rejected", detail=str(error), reason=error.code, path=str(path))
                self._try_again_in(_STATE_DIRECTORY_RETRY_SECONDS)
                return
            except ModelRejectedError as error:
                announce_rejection(error, str(path), self.current)
                self._stand_ins = tuple(others)
            else:
                self._stand_ins = ()
                event = "limited" if snapshot.model.limited else "stood_in"
                log_event(event, model_version=snapshot.version, path=str(self.path))

    async def _read_stand_in(self, path: Path) -> Snapshot:
        reading = Reading(str(path))
        snapshot = await self._preparation.obtain(await asyncio.to_thread(identify, path), reading)
        await self._serve_in_place(snapshot, reading)
        return snapshot

    async def _serve_in_place(self, snapshot: Snapshot, reading: Reading) -> None:
        """Serve a snapshot in place of what stands at the path."""
        await self._preparation.warm(snapshot, reading)
        self._swap(snapshot, reading)
        self._set_fresh(False)

    def _conclude(
        self,
        reading: Reading,
        outcome: Outcome,
        error: AlsServeError | None = None,
    ) -> None:
        """Set down how a reload ended; every way out of one leads through here."""
        reason, detail = (error.code, str(error)) if error else ("", "")
        self._concluded = reading.seen
        self._retry_seconds = _FIRST_RETRY_SECONDS
        self.last_reload = Reload(outcome, reason, detail, datetime.now(UTC), reading.version, reading.seconds)
        self._set_fresh(error is None)
        measure_reload(self._metrics, self.last_reload)

    def _set_fresh(self, fresh: bool) -> None:
        """Note whether the served model is the one at the path."""
        self._fresh = fresh
        self._metrics.model_stale.set(self.current is not None and not fresh)

    def _tell(self, onlookers: tuple[asyncio.Event, ...]) -> None:
        for ended in onlookers:
            ended.set()
            self._onlookers.remove(ended)

    def _try_again_in(self, seconds: float) -> None:
        self._try_again = True
        asyncio.get_running_loop().call_later(seconds, self.request_reload)

    async def _pause(self) -> None:
        await asyncio.sleep(min(_PAUSE_SECONDS, self._settling.seconds))

    async def _tidy(self) -> None:
        try:
            await asyncio.to_thread(self._shelf.tidy)
        except OSError as error:
            log_event("housekeeping_failed", detail=str(error))
