"""How a child process of a server behaves: it ends with its parent, and memory is taken from it first."""

from __future__ import annotations

import fcntl
import os
import select
from contextlib import suppress
from pathlib import Path


def end_with_parent(lifeline: int) -> None:  # pragma: no cover - runs in children alone, where nothing measures
    """End this process when the other end of a pipe, its standard input, is closed: whoever started it is gone."""
    # The kernel's signal ends us even in the midst of one endless C call, where no thread of ours would run.
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([lifeline], [], [], 0)[0]:  # it ended before
        os._exit(1)


def be_first_to_go() -> None:  # pragma: no cover - as above
    """Have the kernel end this process, and not the server, should memory run out."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
