"""Child processes: started with a clean environment, connected by pipes, and never left behind."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

from service.children.lifeline import give_way, hide_memory
from service.observe.logs import log_event

#: How much of a child's output is kept: a good answer is short, a broken child's output may be endless.
_KEPT = 16_384


@asynccontextmanager
async def child_process(
    module: str,
    task: bytes,
    environment: Mapping[str, str],
    *,
    pass_fds: tuple[int, ...] = (),
    in_background: bool = True,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run ``python -m module`` with one line on its standard input, until the end of the block.

    It only imports installed packages, whatever directories or variables say, and cannot read this process. Its
    standard input stays open as a sign that the parent lives. A child in the
    background gives way to the server, and its standard error is a pipe, too; any other child has the server's priority
    and standard error. Raises OSError if it cannot be started.
    """
    hide_memory()
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-u", "-m", module),
        stdin=pipe,
        stdout=pipe,
        stderr=pipe if in_background else None,
        cwd="/",
        env=dict(environment),
        pass_fds=pass_fds,
        start_new_session=True,  # Ctrl+C in a terminal is for the server
    )
    assert child.stdin
    try:
        if in_background:
            give_way(child.pid)
        child.stdin.write(task + b"\n")
        yield child
    finally:
        with suppress(ProcessLookupError):
            child.kill()
        await child.wait()
        child.stdin.close()


async def listen(child: asyncio.subprocess.Process) -> None:
    """Read a child's standard error to the end and log it."""
    assert child.stderr
    said = await last_of(child.stderr)
    if text := said.decode(errors="replace").strip():
        log_event("child_said", text=text)


async def last_of(stream: asyncio.StreamReader) -> bytes:
    """Read to the end and return the last part."""
    kept = b""
    while more := await stream.read(_KEPT):
        kept = (kept + more)[-_KEPT:]
    return kept


def end_of(returncode: int) -> str:
    """Describe how a child failed."""
    if returncode >= 0:
        return f"failed with exit code {returncode}; its last output is in the log"
    name = signal.Signals(-returncode).name
    remedy = ", most likely because memory ran out" if name == "SIGKILL" else ""
    return f"was killed by {name}{remedy}"
