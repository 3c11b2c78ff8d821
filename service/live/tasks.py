"""Background work that must never end silently: logged, and started again after a pause that grows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Never

from service.observe.logs import log_event

_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0


async def keep_running(task: str, work: Callable[[], Awaitable[None]]) -> Never:
    """Run ``work`` for ever; ``task`` is what the log calls it. Only a cancellation ends it."""
    loop = asyncio.get_running_loop()
    pause = _FIRST_PAUSE_SECONDS
    while True:
        started = loop.time()
        try:
            await work()
        except Exception as error:
            if loop.time() - started > _LONGEST_PAUSE_SECONDS:
                pause = _FIRST_PAUSE_SECONDS
            detail = f"{type(error).__name__}: {error}"
            log_event("task_failed", exc_info=True, task=task, seconds=pause, detail=detail)
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
