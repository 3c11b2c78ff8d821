"""The loader of item titles: from the titles file through its own shelf to the slot."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

from service.errors import (
    AlsServeError,
    BadTitlesError,
    SnapshotDamagedError,
    SourceMissingError,
)
from service.live.generation import Slot
from service.live.importing import ImportLimits, import_in_child
from service.live.loader import Loader
from service.live.reading import Reading
from service.live.report import Reload
from service.model.storage.shelf import Shelf, discarding_damage, unwritable
from service.model.storage.source import Source
from service.model.titles import Titles, open_titles
from service.observe.logs import log_event


class TitlesLoader(Loader[Titles]):
    """Loads titles files into the slot; a bad file changes nothing.

    If there is no good file at the start, the last titles are taken from the shelf.
    """

    def __init__(self, path: Path, slot: Slot, shelf: Shelf, limits: ImportLimits) -> None:
        self._path = path
        self._slot = slot
        self._shelf = shelf
        self._limits = limits
        self._shown: str | None = None
        self._taken = ""

    def serves(self, source: Source) -> bool:
        """Return whether these titles are already shown."""
        return self._shown == source.sha256

    async def obtain(self, source: Source, reading: Reading) -> Titles:
        """Open the earlier import of this file, or import it now. Raises BadTitlesError, StateDirectoryError."""
        self._taken = source.sha256
        found = await asyncio.to_thread(self._find, source)
        if found is None:
            await import_in_child(source, self._shelf, self._limits, content="titles")
            found = await asyncio.to_thread(open_titles, self._shelf.place_of(source))
        return found

    async def warm(self, loaded: Titles, reading: Reading) -> None:
        """Do nothing: opening the titles has read them."""

    def hand_over(self, loaded: Titles, reading: Reading) -> None:
        """Show them from now on."""
        self._slot.show_titles(loaded)
        self._shown = self._taken

    async def handed_over(self, loaded: Titles, reading: Reading) -> None:
        """Log how many there are, and remove the previous ones."""
        log_event("titles", count=len(loaded), path=str(self._path))
        with suppress(OSError):  # leftovers are removed when the next titles arrive
            await asyncio.to_thread(self._shelf.tidy)

    def concluded(self, reload: Reload, error: AlsServeError | None) -> None:
        """Log why a file was rejected."""
        if reload.outcome != "rejected":
            return
        if isinstance(error, SourceMissingError):
            error = BadTitlesError(f"There is no file at {self._path}; put it there, or unset ALS_ITEM_TITLES.")
        log_event("titles_rejected", detail=str(error), reason=error.code if error else "")

    async def do_without(self, reason: str) -> None:
        """Show the titles that were shown last, if none are shown."""
        if not self._slot.has_titles and (last := await asyncio.to_thread(self._last)):
            self._slot.show_titles(last)

    def _find(self, source: Source) -> Titles | None:
        """Open the earlier import of this file; a damaged one is discarded.

        Raises OutOfResourcesError, StateDirectoryError.
        """
        place = self._shelf.place_of(source)
        if not os.path.lexists(place):
            return None
        try:
            with discarding_damage(self._shelf, place):
                return open_titles(place)
        except OSError as error:
            raise unwritable(place, error) from None
        return None

    def _last(self) -> Titles | None:
        """Open the titles that were shown last."""
        for place in self._shelf.places():
            with suppress(SnapshotDamagedError, OSError):
                return open_titles(place)
        return None
