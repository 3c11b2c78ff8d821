"""One reading of the model file, once it is complete, and the facts of a reload in progress."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from service.live.report import GateResult
from service.model.storage.source import Signature, look, path_of

#: How long a small file must rest that was probably renamed.
_TICK_SECONDS = 0.25


@dataclass(slots=True)
class Reading:
    """A reload in progress: the file found at the path, its version, the seconds by phase, and what gates found."""

    seen: Signature | str
    started: float = field(default_factory=time.perf_counter)
    version: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    gates: list[GateResult] = field(default_factory=list)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure the time of a block."""
        started = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - started, 6)


class Settling:
    """Waits until the file at a path is complete.

    A file that was renamed into place is complete at once: a rename changes the ctime, after the last write. A file
    that is written where it stands must rest for ``seconds`` first: always if it was read before (``read`` is what was
    read last), and if new, where one is ``careful``, because a part of a good file may be good, too.
    """

    def __init__(self, path: Path, seconds: float, *, careful: bool = False) -> None:
        self.seconds = seconds
        self.read: Signature | None = None
        self._path = path
        self._careful = careful

    async def settled(self) -> Signature | str:
        """Wait until the file has come to rest, if it must; return what is there then."""
        seen = await asyncio.to_thread(look, self._path)
        earlier: Signature | str | None = None
        while seen != earlier and (rest := await self._rest(seen)):
            await asyncio.sleep(rest)
            earlier, seen = seen, await asyncio.to_thread(look, self._path)
        return seen

    def rewritten(self, seen: Signature | str) -> bool:
        """Return whether this is the file that was read last, and was written to since."""
        if self.read is None or isinstance(seen, str) or seen == self.read:
            return False
        # A freed inode number is soon reused, but a rename comes after the last write: writing may only continue if a
        # write was the inode's last change.
        same_inode = (seen.device, seen.inode) == (self.read.device, self.read.inode)
        return same_inode and seen.ctime_ns == seen.mtime_ns

    async def _rest(self, seen: Signature | str) -> float:
        """Return for how many seconds a file must rest."""
        if self.rewritten(seen):
            return self.seconds
        if not self._careful or isinstance(seen, str) or seen == self.read or seen.ctime_ns != seen.mtime_ns:
            return 0.0
        return self.seconds if await asyncio.to_thread(_is_in_place, seen) else min(self.seconds, _TICK_SECONDS)


def _is_in_place(seen: Signature) -> bool:
    """Return whether a new file is probably written where it stands: it is empty, or was written to after it appeared.

    Otherwise it may have been written and renamed within one tick of the clock of files, some milliseconds.
    """
    return not seen.size or seen.mtime_ns > _changed_ns(path_of(seen.realpath).parent)


def _changed_ns(directory: Path) -> int:
    """Return when a name last appeared in a directory, or disappeared."""
    try:
        return directory.stat().st_mtime_ns
    except OSError:  # it is gone, and so is the file
        return 0
