"""One reading of the model file: not before the file is whole, and what is found out on the way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from service.model.storage.source import Signature, look


@dataclass(slots=True)
class Reading:
    """A reload under way: what stood at the path, what it turned out to be, and the seconds by phase."""

    seen: Signature | str
    started: float = field(default_factory=time.perf_counter)
    version: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Take the time of a block."""
        started = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - started, 6)


class Settling:
    """Looks at a path until what stands there is whole: a file that is rewritten in place is let come to rest.

    ``read`` is what was read there last; a file must rest for ``seconds`` if it is that very one, written to since.
    """

    def __init__(self, path: Path, seconds: float) -> None:
        self.seconds = seconds
        self.read: Signature | None = None
        self._path = path

    async def settled(self) -> Signature | str:
        """Look at the file. One that is rewritten in place is let come to rest; a renamed one is whole at once."""
        seen = await asyncio.to_thread(look, self._path)
        earlier: Signature | str | None = None
        while self.rewritten(seen) and seen != earlier:
            await asyncio.sleep(self.seconds)
            earlier, seen = seen, await asyncio.to_thread(look, self._path)
        return seen

    def rewritten(self, seen: Signature | str) -> bool:
        """Say whether this is the very file that was read last, and was written to since."""
        if self.read is None or isinstance(seen, str) or seen == self.read:
            return False
        # A freed inode number is soon given to the next file, but a rename is later than the last write:
        # only where writing was the last thing that happened to this inode, it may go on.
        same_inode = (seen.device, seen.inode) == (self.read.device, self.read.inode)
        return same_inode and seen.ctime_ns == seen.mtime_ns
