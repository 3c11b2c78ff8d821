"""The loader of candidates: from a file through a shelf of their own to the slot, next to the served model."""

from __future__ import annotations

import asyncio
from pathlib import Path

from service.errors import AlsServeError, SourceMissingError
from service.live.generation import Generation, Offer, Slot
from service.live.loader import Loader
from service.live.preparing import Preparation
from service.live.reading import Reading
from service.live.reloader import Reloader
from service.live.report import Reload, measure_candidate_reload
from service.model.storage import snapshot as snapshots
from service.model.storage.snapshot import Snapshot
from service.model.storage.source import Signature, Source, look, text_of
from service.observe.logs import log_event


class CandidateLoader(Loader[Snapshot]):
    """Loads candidates into the slot; where there is no file, there is no candidate.

    Neither gates nor probation are for them: to find out how a model does is what they are for.
    """

    def __init__(self, path: Path, slot: Slot, preparation: Preparation) -> None:
        self._path = path
        self._slot = slot
        self._preparation = preparation
        self._offer: Offer | None = None
        self._retired: list[Generation] = []

    async def begin(self) -> None:
        """Go on with the candidate from before a restart, as its users do, until the file has been checked."""
        snapshot = await asyncio.to_thread(self._last_used)
        if snapshot:
            reading = Reading("resumed")
            await self._preparation.warm(snapshot, reading)
            self._slot.try_out(await self._slot.offer(snapshot), reading)
        await self._tidy()

    async def serves(self, source: Source) -> bool:
        """Return whether this model is the candidate already, from a snapshot that workers and a restart can open, too.

        Raises StateDirectoryError, OutOfResourcesError.
        """
        candidate = self._slot.candidate
        if candidate is None or candidate.snapshot.manifest.source.sha256 != source.sha256:
            return False
        return await asyncio.to_thread(self._preparation.shelf.find, source) is not None

    async def obtain(self, source: Source, reading: Reading) -> Snapshot:
        """Open its snapshot, importing it if necessary. Raises ModelRejectedError and its subclasses."""
        return await self._preparation.obtain(source, reading)

    async def warm(self, loaded: Snapshot, reading: Reading) -> None:
        """Bring it into memory."""
        await self._preparation.warm(loaded, reading)

    async def admit(self, loaded: Snapshot, reading: Reading) -> None:
        """Work out what may be shown of it."""
        await asyncio.to_thread(self._preparation.shelf.mark_used, loaded.directory)
        self._offer = await self._slot.offer(loaded)  # last, so that it is up to date when it is handed over

    def hand_over(self, loaded: Snapshot, reading: Reading) -> None:
        """Let its users have it from now on."""
        assert self._offer
        previous, self._offer = self._slot.try_out(self._offer, reading), None
        self._retire(previous)

    async def handed_over(self, loaded: Snapshot, reading: Reading) -> None:
        """Log the candidate, and release the one before it."""
        experiment = self._slot.experiment
        log_event("candidate", model_version=loaded.version, percent=experiment.percent, name=experiment.name)
        await self._tidy()

    def concluded(self, reload: Reload, error: AlsServeError | None) -> None:
        """Report how a reload ended; without a file, the experiment ends."""
        measure_candidate_reload(self._slot.metrics, reload)
        if isinstance(error, SourceMissingError):
            if previous := self._slot.end_trial():
                log_event("candidate_gone", model_version=previous.version)
                self._retire(previous)
        elif reload.outcome == "rejected":
            log_event("candidate_rejected", detail=str(error), reason=reload.reason)

    async def do_without(self, reason: str) -> None:
        """Release the candidate whose file is gone, if it is; otherwise the last good one stays."""
        await self._tidy()

    def _retire(self, previous: Generation | None) -> None:
        if previous:
            self._retired.append(previous)

    def _last_used(self) -> Snapshot | None:
        if not isinstance(look(self._path), Signature):
            return None
        found = self._preparation.shelf.last_used()
        return found if found and found.manifest.source.path == text_of(self._path) else None

    async def _tidy(self) -> None:
        await asyncio.to_thread(self._release_retired)
        try:
            await asyncio.to_thread(self._preparation.shelf.tidy)
        except OSError as error:
            log_event("housekeeping_failed", detail=str(error))

    def _release_retired(self) -> None:
        """Drop the last references to earlier candidates, in a thread: unmapping gigabytes is slow."""
        while self._retired:
            snapshots.release(self._retired.pop().snapshot)


def keep_candidate(path: Path, slot: Slot, preparation: Preparation, settle_seconds: float) -> Reloader[Snapshot]:
    """Build what keeps the candidate of a path current; nothing is read before the reloader runs."""
    loader = CandidateLoader(path, slot, preparation)
    return Reloader(path, loader, settle_seconds, preparation.limits.file_bytes)
