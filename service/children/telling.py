"""What a long child process tells its parent: messages, and progress at a pace that people can read."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

from service.children.jobs import Message, Progress

_SECONDS_BETWEEN_REPORTS = 0.2

Tell: TypeAlias = Callable[[Message], object]


class Reporter:
    """Sends progress, but not more often than people can read."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._next = 0.0

    def __call__(self, phase: str, done: int, total: int, _note: str = "", /) -> None:
        """Report that ``done`` of ``total`` steps of a phase are done."""
        now = time.monotonic()
        if now >= self._next or done == total:
            self._next = now + _SECONDS_BETWEEN_REPORTS
            self._tell(Progress(phase, done, total))
