"""Background tasks that never end silently, their pauses, and the measurement of the event loop's lag."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Never

from service.observe.logs import log_event
from service.observe.metrics import Metrics

_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0
_LAG_INTERVAL_SECONDS = 0.1


async def keep_running(task: str, work: Callable[[], Awaitable[None]]) -> Never:
    """Run ``work`` forever, restarting it after growing pauses; ``task`` is its name in the log.

    Only a cancellation ends it.
    """
    loop = asyncio.get_running_loop()
    pause = _FIRST_PAUSE_SECONDS
    while True:
        started = loop.time()
        try:
            await work()
        except Exception as error:  # whatever it is, the server goes on and the task is tried again
            if loop.time() - started > _LONGEST_PAUSE_SECONDS:
                pause = _FIRST_PAUSE_SECONDS
            detail = f"{type(error).__name__}: {error}"
            log_event("task_failed", exc_info=True, task=task, seconds=pause, detail=detail)
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


async def measure_lag(metrics: Metrics) -> Never:
    """Measure, ten times a second until cancelled, how late a timer wakes."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _LAG_INTERVAL_SECONDS
        await asyncio.sleep(_LAG_INTERVAL_SECONDS)
        metrics.loop_lag_seconds.observe(max(0.0, loop.time() - due))


async def set_within(seconds: float, event: asyncio.Event) -> None:
    """Wait until the event is set or the time has passed."""
    with suppress(TimeoutError):
        # Before Python 3.12, wait_for() loses a cancellation that arrives together with its result.
        async with asyncio.timeout(seconds):
            await event.wait()
