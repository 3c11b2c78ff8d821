"""The interface between the reloader, which is the same for all files, and the loaders for each kind of file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Generic, TypeVar

from service.errors import AlsServeError
from service.live.reading import Reading
from service.live.report import Reload
from service.model.storage.source import Source

T = TypeVar("T")


class Loader(ABC, Generic[T]):
    """What a reloader needs for one kind of file; each method may raise any AlsServeError to reject it.

    part_is_valid: whether a part of a good file may be mistaken for a whole one, so that a file must have come to rest
    before it is read. may_be_empty: whether a file of 0 bytes may be good.
    """

    part_is_valid: ClassVar[bool] = False
    may_be_empty: ClassVar[bool] = False

    @abstractmethod
    async def serves(self, source: Source) -> bool:
        """Return whether this content is already served."""

    @abstractmethod
    async def obtain(self, source: Source, reading: Reading) -> T:
        """Find the earlier import of this content, or import it now."""

    @abstractmethod
    async def warm(self, loaded: T, reading: Reading) -> None:
        """Bring it into memory, before it is compared."""

    @abstractmethod
    def hand_over(self, loaded: T, reading: Reading) -> None:
        """Serve it from now on."""

    @abstractmethod
    def concluded(self, reload: Reload, error: AlsServeError | None) -> None:
        """Report how a reload ended; ``error`` is what rejected or postponed it."""

    @abstractmethod
    async def do_without(self, reason: str) -> None:
        """Serve a fallback for a rejected file, if nothing is served."""

    async def begin(self) -> None:
        """Note that the file is about to be checked for the first time."""

    async def admit(self, loaded: T, reading: Reading) -> None:
        """Compare it with what is served, as the last step before it is served; reject it if it must not be."""

    async def found(self, reading: Reading) -> None:
        """Note that there is a file, before it is read."""

    async def verified(self, source: Source) -> None:
        """Note that it was read completely."""

    async def handed_over(self, loaded: T, reading: Reading) -> None:
        """Clean up, now that it is served."""

    async def look_ended(self) -> None:
        """Do the work that must wait until a reload has ended."""
