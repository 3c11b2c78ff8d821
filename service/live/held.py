"""Earlier versions, opened for requests that name one, so that a client sees one model across a swap."""

from __future__ import annotations

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from service.errors import SnapshotDamagedError, VersionGoneError
from service.live.generation import Generation, Slot
from service.live.policy import Policy
from service.model.catalog.assortment import EVERYTHING
from service.model.storage.shelf import Shelf
from service.model.storage.snapshot import Snapshot, release, warm
from service.model.storage.verdicts import Verdicts

#: How many versions are held besides the served one.
MOST: Final = 2
#: A version that nobody has named for so long is let go of: its files take space on the disk even if they are removed.
IDLE_SECONDS: Final = 600.0


@dataclass(slots=True, eq=False)
class _Held:
    """A generation, the policy that it was made under, when it was last asked for, and what will let go of it."""

    generation: Generation
    policy: Policy
    asked: float
    expiry: asyncio.TimerHandle


class HeldVersions:
    """Opens versions from the shelf, in a thread, and holds those that were asked for last.

    They answer under the policy of the moment. The numbers of their generations are negative, another one for each
    version and policy, so that a cache does not mistake their answers for others'.
    """

    def __init__(self, slot: Slot, shelf: Shelf) -> None:
        self._slot = slot
        self._shelf = shelf
        self._verdicts = Verdicts(shelf.root.parent)
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._making: dict[str, asyncio.Task[None]] = {}
        self._numbers = itertools.count(-1, -1)
        slot.metrics.model_versions_held.set_function(lambda: len(self._held))

    async def generation(self, version: str) -> Generation:
        """Return the generation of a version that was served, under the current policy.

        Raises VersionGoneError, also if it is held but was quarantined meanwhile.
        """
        if await asyncio.to_thread(self._verdicts.is_quarantined, version):
            raise VersionGoneError(f"Version {version} is quarantined. Begin again without a version.")
        while (held := self._held.get(version)) is None or held.policy is not self._slot.policy:
            await self._made(version)
        self._held.move_to_end(version)
        held.asked = asyncio.get_running_loop().time()
        return held.generation

    async def _made(self, version: str) -> None:
        """Make a generation, once for all who wait for it; one who leaves does not stop that."""
        if version not in self._making:
            self._making[version] = asyncio.create_task(self._make(version))
            self._making[version].add_done_callback(lambda made: self._end(version, made))
        await asyncio.shield(self._making[version])

    def _end(self, version: str, made: asyncio.Task[None]) -> None:
        del self._making[version]
        if not made.cancelled():
            made.exception()  # those who still wait get it

    async def _make(self, version: str) -> None:
        held, policy = self._held.get(version), self._slot.policy
        snapshot = held.generation.snapshot if held else await asyncio.to_thread(self._opened, version)
        known = held.generation.assortment if held else EVERYTHING
        assortment = await asyncio.to_thread(policy.assort, snapshot.model, known)
        if held := self._held.pop(version, held):
            held.expiry.cancel()
        loop = asyncio.get_running_loop()
        number, expiry = next(self._numbers), loop.call_later(IDLE_SECONDS, self._expire, version)
        generation = Generation(number, snapshot, datetime.now(UTC), {}, stale=True, assortment=assortment, arm="named")
        self._held[version] = _Held(generation, policy, loop.time(), expiry)
        self._let_go([*self._held][:-MOST])

    def _opened(self, version: str) -> Snapshot:
        """Map a version into memory that was served. Raises VersionGoneError."""
        served = self._shelf.served()
        try:
            snapshot = self._shelf.open(served[version])
        except (KeyError, SnapshotDamagedError, OSError):
            others = (kept for kept in served if kept != version and not self._verdicts.is_quarantined(kept))
            named = ", ".join(others) or "none"
            raise VersionGoneError(
                f"Version {version} is not kept any more; {named} can be named. Begin again without a version."
            ) from None
        warm(snapshot)
        return snapshot

    def _expire(self, version: str) -> None:
        loop, held = asyncio.get_running_loop(), self._held[version]
        if (left := held.asked + IDLE_SECONDS - loop.time()) > 0:
            held.expiry = loop.call_later(left, self._expire, version)
        else:
            self._let_go([version])

    def _let_go(self, versions: Iterable[str]) -> None:
        """Drop the last references to versions in a thread, because unmapping gigabytes is slow."""
        gone = [self._held.pop(version) for version in versions]
        for held in gone:
            held.expiry.cancel()
        if gone:
            asyncio.get_running_loop().run_in_executor(None, _release, gone)


def _release(gone: list[_Held]) -> None:
    while gone:
        release(gone.pop().generation.snapshot)
