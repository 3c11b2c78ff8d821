"""The fallback if there is no good model file: the last served model, or an offered file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from service.errors import ModelRejectedError, OutOfResourcesError, StateDirectoryError
from service.live import reloader
from service.live.generation import Slot
from service.live.preparing import Preparation
from service.live.reading import Reading
from service.live.report import announce_rejection
from service.model.storage.snapshot import Snapshot
from service.model.storage.source import identify, text_of
from service.model.storage.verdicts import Verdicts
from service.observe.logs import log_event


class Fallback:
    """Serves a model in place of the one at ``path``; ``request`` asks for another look at the path."""

    request: Callable[[], None]

    def __init__(self, path: Path, slot: Slot, preparation: Preparation, verdicts: Verdicts) -> None:
        self.path = path
        self._slot = slot
        self._preparation = preparation
        self._verdicts = verdicts
        self._stand_ins: tuple[Path, ...] = ()

    def stand_in(self, *paths: Path) -> None:
        """Offer files, the first usable of which is served unless the path has a good model by then."""
        self._stand_ins = paths
        self.request()

    async def resume(self, pinned: str | None) -> bool:
        """Serve the pinned version, or what was served last, before this process started, if it came from the path.

        Return whether it did.
        """
        reading = Reading(str(self.path))
        with reading.phase("open"):
            snapshot = await self._last_used()
        if snapshot is None or (snapshot.version != pinned and snapshot.manifest.source.path != text_of(self.path)):
            return False
        await self._serve(snapshot, reading)
        log_event("resumed", model_version=snapshot.version)
        return True

    async def serve_last_used(self, reason: str) -> None:
        """Serve the model that was served last, before this process started."""
        reading = Reading(reason)
        with reading.phase("open"):
            snapshot = await self._last_used()
        if snapshot is None:
            log_event("waiting", path=str(self.path))
            return
        await self._serve(snapshot, reading)
        log_event("stale", model_version=snapshot.version, reason=reason)

    async def take_stand_in(self) -> None:
        """Serve the first usable of the offered files."""
        while self._stand_ins and not self._slot.good.is_set():
            path, *others = self._stand_ins
            try:
                snapshot = await self._take(path)
            except (StateDirectoryError, OutOfResourcesError) as error:
                log_event("rejected", detail=str(error), reason=error.code, path=str(path))
                asyncio.get_running_loop().call_later(reloader.STATE_DIRECTORY_RETRY_SECONDS, self.request)
                return
            except ModelRejectedError as error:
                announce_rejection(error, str(path), self._slot.version)
                self._stand_ins = tuple(others)
            else:
                self._stand_ins = ()
                event = "limited" if snapshot.model.limited else "stood_in"
                log_event(event, model_version=snapshot.version, path=str(self.path))

    async def _last_used(self) -> Snapshot | None:
        """Open what was served last, unless it is quarantined, else what was served before."""
        return await asyncio.to_thread(self._preparation.shelf.last_used, self._verdicts.is_quarantined)

    async def _take(self, path: Path) -> Snapshot:
        reading = Reading(str(path))
        snapshot = await self._preparation.obtain(await asyncio.to_thread(identify, path), reading)
        await self._serve(snapshot, reading)
        return snapshot

    async def _serve(self, snapshot: Snapshot, reading: Reading) -> None:
        await self._preparation.warm(snapshot, reading)
        await asyncio.to_thread(self._preparation.shelf.mark_used, snapshot.directory)
        self._slot.serve(await self._slot.offer(snapshot), reading, stale=True)
