"""How late the event loop is: the one number that tells whether something holds it."""

from __future__ import annotations

import asyncio
from typing import Never

from service.observe.metrics import Metrics

_INTERVAL_SECONDS = 0.1


async def measure_lag(metrics: Metrics) -> Never:
    """Observe, ten times a second and until cancelled, how much later than asked a timer wakes."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _INTERVAL_SECONDS
        await asyncio.sleep(_INTERVAL_SECONDS)
        metrics.loop_lag_seconds.observe(max(0.0, loop.time() - due))
