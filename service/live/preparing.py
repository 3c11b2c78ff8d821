"""The preparation of snapshots: imported, mapped into memory and warmed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec

from service.errors import SnapshotDamagedError
from service.live.importing import ImportLimits, import_in_child
from service.live.reading import Reading
from service.model.storage import snapshot as snapshots
from service.model.storage.shelf import Shelf
from service.model.storage.snapshot import Snapshot
from service.model.storage.source import Source
from service.observe.logs import log_event


@dataclass(frozen=True, slots=True)
class Preparation:
    """Takes snapshots off the shelf, after importing them if necessary.

    ``downloaded`` returns how many seconds the download of a file with this sha256 took, None if it was not downloaded.
    """

    shelf: Shelf
    limits: ImportLimits
    downloaded: Callable[[str], float | None] | None = None

    async def obtain(self, source: Source, reading: Reading) -> Snapshot:
        """Open the snapshot of a source, importing it if necessary. Raises ModelRejectedError and its subclasses."""
        with reading.phase("open"):
            found = await asyncio.to_thread(self.shelf.find, source)
        if found:
            log_event("reused", model_version=found.version)
            # The same bytes may have come from another place then.
            return replace(found, manifest=msgspec.structs.replace(found.manifest, source=source))
        await import_in_child(source, self.shelf, self.limits)
        with reading.phase("open"):
            found = await asyncio.to_thread(self.shelf.find, source)
        if not found:
            raise SnapshotDamagedError(f"The snapshot of {source.path} was damaged as soon as it was written.")
        reading.seconds |= found.manifest.seconds
        return found

    async def warm(self, snapshot: Snapshot, reading: Reading) -> None:
        """Bring a snapshot into memory, before it is compared and served."""
        seconds = self.downloaded(snapshot.manifest.source.sha256) if self.downloaded else None
        if seconds is not None:
            reading.seconds["download"] = seconds
        with reading.phase("warm"):
            await asyncio.to_thread(snapshots.warm, snapshot)
