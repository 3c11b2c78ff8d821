"""The loader of models: from the model file through the shelf to the slot."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Never

from service.errors import (
    AlsServeError,
    ModelRejectedError,
    QuarantinedError,
)
from service.live.admission import Admission, GatePolicy
from service.live.fallback import Fallback
from service.live.generation import Offer, Slot, state_of
from service.live.held import HeldVersions
from service.live.loader import Loader
from service.live.pinning import Pinned
from service.live.policy import Policy
from service.live.preparing import Preparation
from service.live.probation import Allowance, Probation
from service.live.reading import Reading
from service.live.reloader import Reloader
from service.live.report import (
    FallbackTraining,
    Following,
    Reload,
    State,
    announce_first,
    announce_rejection,
    measure_reload,
)
from service.live.status import Status
from service.live.steering import Steering
from service.model.formats.table import format_of
from service.model.rollout.arms import Experiment
from service.model.storage import snapshot as snapshots
from service.model.storage.snapshot import Snapshot
from service.model.storage.source import Signature, Source, identify
from service.model.storage.verdicts import Verdicts
from service.observe.logs import log_event
from service.observe.metrics import Metrics


class ModelLoader(Loader[Snapshot]):
    """Loads model files into the slot."""

    def __init__(
        self,
        slot: Slot,
        preparation: Preparation,
        admission: Admission,
        probation: Probation,
        pinned: Pinned,
        fallback: Fallback,
        training: FallbackTraining,
    ) -> None:
        self._slot = slot
        self._pinned = pinned
        self._admission = admission
        self._probation = probation
        self._preparation = preparation
        self._fallback = fallback
        self._training = training
        self._is_first = True
        self._resumed = False
        self._accepted = False
        self._offer: Offer | None = None

    async def begin(self) -> None:
        """Serve what was served before a restart at once, and clean up leftovers of other processes.

        The file is looked at afterwards as if nothing were served, because hashing and importing it takes time.
        """
        if self._slot.loaded is None:
            log_event("initializing")
            pinned = await asyncio.to_thread(self._preparation.shelf.pinned)
            self._resumed = await self._fallback.resume(pinned)
            await self._stay_pinned(pinned)
        await self._tidy()

    async def _stay_pinned(self, version: str | None) -> None:
        """Take no other version than the pinned one, unless that can be neither opened nor imported again."""
        if version is None or version == self._slot.version or await asyncio.to_thread(self._is_at_path, version):
            self._pinned.keep(version)
        else:
            await self._pinned.lose(version)

    def _is_at_path(self, version: str) -> bool:
        with suppress(AlsServeError, OSError):
            return identify(self._fallback.path, self._preparation.limits.file_bytes).version == version
        return False

    async def found(self, reading: Reading) -> None:
        """Log the apparent format of the first file."""
        self._is_first = self._slot.loaded is None or self._resumed
        if not self._is_first:
            return
        assert isinstance(reading.seen, Signature)
        path = self._fallback.path
        log_event(
            "file_found", format=await asyncio.to_thread(format_of, path), path=str(path), bytes=reading.seen.size
        )
        if not self._training.has_saved:
            log_event("skipping_training")
        log_event("loading", path=str(path))

    async def verified(self, source: Source) -> None:
        """Log that the first file can be read."""
        if self._is_first:
            log_event("file_verified", path=source.path, bytes=source.signature.size)

    async def serves(self, source: Source) -> bool:
        """Return whether this model is already served, from a snapshot that workers and a restart can open, too.

        Raises StateDirectoryError, OutOfResourcesError.
        """
        return (
            self._is_served(source)
            and await asyncio.to_thread(self._preparation.shelf.find, source) is not None
            and self._is_served(source)  # another one may have taken its place meanwhile
        )

    def _is_served(self, source: Source) -> bool:
        """Return whether this model is served, and was not only resumed after a restart."""
        loaded = self._slot.loaded
        return not self._resumed and loaded is not None and loaded.snapshot.manifest.source.sha256 == source.sha256

    async def obtain(self, source: Source, reading: Reading) -> Snapshot:
        """Open its snapshot, importing it if necessary. Raises ModelRejectedError and its subclasses."""
        self._pinned.refuse_other(source.version)
        if await asyncio.to_thread(self._admission.verdicts.is_quarantined, source.version):
            raise QuarantinedError(
                f"Model {source.version} is quarantined: its answers were bad, or an administrator rolled back. If "
                f"they are right, als-serve accept {source.version} serves it again."
            )
        return await self._preparation.obtain(source, reading)

    async def warm(self, loaded: Snapshot, reading: Reading) -> None:
        """Bring it into memory."""
        await self._preparation.warm(loaded, reading)

    async def admit(self, loaded: Snapshot, reading: Reading) -> None:
        """Compare it with the served model, and work out what may be shown of it. Raises GateError, PinnedError."""
        served = self._slot.loaded
        await self._admission.admit(loaded, served.snapshot if served else None, reading)
        self._accepted = await asyncio.to_thread(self._admission.verdicts.is_accepted, loaded.version)
        # Before it is served: a process that is killed in between serves it again at the next start.
        await asyncio.to_thread(self._preparation.shelf.mark_used, loaded.directory)
        self._offer = await self._slot.offer(loaded)  # last, so that it is up to date when it is handed over
        self._pinned.refuse_other(loaded.version)  # which may have been pinned meanwhile

    def hand_over(self, loaded: Snapshot, reading: Reading) -> None:
        """Serve it from now on."""
        self._resumed = False
        assert self._offer
        previous, self._offer = self._slot.serve(self._offer, reading), None
        self._probation.begin(previous, accepted=self._accepted)

    async def handed_over(self, loaded: Snapshot, reading: Reading) -> None:
        """Log the served model, and release the previous one."""
        if self._is_first:
            announce_first(loaded, trained=self._training.has_saved)
        else:
            log_event("swapped", model_version=loaded.version, seconds=time.perf_counter() - reading.started)
        await self.let_go()

    async def let_go(self) -> None:
        """Let go of earlier models, in memory and on disk, unless there may be a return to one."""
        await asyncio.to_thread(self._release_retired)
        await self._tidy()

    def concluded(self, reload: Reload, error: AlsServeError | None) -> None:
        """Note whether the served model is the one at the path, and report how the reload ended."""
        self._slot.mark(stale=error is not None)
        measure_reload(self._slot.metrics, reload)
        if reload.outcome == "unchanged":
            log_event("unchanged", model_version=reload.version)
        elif isinstance(error, ModelRejectedError):
            announce_rejection(error, str(self._fallback.path), None if self._resumed else self._slot.version)

    async def do_without(self, reason: str) -> None:
        """If nothing is served, serve the model that was served last, before this process started."""
        if self._slot.loaded is None:
            await self._fallback.serve_last_used(reason)
        elif self._resumed:
            log_event("stale", model_version=self._slot.version, reason=reason)
        self._resumed = False
        await self._tidy()

    async def look_ended(self) -> None:
        """Serve an offered file instead."""
        await self._fallback.take_stand_in()

    def _release_retired(self) -> None:
        """Drop the last references to earlier models, in a thread: unmapping gigabytes is slow."""
        while self._probation.retired:
            snapshots.release(self._probation.retired.pop().snapshot)

    async def _tidy(self) -> None:
        if self._probation.is_on:
            return
        try:
            await asyncio.to_thread(self._preparation.shelf.tidy)
        except OSError as error:
            log_event("housekeeping_failed", detail=str(error))


@dataclass(frozen=True, slots=True)
class Live:
    """The parts that serve the model at one path."""

    slot: Slot
    preparation: Preparation
    reloader: Reloader[Snapshot]
    fallback: Fallback
    training: FallbackTraining
    admission: Admission
    probation: Probation
    pinned: Pinned
    steering: Steering

    async def set_candidate_percent(self, percent: float | None) -> Experiment:
        """Give the candidate to this percentage of users, 0 to 100, also after a restart; None takes that back.

        The pointer in S3 wins over it, and it wins over the settings: the experiment that is returned is in force.
        Raises StateDirectoryError, OutOfResourcesError, and changes nothing then.
        """
        return await self.steering.set_by_admin(percent)

    async def notice_acceptance(self, seconds: float) -> Never:
        """Retry a file that was kept out, once a person has accepted its version; look at intervals."""
        retried: Reload | None = None
        while True:
            await asyncio.sleep(seconds)
            if await asyncio.to_thread(self._is_any_accepted, self._kept_out(retried)):
                retried = self.reloader.last
                self.reloader.retry()

    def _kept_out(self, retried: Reload | None) -> list[str]:
        """Return the versions that a gate or a quarantine has kept out since the last swap and this reload.

        There may be two: of the file at the path, and of a model that was served and taken back after that file came.
        """
        ended = ("swapped", "unchanged")
        recent = takewhile(lambda reload: reload is not retried and reload.outcome not in ended, self.reloader.history)
        return [reload.version for reload in recent if reload.version and _is_kept_out(reload)]

    def _is_any_accepted(self, versions: list[str]) -> bool:
        return any(self.admission.verdicts.is_accepted(version) for version in versions)

    def status(self, following: Following | None = None) -> Status:
        """Return what handlers read."""
        held = HeldVersions(self.slot, self.preparation.shelf)
        return Status(self.slot, held, self.reloader.history, self.training, following)

    @property
    def state(self) -> State:
        """Return the state of the served model; see :func:`~service.live.generation.state_of`."""
        return state_of(self.slot.current, self.training)


def _is_kept_out(reload: Reload) -> bool:
    return reload.reason == QuarantinedError.code or any(found.result == "blocked" for found in reload.gates)


@dataclass(frozen=True, slots=True)
class Rollout:
    """What keeps a valid model out, or takes it back, by default nothing, and who gets a candidate, if there is one."""

    gates: GatePolicy = field(default_factory=GatePolicy)
    allowance: Allowance = field(default_factory=Allowance)
    experiment: Experiment = field(default_factory=Experiment)


def keep_model(
    path: Path,
    preparation: Preparation,
    metrics: Metrics,
    settle_seconds: float,
    rollout: Rollout | None = None,
    policy: Policy | None = None,
) -> Live:
    """Build the parts that serve the model at a path; nothing is read before the reloader runs.

    Without a rollout, every valid model is served and stays; without a policy, at once and to everybody.
    """
    rollout = rollout or Rollout()
    slot, training, shelf = Slot(metrics, policy or Policy()), FallbackTraining(), preparation.shelf
    verdicts = Verdicts(shelf.root.parent)
    fallback = Fallback(path, slot, preparation, verdicts)
    admission = Admission(rollout.gates, verdicts, shelf, metrics)
    probation = Probation(slot, shelf, verdicts, rollout.allowance)
    pinned = Pinned(metrics, shelf)
    loader = ModelLoader(slot, preparation, admission, probation, pinned, fallback, training)
    reloader = Reloader(path, loader, settle_seconds, preparation.limits.file_bytes)
    fallback.request = reloader.request
    probation.revoke, probation.tidy = reloader.revoke, loader.let_go
    steering = Steering(slot, rollout.experiment, shelf.root.parent)
    return Live(slot, preparation, reloader, fallback, training, admission, probation, pinned, steering)
