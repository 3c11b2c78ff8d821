"""How a worker follows the keeper: it serves what the keeper serves, and never anything older."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import msgspec

from service.errors import SnapshotDamagedError
from service.live.generation import Generation
from service.live.status import Status
from service.model.storage.snapshot import Snapshot, open_snapshot, release, warm
from service.model.titles import Titles, open_titles
from service.observe.logs import log_event
from service.workers.messages import Kept, News


class Follower:
    """Keeps a worker's ``status`` equal to the keeper's."""

    def __init__(self, status: Status) -> None:
        self._status = status

    async def take(self, news: News) -> None:
        """Answer from these news from now on.

        If a snapshot cannot be opened, the generation stays: most likely, a newer snapshot has taken its place on disk.
        Raises SnapshotDamagedError, OSError if there is no generation yet.
        """
        status, generation = self._status, self._status.slot.current
        try:
            generation = await asyncio.to_thread(_opened, news.generation, generation)
        except (SnapshotDamagedError, OSError) as error:
            if generation is None:
                raise
            log_event("not_followed", detail=str(error))
        previous = [status.slot.follow(generation, news.earlier)]
        status.reloads, status.training.report, status.following = news.reloads, news.training, news.following
        await asyncio.to_thread(_release, previous, generation)


def _release(previous: list[Generation | None], current: Generation | None) -> None:
    """Drop the last reference to the previous model, in a thread: unmapping gigabytes is slow."""
    generation = previous.pop()
    if generation and (current is None or generation.snapshot is not current.snapshot):
        release(generation.snapshot)


def _opened(kept: Kept | None, held: Generation | None) -> Generation | None:
    """Map a generation into memory, except what is mapped already. Raises SnapshotDamagedError, OSError."""
    if kept is None:
        return None
    if held and Kept.of(held) == kept:
        return held
    snapshot, titles = _snapshot(kept, held), _titles(kept, held)
    return Generation(kept.number, snapshot, titles, kept.loaded_at, kept.load_seconds, kept.stale)


def _snapshot(kept: Kept, held: Generation | None) -> Snapshot:
    if held and (held.snapshot.directory, held.snapshot.manifest.source) == (kept.snapshot, kept.source):
        return held.snapshot
    opened = open_snapshot(kept.snapshot, ids_as_text=kept.ids_as_text)
    warm(opened)
    return replace(opened, manifest=msgspec.structs.replace(opened.manifest, source=kept.source))


def _titles(kept: Kept, held: Generation | None) -> Titles | None:
    if kept.titles is None:
        return None
    if held and held.titles and held.titles.directory == kept.titles:
        return held.titles
    return open_titles(kept.titles)
