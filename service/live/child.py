"""The parent's side of an import: a fresh process for every model, and no way it ends hurts the server."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from service.errors import ImportCpuError, ImportCrashedError, ImportTimeoutError, ModelRejectedError
from service.logs import log_event
from service.model import snapshot
from service.model.importer import Job, Outcome
from service.model.shelf import Shelf, unwritable
from service.model.source import Source

_MODULE = "service.model.importer"
_MEGABYTE = 2**20


@dataclass(frozen=True, slots=True)
class ImportLimits:
    """What one import may use. ``memory_mb`` 0 derives the address space from the file's size."""

    timeout_seconds: float
    memory_mb: int
    environment: Mapping[str, str]

    def memory_bytes(self, source: Source) -> int:
        """Return the address space for a source: 2 x its size + 512 MB unless set."""
        if self.memory_mb:
            return self.memory_mb * _MEGABYTE
        return 2 * source.signature.size + 512 * _MEGABYTE


async def import_in_child(source: Source, shelf: Shelf, limits: ImportLimits) -> None:
    """Turn a file into a snapshot on the shelf, in a process of its own.

    Raises ModelRejectedError and its kinds. Cancelled, it kills and reaps the child. No temporary file stays.
    """
    with shelf.staging() as staged:
        job = Job(source, staged, limits.memory_bytes(source), max(1, int(limits.timeout_seconds)))
        await _run(job, limits)
        try:
            await asyncio.to_thread(snapshot.publish, staged, shelf.place_of(source))
        except OSError as error:
            raise unwritable(shelf.root, error) from None


async def _run(job: Job, limits: ImportLimits) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        _MODULE,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(limits.environment),
    )
    try:
        async with asyncio.timeout(limits.timeout_seconds):
            answer = await _converse(child, job)
    except TimeoutError:
        raise ImportTimeoutError(
            f"{job.source.path} was not imported within {limits.timeout_seconds:g} s and was given up; "
            "raise ALS_IMPORT_TIMEOUT_SECONDS if the file is that large."
        ) from None
    finally:
        await _end(child)
    _raise_for(job, answer, child.returncode or 0)


async def _converse(child: asyncio.subprocess.Process, job: Job) -> bytes:
    """Hand the job over and read the answer; standard input stays open, it tells the child that we live."""
    assert child.stdin and child.stdout and child.stderr
    child.stdin.write(msgspec.json.encode(job) + b"\n")
    answer, said = await asyncio.gather(child.stdout.read(), child.stderr.read())
    if text := said.decode(errors="replace").strip():
        log_event("child_said", text=text)
    await child.wait()
    return answer


async def _end(child: asyncio.subprocess.Process) -> None:
    if child.returncode is None:
        child.kill()
    await child.wait()
    assert child.stdin
    child.stdin.close()


def _raise_for(job: Job, answer: bytes, returncode: int) -> None:
    if returncode == -signal.SIGXCPU:
        raise ImportCpuError(
            f"{job.source.path} used {job.cpu_seconds} s of CPU without becoming a model and was given up; "
            "raise ALS_IMPORT_TIMEOUT_SECONDS if the file is that large."
        )
    if returncode != 0:
        raise ImportCrashedError(f"The process that imported {job.source.path} {_end_of(returncode)}.")
    outcome = msgspec.json.decode(answer, type=Outcome)
    if outcome.code:
        raise _REJECTIONS[outcome.code](outcome.detail)


def _end_of(returncode: int) -> str:
    if returncode > 0:
        return f"failed with exit code {returncode}; its last words are in the log"
    name = signal.Signals(-returncode).name
    remedy = ", most likely for want of memory" if name == "SIGKILL" else ""
    return f"was killed by {name}{remedy}"


def _kinds(parent: type[ModelRejectedError]) -> dict[str, type[ModelRejectedError]]:
    found = {parent.code: parent}
    for kind in parent.__subclasses__():
        found |= _kinds(kind)
    return found


_REJECTIONS = _kinds(ModelRejectedError)
