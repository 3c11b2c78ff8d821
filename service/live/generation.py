"""Generations, one of which answers a whole request, and the slot with the current one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from weakref import WeakSet

import msgspec
from msgspec import UNSET, UnsetType

from service.live.policy import Policy
from service.live.reading import Reading
from service.live.report import (
    FallbackTraining,
    Served,
    State,
    measure_assortment,
    measure_candidate,
    measure_model,
)
from service.model.catalog.assortment import EVERYTHING, Assortment
from service.model.factors import Id
from service.model.model import Model
from service.model.rollout.arms import Arm, Counted, Experiment
from service.model.storage.snapshot import Snapshot
from service.observe.metrics import Metrics

_EARLIER_VERSIONS = 10


@dataclass(frozen=True, slots=True)
class Generation:
    """A served model, and what may be shown of it; immutable.

    number: counts what was put into service: models, and changes of the policy and of the candidate. loaded_at,
    load_seconds: when the model was put into service, and the seconds of its phases in this process (see
    :class:`~service.live.report.Reload`). stale: whether the model path has another model, or none. candidate: what
    some users get instead, if anything; it has a generation of its own, of the other ``arm``. An earlier version that a
    request names is of neither arm.
    """

    number: int
    snapshot: Snapshot
    loaded_at: datetime
    load_seconds: dict[str, float]
    stale: bool
    assortment: Assortment = EVERYTHING
    candidate: Candidate | None = None
    arm: Counted = "served"

    @property
    def version(self) -> str:
        """Return the model version that every answer names."""
        return self.snapshot.version

    @property
    def shown_arm(self) -> Arm | UnsetType:
        """Return the arm as answers name it: while there is a candidate."""
        return UNSET if self.arm == "named" or (self.candidate is None and self.arm == "served") else self.arm

    def of(self, user: Id | None) -> Generation:
        """Return the generation of a user's arm; whatever is not for a user is of the served one."""
        candidate = self.candidate
        if candidate is None or user is None or candidate.experiment.arm_of(user) == "served":
            return self
        return candidate.generation

    def for_everybody(self) -> Generation:
        """Return this generation with no user in the other arm."""
        if self.candidate is None:
            return self
        nobody = msgspec.structs.replace(self.candidate.experiment, percent=0.0)
        return replace(self, candidate=replace(self.candidate, experiment=nobody))

    def user_row(self, asked: Id) -> int | None:
        """Return a user's row, None for one who is not in the model, or hidden."""
        row, hidden = self.snapshot.model.user_ids.row(asked), self.assortment.hidden
        return None if row is not None and hidden is not None and hidden[row] else row


@dataclass(frozen=True, slots=True)
class Candidate:
    """A second model and what may be shown of it, and the experiment that says which users get it."""

    generation: Generation
    experiment: Experiment


@dataclass(frozen=True, slots=True, eq=False)
class Offer:
    """A model (None if there is none), a policy, and what it allows to be shown of the model; see :meth:`Slot.offer`.

    number: the slot's when this was worked out. beside: what the policy allows of the candidate.
    """

    number: int
    snapshot: Snapshot | None
    policy: Policy
    assortment: Assortment
    beside: Assortment


@dataclass(eq=False, slots=True)
class Slot:
    """Has the current generation; only its methods replace that reference.

    ``current`` answers requests. It is None while ``policy`` lacks a part, even if a model is ``loaded``: what must not
    be shown is not known then. ``good`` is set once a model with factors is loaded. ``earlier`` has the versions loaded
    before, latest first. ``candidate`` is the loaded candidate, for the users of the ``experiment``.
    """

    metrics: Metrics
    policy: Policy = field(default_factory=Policy)
    current: Generation | None = None
    loaded: Generation | None = None
    good: asyncio.Event = field(default_factory=asyncio.Event)
    earlier: list[Served] = field(default_factory=list)
    candidate: Generation | None = None
    experiment: Experiment = field(default_factory=Experiment)
    _number: int = 0
    _held: WeakSet[Model] = field(default_factory=WeakSet)

    def __post_init__(self) -> None:
        self.metrics.model_snapshots_held.set_function(lambda: len(self._held))

    async def offer(
        self, snapshot: Snapshot | None = None, change: Callable[[Policy], Policy] = lambda policy: policy
    ) -> Offer:
        """Work out what may be shown of a model, else of the loaded one, after a change of the policy.

        That is done in a thread, and again if the slot has changed by then. So an offer is up to date when it is
        returned, and as long as the event loop does nothing else: serve it, or follow it, before the next await.
        """
        while True:
            number, loaded, beside, policy = self._number, self.loaded, self.candidate, change(self.policy)
            served = snapshot or (loaded.snapshot if loaded else None)
            assortment = await asyncio.to_thread(_assort, policy, served, loaded)
            of_candidate = await asyncio.to_thread(_assort, policy, beside.snapshot if beside else None, beside)
            if number == self._number:
                return Offer(number, served, policy, assortment, of_candidate)

    def serve(self, offer: Offer, reading: Reading, *, stale: bool = False) -> Generation | None:
        """Serve the model of an offer from now on; return the previous generation."""
        snapshot = offer.snapshot
        assert snapshot is not None
        assert offer.number == self._number
        with reading.phase("swap"):
            previous, loaded_at = self.loaded, datetime.now(UTC)
            generation = Generation(
                self._number + 1, snapshot, loaded_at, reading.seconds, stale, offer.assortment, self._paired()
            )
        # Measured first, because whatever raises must do so before the model is served.
        measure_model(self.metrics, snapshot, loaded_at, reading.seconds)
        self.metrics.model_stale.set(stale)
        self._put(generation)
        if not snapshot.model.limited:
            self.good.set()
        if previous:
            self._held.add(previous.snapshot.model)
        self._held.discard(snapshot.model)  # an earlier one that is served again
        if previous and previous.version != snapshot.version:
            self.earlier = [Served(previous.version, previous.loaded_at), *self.earlier][:_EARLIER_VERSIONS]
        return previous

    def obey(self, offer: Offer) -> None:
        """Follow the policy of an offer from now on, with any model."""
        assert offer.number == self._number
        self.policy = offer.policy
        self._number += 1
        if self.candidate:
            self.candidate = replace(self.candidate, number=self._number, assortment=offer.beside)
        self._put_beside(offer.assortment)

    def try_out(self, offer: Offer, reading: Reading) -> Generation | None:
        """Answer the users of the experiment from the model of an offer from now on; return the previous candidate."""
        snapshot = offer.snapshot
        assert snapshot is not None
        assert offer.number == self._number
        self._number += 1
        loaded_at, seconds, assortment = datetime.now(UTC), reading.seconds, offer.assortment
        return self._change_candidate(
            Generation(self._number, snapshot, loaded_at, seconds, stale=False, assortment=assortment, arm="candidate")
        )

    def end_trial(self) -> Generation | None:
        """Answer all users from the served model from now on; return the candidate that some had until now."""
        return self._change_candidate(None)

    def run_experiment(self, experiment: Experiment) -> None:
        """Give the candidate to the users of another experiment from now on."""
        self.experiment = experiment
        self._put_beside()

    def _change_candidate(self, candidate: Generation | None) -> Generation | None:
        previous, self.candidate = self.candidate, candidate
        if previous:
            self._held.add(previous.snapshot.model)
        if candidate:
            self._held.discard(candidate.snapshot.model)
        self._put_beside()
        return previous

    def _put_beside(self, assortment: Assortment | None = None) -> None:
        """Put the served model next to the candidate, if there are any, under another number; see :meth:`_put`."""
        self._number += 1
        measure_candidate(self.metrics, self.candidate.snapshot if self.candidate else None, self.experiment)
        if loaded := self.loaded:
            assortment = loaded.assortment if assortment is None else assortment
            self._put(replace(loaded, number=self._number, assortment=assortment, candidate=self._paired()))

    def _paired(self) -> Candidate | None:
        return Candidate(self.candidate, self.experiment) if self.candidate else None

    def _put(self, generation: Generation) -> None:
        """Answer from a generation from now on, if nothing is missing."""
        self._number, self.loaded = generation.number, generation
        self.current = None if self.policy.missing else generation
        self.metrics.model_ready.set(self.current is not None)
        measure_assortment(self.metrics, generation.assortment)

    def follow(self, generation: Generation | None, earlier: list[Served], policy: Policy) -> Generation | None:
        """Serve a generation that the keeper serves, under its policy; return the previous one."""
        previous, self.current, self.earlier, self.policy = self.current, generation, earlier, policy
        self._held.update(snapshot.model for snapshot in snapshots_of(previous, without=generation))
        return previous

    @property
    def version(self) -> str | None:
        """The loaded model's version, if any."""
        return self.loaded.version if self.loaded else None

    def mark(self, *, stale: bool) -> None:
        """Note whether the served model is the one at the model path."""
        if self.loaded and self.loaded.stale != stale:
            self._put(replace(self.loaded, stale=stale))
            self.metrics.model_stale.set(stale)


def snapshots_of(generation: Generation | None, without: Generation | None = None) -> list[Snapshot]:
    """Return the snapshots of a generation and of its candidate, except those that another one has, too."""
    arms = [generation, generation and generation.candidate and generation.candidate.generation]
    others = snapshots_of(without) if without else []
    return [arm.snapshot for arm in arms if arm and all(arm.snapshot is not other for other in others)]


def _assort(policy: Policy, snapshot: Snapshot | None, held: Generation | None) -> Assortment:
    """Return what a policy allows of a model, if there is one; ``held`` may have what was allowed of it before."""
    if snapshot is None:
        return EVERYTHING
    return policy.assort(snapshot.model, held.assortment if held and held.snapshot is snapshot else EVERYTHING)


def state_of(current: Generation | None, training: FallbackTraining) -> State:
    """Return "loading", or "training", until a model is served.

    After that, return "limited" if the model has no factors, "ready" if it is the one at the model path, and "stale" if
    the path has a rejected file or none. A stale model serves normally, but people should know.
    """
    if current is None:
        return "training" if training.is_running else "loading"
    if current.snapshot.model.limited:
        return "limited"
    return "stale" if current.stale else "ready"
