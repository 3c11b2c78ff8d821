"""The watcher notices changes of a file: events are hints, regular checks are the truth."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Never

from watchfiles import awatch

from service.live.background import set_within
from service.model.storage.source import Signature, look
from service.observe.logs import log_event
from service.observe.metrics import Metrics

_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0
#: Milliseconds over which events are combined into one hint.
_DEBOUNCE_MS = 200

#: The directories to watch, each with an identity that shows when it was replaced.
Places = dict[Path, tuple[int, int]]


class Watcher:
    """Requests a reload whenever the file at the path changes."""

    def __init__(self, path: Path, request: Callable[[], None], watch_seconds: float, metrics: Metrics) -> None:
        self._path = path
        self._request = request
        self._watch_seconds = watch_seconds
        self._metrics = metrics
        self._hinted = asyncio.Event()
        self._moved = asyncio.Event()
        self._watched: Places = {}

    async def run(self) -> Never:
        """Check every ``watch_seconds``, and on every event in the file's directory."""
        if await asyncio.to_thread(is_single_file_mount, self._path):
            log_event("single_file_mount", path=self._path)
        hints = asyncio.create_task(self._keep_hinting())
        try:
            await self._keep_looking()
        finally:
            hints.cancel()
            with suppress(asyncio.CancelledError):
                await hints

    async def _keep_looking(self) -> Never:
        seen: Signature | str | None = None
        while True:
            now = await asyncio.to_thread(look, self._path)
            if now != seen:
                self._request()
            seen = now
            if self._watched != await asyncio.to_thread(places, self._path):
                self._moved.set()
            await set_within(self._watch_seconds, self._hinted)
            self._hinted.clear()

    async def _keep_hinting(self) -> Never:
        """Watch forever; if watching fails, the regular checks continue, and it is retried with increasing pauses."""
        pause = 0.0
        while True:
            try:
                await self._hint()
                pause = 0.0
            except Exception as error:  # events are only hints: the regular checks continue without them
                if not pause:
                    log_event("watch_failed", detail=str(error) or type(error).__name__, seconds=self._watch_seconds)
                pause = min(max(2 * pause, _FIRST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)
            finally:
                self._metrics.watcher_up.set(0)
            await set_within(pause, self._moved)

    async def _hint(self) -> None:
        """Watch the directories until one of them is replaced. Raises whatever watching raises."""
        self._watched = await asyncio.to_thread(places, self._path)
        self._moved.clear()
        self._hinted.set()  # for changes before the watch started
        self._metrics.watcher_up.set(1)
        # No filter by file name, because events for a swapped symbolic link only name the link.
        events = awatch(
            *self._watched,
            watch_filter=None,
            debounce=_DEBOUNCE_MS,
            stop_event=self._moved,
            force_polling=False,
            recursive=False,
        )
        async for _ in events:
            self._hinted.set()


def places(path: Path) -> Places:
    """Return the directory of the path and, if different, that of the file it links to."""
    own, real = path.absolute().parent, Path(os.path.realpath(path)).parent
    watched = {own: _identity(own) or (0, 0)}
    if found := _identity(real):  # a dangling link can still be repaired
        watched[real] = found
    return watched


def _identity(directory: Path) -> tuple[int, int] | None:
    try:
        found = directory.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_single_file_mount(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> bool:
    """Return whether the file itself is a mount point (proc(5): the fifth field, with octal escapes)."""
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:  # not Linux
        return False
    points = (re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), line.split()[4]) for line in lines)
    return os.path.realpath(path) in points
