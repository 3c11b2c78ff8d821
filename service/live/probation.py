"""The probation of a new model: if it answers worse than the one before it, that one is back at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Never

from service.errors import OutOfResourcesError, QuarantinedError, StateDirectoryError
from service.live.generation import Generation, Slot
from service.live.reading import Reading
from service.model.storage.shelf import Shelf
from service.model.storage.verdicts import Verdicts
from service.observe.logs import log_event
from service.observe.metrics import SERVED, Metrics
from service.observe.sheets import Labels

#: Fewer answers, of either model, say nothing about a share.
FEWEST_ANSWERS = 200
_LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Answers:
    """How many lists of recommendations and failures there were, and how many of these were empty or failures."""

    total: float = 0
    bad: float = 0

    @classmethod
    def counted(cls, metrics: Metrics) -> Answers:
        """Return the numbers so far of the served model, of all workers; a refusal (503) is not a failure of it."""
        failed = metrics.requests.total(
            lambda labels: labels[2].startswith("5") and labels[2] != "503" and _is_served(labels)
        )
        return cls(metrics.results.total(_is_served) + failed, metrics.results_empty.total(_is_served) + failed)

    def since(self, earlier: Answers) -> Answers:
        """Return those after some moment."""
        return Answers(self.total - earlier.total, self.bad - earlier.bad)

    @property
    def share(self) -> float | None:
        """Return the share that is bad, or None if there are too few to say."""
        return self.bad / self.total if self.total >= FEWEST_ANSWERS else None


def _is_served(labels: Labels) -> bool:
    return labels[-1] == SERVED


@dataclass(frozen=True, slots=True)
class Allowance:
    """How long a new model is on probation, and by how much its share of bad answers may exceed the one before."""

    seconds: float = 0.0
    excess: float = 0.05


@dataclass(frozen=True, slots=True)
class Trial:
    """A model on probation: the generation to return to, the share of bad answers of that, and when it ends."""

    trusted: Generation
    share: float
    ends: float


class Probation:
    """Watches the answers after each swap.

    A model that a person has accepted is not watched; accepting one that is on probation ends that. ``retired`` has the
    generations that are no longer needed. ``revoke`` records that a model is not served any more, and ``tidy`` lets go
    of what is retired.
    """

    revoke: Callable[[QuarantinedError, str], None]
    tidy: Callable[[], Awaitable[None]]

    def __init__(self, slot: Slot, shelf: Shelf, verdicts: Verdicts, allowance: Allowance) -> None:
        self.retired: list[Generation] = []
        self._slot = slot
        self._shelf = shelf
        self._verdicts = verdicts
        self._allowance = allowance
        self._since = Answers()
        self._trial: Trial | None = None
        slot.metrics.model_on_probation.set_function(lambda: self.is_on)

    @property
    def is_on(self) -> bool:
        """Whether a model is on probation, and the one before it is kept."""
        return self._trial is not None

    def begin(self, previous: Generation | None, *, accepted: bool) -> None:
        """Note a swap from this generation to one whose model may be accepted.

        While a model is on probation, the next one replaces it there: the one before both stays the one to return to.
        """
        now = Answers.counted(self._slot.metrics)
        served, self._since = now.since(self._since), now
        ends = asyncio.get_running_loop().time() + self._allowance.seconds
        trial, self._trial = self._trial, None
        if trial and not accepted:
            self._trial, trial = Trial(trial.trusted, trial.share, ends), None
        elif previous and served.share is not None and self._is_watched(previous, accepted=accepted):
            self._trial, previous = Trial(previous, served.share, ends), None
        self.retired += [each for each in (previous, trial and trial.trusted) if each]

    def _is_watched(self, previous: Generation, *, accepted: bool) -> bool:
        is_new = self._slot.version != previous.version
        return self._allowance.seconds > 0 and is_new and not accepted and not previous.snapshot.model.limited

    async def run(self) -> Never:
        """Return to the trusted generation if the answers are bad; let go of it once they were good for long enough."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if self._trial:
                await self._look(self._trial)

    async def _look(self, trial: Trial) -> None:
        version = self._slot.version
        assert version  # the one on probation
        accepted = await asyncio.to_thread(self._verdicts.is_accepted, version)
        if self._trial is not trial:  # meanwhile, another model was swapped in
            return
        share = Answers.counted(self._slot.metrics).since(self._since).share
        if share is not None and share > trial.share + self._allowance.excess and not accepted:
            await self._return(trial, share)
        elif accepted or asyncio.get_running_loop().time() > trial.ends:
            self.retired.append(trial.trusted)
            self._trial = None
            await self.tidy()

    async def _return(self, trial: Trial, share: float) -> None:
        """Serve the trusted generation again, with the current policy, and quarantine the other."""
        trusted, reading = trial.trusted, Reading("returned", seconds=dict(trial.trusted.load_seconds))
        offer = await self._slot.offer(trusted.snapshot)
        if self._trial is not trial:  # meanwhile, another model was swapped in
            return
        failed = self._slot.serve(offer, reading, stale=True)
        assert failed  # the one on probation
        self._trial, self._since = None, Answers.counted(self._slot.metrics)
        self.retired.append(failed)
        self._slot.metrics.model_returns.inc()
        error = QuarantinedError(
            f"Model {failed.version} was replaced by {trusted.version}, which was served before it: {share:.1%} of its "
            f"answers were empty or failures, instead of {trial.share:.1%}. If that is right, als-serve accept "
            f"{failed.version} serves it again."
        )
        self.revoke(error, failed.version)
        try:
            await asyncio.to_thread(self._quarantine, failed, trusted)
        except (StateDirectoryError, OutOfResourcesError, OSError) as problem:
            log_event("housekeeping_failed", detail=str(problem))
        del failed  # what is retired is unmapped once nothing refers to it
        await self.tidy()

    def _quarantine(self, failed: Generation, trusted: Generation) -> None:
        self._shelf.mark_used(trusted.snapshot.directory)
        if not self._verdicts.is_accepted(failed.version):  # as it may be since the last look
            self._verdicts.quarantine(failed.version)  # last, because a person may accept the version from then on
