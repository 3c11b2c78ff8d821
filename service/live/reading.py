"""One reading of the model file, once it is complete, and the facts of a reload in progress."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from service.live.report import GateResult
from service.model.storage.source import Signature, look


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
    """Waits until the file at a path is complete: a file that is rewritten in place must first come to rest.

    ``read`` is the file that was read last; if it is written to again, it must rest for ``seconds``.
    """

    def __init__(self, path: Path, seconds: float) -> None:
        self.seconds = seconds
        self.read: Signature | None = None
        self._path = path

    async def settled(self) -> Signature | str:
        """Wait until a file rewritten in place has come to rest; a renamed file is complete at once."""
        seen = await asyncio.to_thread(look, self._path)
        earlier: Signature | str | None = None
        while self.rewritten(seen) and seen != earlier:
            await asyncio.sleep(self.seconds)
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
