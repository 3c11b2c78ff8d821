"""Administration: carries out an administrator's commands, one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from service.errors import (
    ModelRejectedError,
    OutOfResourcesError,
    QuarantinedError,
    SnapshotDamagedError,
    StateDirectoryError,
    UnknownVersionError,
)
from service.live.commands import Accept, Command, KeptVersion, KeptVersions, Look, Pin, RollBack, Show, Steer, Unpin
from service.live.generation import Generation
from service.live.models import Live
from service.live.reading import Reading
from service.model.storage.shelf import is_unserved
from service.model.storage.snapshot import Snapshot
from service.observe.logs import log_event


class Administration:
    """Pins versions, returns to earlier ones, and lets refused ones in.

    ``looks`` each request a look at something that is followed besides the model path. A version that is served again
    comes from the shelf, so nothing is downloaded or imported, and it is shown as the policy of the moment allows.
    """

    def __init__(self, live: Live, looks: Sequence[Callable[[], None]] = ()) -> None:
        self._live = live
        self._shelf = live.preparation.shelf
        self._verdicts = live.admission.verdicts
        self._looks = looks
        self._one_at_a_time = asyncio.Lock()

    async def perform(self, command: Command) -> KeptVersions:
        """Carry out a command; the same one again changes nothing more. Return the versions after it.

        Raises UnknownVersionError, PinnedError, QuarantinedError, StateDirectoryError, OutOfResourcesError.
        """
        async with self._one_at_a_time:
            await self._carry_out(command)
            return await asyncio.to_thread(self._versions)

    async def recover(self) -> None:
        """Serve what can be opened, because a worker cannot open all that is served: a snapshot is lost on disk.

        A lost model is imported again from its path. If that has another one by now, or none, the version before is
        served, as after a restart, until there is a good model at the path, and a lost version is not pinned any more.
        """
        async with self._one_at_a_time:
            served = self._live.slot.loaded
            with suppress(StateDirectoryError, OutOfResourcesError):  # then nothing is known to be lost
                if served and served.stale and await asyncio.to_thread(self._is_lost, served.snapshot):
                    await self._do_without(served)
            self._look()

    def _is_lost(self, snapshot: Snapshot) -> bool:
        return self._shelf.find(snapshot.manifest.source) is None

    async def _do_without(self, lost: Generation) -> None:
        live = self._live
        if live.pinned.version == lost.version:
            await live.pinned.lose(lost.version)
        await live.fallback.serve_last_used(f"the snapshot of {lost.version} is lost")
        if live.slot.loaded is not lost:
            live.probation.begin(lost, accepted=True)
            del lost
            await live.probation.tidy()

    async def _carry_out(self, command: Command) -> None:
        match command:
            case Show():
                pass
            case Look():
                self._look()
            case Pin(version):
                await self._pin(version)
            case Unpin():
                await self._unpin()
            case RollBack(version):
                await self._roll_back(version)
            case Accept(version):
                await asyncio.to_thread(self._verdicts.accept, version)
            case Steer(percent):
                await self._live.set_candidate_percent(percent)

    def _look(self) -> None:
        for look in (*self._looks, self._live.reloader.retry):
            look()

    async def _pin(self, version: str) -> None:
        live, reading = self._live, Reading(version)
        snapshot = await self._opened(version, reading)
        await live.pinned.put(version)  # from here on, no reload puts another one in its place
        if (left := live.slot.version) == version:
            live.probation.begin(None, accepted=True)
            await live.probation.tidy()
        else:
            await self._serve(snapshot, reading, left, live.pinned.refusal_of(left))

    async def _unpin(self) -> None:
        was_pinned = self._live.pinned.version
        await self._live.pinned.put(None)
        if was_pinned:
            self._look()

    async def _roll_back(self, version: str | None) -> None:
        version = version or await asyncio.to_thread(self._before)
        left = self._live.slot.version
        if version is None or version == left:
            return
        self._live.pinned.refuse_other(version)
        reading = Reading(version)
        snapshot = await self._opened(version, reading)
        if left:
            await asyncio.to_thread(self._verdicts.quarantine, left)
        await self._serve(snapshot, reading, left, _left_behind(left, version))

    def _before(self) -> str | None:
        """Return the version that was served before, None if it was left already. Raises UnknownVersionError."""
        before = next((version for version in self._shelf.served() if version != self._live.slot.version), None)
        if before is None:
            raise UnknownVersionError("No earlier version is kept; ALS_KEEP_SNAPSHOTS says how many are.")
        return None if self._verdicts.is_quarantined(before) else before

    async def _opened(self, version: str, reading: Reading) -> Snapshot:
        """Bring a version into memory that may be served again. Raises UnknownVersionError, QuarantinedError."""
        try:
            with reading.phase("open"):
                place = await asyncio.to_thread(self._returnable, version)
                snapshot = await asyncio.to_thread(self._shelf.open, place)
        except (SnapshotDamagedError, OSError) as error:
            raise UnknownVersionError(f"Model {version} cannot be opened any more: {error}") from None
        await self._live.preparation.warm(snapshot, reading)
        return snapshot

    def _returnable(self, version: str) -> Path:
        served = self._shelf.served()
        if version not in served:
            kept = ", ".join(served) or "none"
            raise UnknownVersionError(f"No model {version} that was served is kept; those that were are {kept}.")
        if self._verdicts.is_quarantined(version):
            raise QuarantinedError(f"Model {version} is quarantined; accept it first if its answers are right.")
        return served[version]

    async def _serve(self, snapshot: Snapshot, reading: Reading, left: str | None, why: ModelRejectedError) -> None:
        """Serve a version again; ``why`` says why the one that is ``left`` is not served any more."""
        live = self._live
        await asyncio.to_thread(self._shelf.mark_used, snapshot.directory)
        offer = await live.slot.offer(snapshot)
        if live.slot.version != left:  # a newer model has taken its place meanwhile
            return
        previous = live.slot.serve(offer, reading, stale=True)
        live.probation.begin(previous, accepted=True)
        if left:
            live.reloader.revoke(why, left)
        del previous  # what is retired is unmapped once nothing refers to it
        log_event("returned", model_version=snapshot.version)
        await live.probation.tidy()

    def _versions(self) -> KeptVersions:
        slot = self._live.slot
        candidate = slot.candidate.version if slot.candidate else None
        kept = list(self._described())
        return KeptVersions(slot.version, self._live.pinned.version, candidate, slot.experiment.percent, kept)

    def _described(self) -> Iterator[KeptVersion]:
        for version, place in self._shelf.kept().items():
            with suppress(FileNotFoundError):  # another process may clean up at the same time
                yield KeptVersion(
                    version,
                    served=version == self._live.slot.version,
                    was_served=not is_unserved(place),
                    pinned=version == self._live.pinned.version,
                    accepted=self._verdicts.is_accepted(version),
                    quarantined=self._verdicts.is_quarantined(version),
                    last_used_at=datetime.fromtimestamp(place.stat().st_mtime, UTC),
                )


def _left_behind(left: str | None, version: str) -> QuarantinedError:
    return QuarantinedError(
        f"Model {left} was replaced by {version}, because an administrator rolled back. als-serve accept {left} serves "
        "it again."
    )
