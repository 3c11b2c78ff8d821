"""A kept model as tests look at it: what its slot, its reloader and its fallback say, in one place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Never

from service.live.generation import Generation, Slot
from service.live.importing import ImportLimits
from service.live.models import Live, Rollout, keep_model
from service.live.preparing import Preparation
from service.live.report import Reload, Served, State, Training
from service.model.storage.shelf import Shelf
from service.model.storage.snapshot import Snapshot
from service.observe.metrics import Metrics


class Store:
    """What keeps the model at a path served."""

    def __init__(
        self,
        path: Path,
        shelf: Shelf,
        limits: ImportLimits,
        metrics: Metrics,
        *,
        settle_seconds: float = 2.0,
        downloaded: Callable[[str], float | None] | None = None,
        rollout: Rollout | None = None,
    ) -> None:
        self.path = path
        self.metrics = metrics
        self._number = 0
        preparation = Preparation(shelf, limits, downloaded)
        self.live: Live = keep_model(path, preparation, metrics, settle_seconds, rollout)

    @property
    def slot(self) -> Slot:
        """Return what holds the generation."""
        return self.live.slot

    @property
    def current(self) -> Snapshot | None:
        """Return the served snapshot."""
        return self.slot.current.snapshot if self.slot.current else None

    @current.setter
    def current(self, snapshot: Snapshot | None) -> None:
        """Serve a snapshot without any of the ways that lead there."""
        now = datetime.now(UTC)
        self._number += 1
        self.slot.current = self.slot.loaded = (
            Generation(self._number, snapshot, now, {}, stale=True) if snapshot else None
        )

    @property
    def good(self) -> asyncio.Event:
        """Return what is set once a model with factors is served."""
        return self.slot.good

    @property
    def state(self) -> State:
        """Return the state of the served model."""
        return self.live.state

    @property
    def training(self) -> Training | None:
        """Return the state of the fallback training."""
        return self.live.training.report

    @training.setter
    def training(self, training: Training | None) -> None:
        """Report a training."""
        self.live.training.report = training

    @property
    def last_reload(self) -> Reload | None:
        """Return how the last look at a changed file ended."""
        return self.live.reloader.last

    @property
    def history(self) -> list[Served]:
        """Return the versions served before."""
        return self.slot.earlier

    @property
    def loaded_at(self) -> datetime | None:
        """Return when the served model was put into service."""
        return self.slot.current.loaded_at if self.slot.current else None

    @property
    def load_seconds(self) -> dict[str, float]:
        """Return the phases that the served model went through."""
        return self.slot.current.load_seconds if self.slot.current else {}

    @property
    def is_idle(self) -> bool:
        """Whether every request for a look was taken up."""
        return not self.live.reloader._requested.is_set()

    def request_reload(self) -> None:
        """Ask for a look at the file."""
        self.live.reloader.request()

    async def look(self) -> None:
        """Have the file looked at."""
        await self.live.reloader.look()

    def stand_in(self, *paths: Path) -> None:
        """Offer files in place of the one at the path."""
        self.live.fallback.stand_in(*paths)

    async def run(self) -> Never:
        """Keep the model current."""
        await self.live.reloader.run()

    async def load(self) -> Snapshot:
        """Take the file that is there, once."""
        await self.live.reloader.load()
        assert self.current
        return self.current
