"""The loaders of what makes up the policy: each from its file, through its own shelf, to the slot."""

from __future__ import annotations

import asyncio
import os
from abc import abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np

from service.errors import AlsServeError, BadListError, SnapshotDamagedError, SourceMissingError
from service.live.generation import Offer, Slot
from service.live.loader import Loader
from service.live.policy import SETTINGS, Part
from service.live.reading import Reading
from service.live.report import Reload
from service.model.catalog.catalog import Catalog
from service.model.catalog.id_list import IdList, open_id_list, read_id_list, write_id_list
from service.model.storage.shelf import Shelf, discarding_damage, unwritable
from service.model.storage.snapshot import publish
from service.model.storage.source import Source, opened, path_of
from service.observe.logs import log_event

#: How often to look at these small files: a change must count within a second, with or without file events.
LOOK_SECONDS = 0.25

ContentT = TypeVar("ContentT", Catalog, IdList)


class PolicyLoader(Loader[ContentT]):
    """Loads one part of the policy into the slot; a bad file changes nothing.

    If there is no good file at the start, the last good one is taken from the shelf.
    """

    part_is_valid = True
    missing_error: ClassVar[type[AlsServeError]] = BadListError

    def __init__(self, part: Part, path: Path, slot: Slot, shelf: Shelf) -> None:
        self._part = part
        self._path = path
        self._slot = slot
        self._shelf = shelf
        self._used: str | None = None
        self._taken = ""
        self._offer: Offer | None = None

    @abstractmethod
    def _open(self, place: Path) -> ContentT:
        """Open what was imported. Raises SnapshotDamagedError, OSError."""

    @abstractmethod
    async def _import(self, source: Source) -> ContentT:
        """Import a file to the shelf, and open it there. Raises any AlsServeError that rejects it."""

    async def serves(self, source: Source) -> bool:
        """Return whether this content is already in force."""
        return self._used == source.sha256

    async def obtain(self, source: Source, reading: Reading) -> ContentT:
        """Open the earlier import of this file, or import it now."""
        self._taken = source.sha256
        found = await asyncio.to_thread(self._find, source)
        return await self._import(source) if found is None else found

    async def warm(self, loaded: ContentT, reading: Reading) -> None:
        """Do nothing: opening it has read it."""

    async def admit(self, loaded: ContentT, reading: Reading) -> None:
        """Work out what it means for the model."""
        self._offer = await self._slot.offer(change=lambda policy: policy.having(self._part, loaded))

    def hand_over(self, loaded: ContentT, reading: Reading) -> None:
        """Obey it from now on."""
        assert self._offer
        self._slot.obey(self._offer)
        self._offer, self._used = None, self._taken
        self._slot.metrics.policy_loaded_timestamp.labels(self._part).set_to_current_time()

    async def handed_over(self, loaded: ContentT, reading: Reading) -> None:
        """Log what it has, and remove the previous one."""
        await self._announce(loaded)
        with suppress(OSError):  # leftovers are removed when the next file arrives
            await asyncio.to_thread(self._shelf.tidy)

    @abstractmethod
    async def _announce(self, loaded: ContentT) -> None:
        """Log what is in force now."""

    def concluded(self, reload: Reload, error: AlsServeError | None) -> None:
        """Count the reload, and log why a file was rejected."""
        metrics = self._slot.metrics
        metrics.policy_reloads.labels(self._part, reload.outcome).inc()
        if reload.outcome != "postponed":  # nothing is known about the file then
            metrics.policy_stale.labels(self._part).set(reload.outcome == "rejected")
        if reload.outcome == "rejected" and error:
            setting = SETTINGS[self._part]
            if isinstance(error, SourceMissingError):
                error = self.missing_error(f"There is no file at {self._path}; put it there, or unset {setting}.")
            log_event("policy_rejected", detail=str(error), reason=error.code, setting=setting)

    async def do_without(self, reason: str) -> None:
        """Obey what was in force last, before this process started, if nothing is."""
        if getattr(self._slot.policy, self._part) is not None:
            return
        last = await asyncio.to_thread(self._last)
        if last is not None:
            self._slot.obey(await self._slot.offer(change=lambda policy: policy.having(self._part, last)))
            log_event("policy_resumed", setting=SETTINGS[self._part], count=len(last), reason=reason)

    def _find(self, source: Source) -> ContentT | None:
        """Open the earlier import of this file; a damaged one is discarded.

        Raises OutOfResourcesError, StateDirectoryError.
        """
        place = self._shelf.place_of(source)
        if not os.path.lexists(place):
            return None
        try:
            with discarding_damage(self._shelf, place):
                found = self._open(place)
                self._shelf.mark_used(place)
                return found
        except OSError as error:
            raise unwritable(place, error) from None
        return None

    def _last(self) -> ContentT | None:
        """Open what was in force last."""
        for place in self._shelf.places():
            with suppress(SnapshotDamagedError, OSError):  # then an earlier one may be whole
                return self._open(place)
        return None


class ListLoader(PolicyLoader[IdList]):
    """Loads a list of ids, of unavailable items or of hidden users."""

    may_be_empty = True

    def _open(self, place: Path) -> IdList:
        return open_id_list(place)

    async def _import(self, source: Source) -> IdList:
        return await asyncio.to_thread(_import_id_list, source, self._shelf)

    async def _announce(self, loaded: IdList) -> None:
        known = await asyncio.to_thread(self._count_known, loaded)
        log_event("list", setting=SETTINGS[self._part], path=str(self._path), count=len(loaded), known=known)

    def _count_known(self, listed: IdList) -> int:
        if self._slot.loaded is None:
            return 0
        model = self._slot.loaded.snapshot.model
        ids = model.user_ids if self._part == "hidden_users" else model.item_ids
        return int(np.count_nonzero(ids.rows(listed.ids) >= 0))


def _import_id_list(source: Source, shelf: Shelf) -> IdList:
    """Read a list, write it to the shelf and open it there; plain text needs no child.

    Raises BadListError, and the errors of reading a source and of writing to a shelf.
    """
    path = path_of(source.path)
    with opened(path, source.signature) as file:
        listed = read_id_list(path, file)
    place = shelf.place_of(source)
    with shelf.staging() as staged:
        try:
            write_id_list(staged, listed, source)
            publish(staged, place)
        except OSError as error:
            raise unwritable(shelf.root, error) from None
    return open_id_list(place)
