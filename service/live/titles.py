"""Keeping the titles of items current: the file is looked at again and again, whatever becomes of the model."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Never

from service.errors import (
    BadTitlesError,
    ModelRejectedError,
    OutOfResourcesError,
    SnapshotDamagedError,
    SourceChangedError,
    SourceMissingError,
    StateDirectoryError,
)
from service.live.child import ImportLimits, import_in_child
from service.live.reading import Settling
from service.live.store import ModelStore
from service.model.storage.shelf import Shelf
from service.model.storage.source import Signature, Source, identify
from service.model.titles import Titles, open_titles
from service.observe.logs import log_event

#: A full disk is no fault of the titles: the same file is tried again.
_STATE_DIRECTORY_RETRY_SECONDS = 60.0
_FIRST_RETRY_SECONDS = 1.0


class TitleKeeper:
    """Gives the store the titles of the file at ``path``; a bad file changes nothing that is shown.

    Where there is no good file at the start, those that were shown before are taken from the shelf.
    """

    def __init__(self, store: ModelStore, path: Path, shelf: Shelf, limits: ImportLimits, watch_seconds: float) -> None:
        self._store = store
        self._path = path
        self._shelf = shelf
        self._limits = limits
        self._watch_seconds = watch_seconds
        self._settling = Settling(path, watch_seconds)
        self._concluded: Signature | str | None = None

    async def run(self) -> Never:
        """Look every ``watch_seconds``; nothing else changes the store's titles."""
        while True:
            await self._look()
            await asyncio.sleep(self._watch_seconds)

    async def _look(self) -> None:
        seen = await self._settling.settled()
        if seen == self._concluded:
            return
        self._concluded = seen
        try:
            self._store.titles = titles = await self._titles()
            log_event("titles", count=len(titles), path=str(self._path))
        except SourceChangedError:
            return  # the next look finds another signature
        except (ModelRejectedError, BadTitlesError, OutOfResourcesError) as error:
            log_event("titles_rejected", detail=str(error), reason=error.code)
            await self._do_without(error)
        except BaseException:
            self._concluded = None  # who runs us starts us again, and then it is tried again
            raise

    async def _titles(self) -> Titles:
        source = await self._identify()
        found = await asyncio.to_thread(self._find, source)
        if found is None:
            await import_in_child(source, self._shelf, self._limits, content="titles")
            found = await asyncio.to_thread(open_titles, self._shelf.place_of(source))
            with suppress(OSError):  # what could not be removed is, when the next titles come
                await asyncio.to_thread(self._shelf.tidy)
        return found

    async def _identify(self) -> Source:
        try:
            source = await asyncio.to_thread(identify, self._path)
        except SourceMissingError:
            raise BadTitlesError(f"There is no file at {self._path}; put it there, or unset ALS_ITEM_TITLES.") from None
        self._settling.read = self._concluded = source.signature
        return source

    def _find(self, source: Source) -> Titles | None:
        """Open what was made of this file before; what is damaged is discarded."""
        place = self._shelf.place_of(source)
        if not place.exists():
            return None
        try:
            return open_titles(place)
        except (SnapshotDamagedError, OSError):
            self._shelf.discard(place)
            return None

    async def _do_without(self, error: ModelRejectedError | BadTitlesError | OutOfResourcesError) -> None:
        if self._store.titles is None:
            self._store.titles = await asyncio.to_thread(self._last)
        if isinstance(error, StateDirectoryError):
            self._concluded = None
            await asyncio.sleep(_STATE_DIRECTORY_RETRY_SECONDS)
        if isinstance(error, OutOfResourcesError):
            self._concluded = None
            await asyncio.sleep(_FIRST_RETRY_SECONDS)

    def _last(self) -> Titles | None:
        """Open the titles that were shown last."""
        for place in self._shelf.places():
            with suppress(SnapshotDamagedError, OSError):
                return open_titles(place)
        return None
