"""Child processes: started with an environment of their own, spoken to by pipes, and never left behind."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

from service.children.lifeline import hide_memory
from service.observe.logs import log_event

#: How much of what a child writes is kept: its answer and its last words are short, a broken one's may be endless.
_KEPT = 16_384


@asynccontextmanager
async def child_process(
    module: str,
    task: bytes,
    environment: Mapping[str, str],
    *,
    pass_fds: tuple[int, ...] = (),
    stderr: int | None = asyncio.subprocess.PIPE,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run ``python -m module`` with one line on its standard input; at the end of the block it is gone.

    It imports nothing but what is installed, whatever stands in a directory or a variable, and cannot look into us. Its
    standard input stays open, which tells it that we live. Without ``stderr`` it has ours. Raises OSError where it
    cannot be started.
    """
    hide_memory()
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-u", "-m", module),
        stdin=pipe,
        stdout=pipe,
        stderr=stderr,
        cwd="/",
        env=dict(environment),
        pass_fds=pass_fds,
        process_group=0,  # what is typed at a terminal is for us
    )
    assert child.stdin
    try:
        child.stdin.write(task + b"\n")
        yield child
    finally:
        with suppress(ProcessLookupError):
            child.kill()
        await child.wait()
        child.stdin.close()


async def listen(child: asyncio.subprocess.Process) -> None:
    """Read to its end, and log, what a child writes on standard error."""
    assert child.stderr
    said = await last_of(child.stderr)
    if text := said.decode(errors="replace").strip():
        log_event("child_said", text=text)


async def last_of(stream: asyncio.StreamReader) -> bytes:
    """Read to the end, and keep the last of it."""
    kept = b""
    while more := await stream.read(_KEPT):
        kept = (kept + more)[-_KEPT:]
    return kept


def end_of(returncode: int) -> str:
    """Say how a child ended that did not end well."""
    if returncode >= 0:
        return f"failed with exit code {returncode}; its last words are in the log"
    name = signal.Signals(-returncode).name
    remedy = ", most likely for want of memory" if name == "SIGKILL" else ""
    return f"was killed by {name}{remedy}"
