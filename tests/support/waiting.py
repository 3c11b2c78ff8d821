"""Waiting for a condition, outside of an event loop (in one, see ``helpers.eventually``)."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(condition: Callable[[], object], failure: Callable[[], str], seconds: float = 30) -> None:
    """Return once a condition holds; fail with a sentence after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, failure()
        time.sleep(0.05)
