"""The number of workers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

_CGROUP = Path("/sys/fs/cgroup/cpu.max")


def worker_count(workers: int | Literal["auto"]) -> int:
    """Return the number of workers for a setting; "auto" is one per CPU."""
    return processors() if workers == "auto" else workers


def processors(quota: Path = _CGROUP) -> int:
    """Return how many CPUs this process may use: those it may run on, or fewer if its control group has a quota."""
    allowed = len(os.sched_getaffinity(0))
    try:
        share, _, period = quota.read_text(encoding="ascii").partition(" ")
        return max(1, min(allowed, int(share) // int(period)))
    except (OSError, ValueError):  # no control groups of version 2, or "max": no quota
        return allowed
