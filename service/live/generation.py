"""Generations, one of which answers a whole request, and the slot with the current one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from weakref import WeakSet

from service.live.reading import Reading
from service.live.report import FallbackTraining, Served, State, measure_model
from service.model.catalog.assortment import EVERYTHING, Assortment
from service.model.model import Model
from service.model.storage.snapshot import Snapshot
from service.model.titles import Titles
from service.observe.metrics import Metrics

_EARLIER_VERSIONS = 10


@dataclass(frozen=True, slots=True)
class Generation:
    """A served model, its titles, and which of its items may be shown; immutable.

    number: counts the models and titles put into service. loaded_at, load_seconds: when the model was put into service,
    and the seconds of its phases in this process (see :class:`~service.live.report.Reload`). stale: whether the model
    path has another model, or none.
    """

    number: int
    snapshot: Snapshot
    titles: Titles | None
    loaded_at: datetime
    load_seconds: dict[str, float]
    stale: bool
    assortment: Assortment = EVERYTHING

    @property
    def version(self) -> str:
        """Return the model version that every answer names."""
        return self.snapshot.version


@dataclass(eq=False, slots=True)
class Slot:
    """Has the current generation; only its methods replace that reference.

    ``good`` is set once a model with factors is served. ``earlier`` has the versions served before, latest first.
    """

    metrics: Metrics
    current: Generation | None = None
    good: asyncio.Event = field(default_factory=asyncio.Event)
    earlier: list[Served] = field(default_factory=list)
    _titles: Titles | None = None
    _number: int = 0
    _held: WeakSet[Model] = field(default_factory=WeakSet)

    def __post_init__(self) -> None:
        self.metrics.model_snapshots_held.set_function(lambda: len(self._held))

    def serve(self, snapshot: Snapshot, reading: Reading, *, stale: bool = False) -> Generation | None:
        """Serve a model from now on, with the current titles; return the previous generation."""
        with reading.phase("swap"):
            previous, loaded_at = self.current, datetime.now(UTC)
            generation = Generation(self._number + 1, snapshot, self._titles, loaded_at, reading.seconds, stale)
        # Measured first, because whatever raises must do so before the model is served.
        measure_model(self.metrics, snapshot, loaded_at, reading.seconds)
        self.metrics.model_stale.set(stale)
        self._number, self.current = generation.number, generation
        if not snapshot.model.limited:
            self.good.set()
        if previous:
            self._held.add(previous.snapshot.model)
        if previous and previous.version != snapshot.version:
            self.earlier = [Served(previous.version, previous.loaded_at), *self.earlier][:_EARLIER_VERSIONS]
        return previous

    def show_titles(self, titles: Titles) -> None:
        """Show these titles from now on, with any model."""
        self._titles = titles
        self._number += 1
        if self.current:
            self.current = replace(self.current, number=self._number, titles=titles)

    def follow(self, generation: Generation | None, earlier: list[Served]) -> Generation | None:
        """Serve a generation that the keeper serves; return the previous one."""
        previous, self.current, self.earlier = self.current, generation, earlier
        if previous and (generation is None or generation.snapshot is not previous.snapshot):
            self._held.add(previous.snapshot.model)
        return previous

    @property
    def version(self) -> str | None:
        """The served model version, if any."""
        return self.current.version if self.current else None

    @property
    def has_titles(self) -> bool:
        """Whether there are titles."""
        return self._titles is not None

    def mark(self, *, stale: bool) -> None:
        """Note whether the served model is the one at the model path."""
        if self.current and self.current.stale != stale:
            self.current = replace(self.current, stale=stale)
            self.metrics.model_stale.set(stale)


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
