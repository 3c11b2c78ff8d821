"""The parent's side of an import: a fresh process for every model, whose failures never hurt the server."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec

from service.children.jobs import Content, Job, Outcome
from service.children.lifeline import take_back
from service.errors import (
    AlsServeError,
    BadCatalogError,
    ImportCpuError,
    ImportCrashedError,
    ImportTimeoutError,
    ModelRejectedError,
    OutOfResourcesError,
)
from service.live.children import child_process, end_of, last_of, listen
from service.live.control_groups import memory_left
from service.model.storage import snapshot
from service.model.storage.shelf import Shelf, mark_unserved, unwritable
from service.model.storage.source import Source, is_lacking, opened, path_of, text_of, written_bytes
from service.threads import in_threads

#: A catalog is read with Arrow, which the importer of models does without.
_MODULES: Mapping[Content, str] = {
    "model": "service.children.importing",
    "catalog": "service.children.catalog",
}
#: Arrow's own allocator would reserve a gigabyte of the address space, which is limited.
_FOR_ARROW = {"ARROW_DEFAULT_MEMORY_POOL": "system"}
_MEGABYTE = 2**20
_LEAST_CPU_SECONDS = 20.0
#: Files of this size and more may use all of the CPU time.
_LARGE_BYTES = 300 * _MEGABYTE
_outcome = msgspec.json.Decoder(Outcome)
_Lent = TypeVar("_Lent")


@dataclass(frozen=True, slots=True)
class ImportLimits:
    """The limits of one import, and how to read the file.

    ``memory_mb`` 0 derives the address space from the file's size. file_mb: the size of the largest file that is read
    at all. keys: those of a pickled dict, by ours; of a catalog, what the user says of columns, by their names.
    """

    timeout_seconds: float
    memory_mb: int
    environment: Mapping[str, str]
    file_mb: int = 2**20
    keys: Mapping[str, str] = field(default_factory=dict)

    @property
    def file_bytes(self) -> int:
        """Return the size of the largest file that is read at all."""
        return self.file_mb * _MEGABYTE

    def cpu_seconds(self, written: int) -> int:
        """Return the CPU time for a file: a part of half of the timeout, in proportion to its size, at least 20 s.

        Half, so that a busy import is stopped before one that waits for a slow disk; in proportion, because a small
        file that takes long is an attack (keys of a dict that collide), which good files should not have to wait for.
        A model of 300 MB takes 10 s of the 300 s that it has by default.
        """
        most = self.timeout_seconds / 2
        return max(1, int(min(most, max(_LEAST_CPU_SECONDS, most * written / _LARGE_BYTES))))

    def memory_bytes(self, written: int) -> int:
        """Return the address space for a file of which this many bytes are not holes: 8 x that + 1 GB unless set.

        Measured with text ids, at 1M users x 200k items x 64 and 20M seen pairs: a pickle peaks at 4.2 x its size, an
        npz at 2.9 x, a compressed one at 4.7 x; with 300 pairs per user, a pickle at 6.5 x. Only a compressed npz that
        is nearly all pairs needs more (16 x), and a higher setting.
        """
        if self.memory_mb:
            return self.memory_mb * _MEGABYTE
        return 8 * written + 1024 * _MEGABYTE


async def import_in_child(source: Source, shelf: Shelf, limits: ImportLimits, *, content: Content = "model") -> None:
    """Turn a file into a snapshot (or a catalog) on the shelf, in a child process.

    Raises ModelRejectedError and its subclasses, BadCatalogError, OutOfResourcesError. A cancellation
    kills and reaps the child. No temporary file remains.
    """
    # Opened here, because by the time the child has started, the path may name another file.
    async with (
        in_threads(opened(path_of(source.path), source.signature)) as file,
        in_threads(shelf.staging()) as staged,
        in_threads(_descriptor_of(staged)) as directory,
    ):
        written = await asyncio.to_thread(written_bytes, file.fileno())
        limited = (limits.memory_bytes(written), await asyncio.to_thread(memory_left), limits.cpu_seconds(written))
        job = Job(source, file.fileno(), directory, text_of(shelf.root), *limited, content, dict(limits.keys))
        await _run(job, limits)
        try:
            await asyncio.to_thread(_publish, staged, shelf.place_of(source), is_model=content == "model")
        except OSError as error:
            raise unwritable(shelf.root, error) from None


@contextmanager
def _descriptor_of(directory: Path) -> Iterator[int]:
    """Open a directory for a child whose user may not be able to reach it by its path."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _publish(staged: Path, place: Path, *, is_model: bool) -> None:
    take_back(staged)
    if is_model:  # a catalog counts without any further comparison
        mark_unserved(staged)
    snapshot.publish(staged, place)


async def _run(job: Job, limits: ImportLimits) -> None:
    environment = {**limits.environment, **_FOR_ARROW}
    task, lent = msgspec.json.encode(job), (job.descriptor, job.staged)
    try:
        async with (
            asyncio.timeout(limits.timeout_seconds),
            child_process(_MODULES[job.content], task, environment, pass_fds=lent) as child,
        ):
            assert child.stdout
            answer, _ = await asyncio.gather(last_of(child.stdout), listen(child))
            returncode = await child.wait()
    except TimeoutError:
        raise ImportTimeoutError(
            f"{job.source.path} was not imported within {limits.timeout_seconds:g} s; "
            "raise ALS_IMPORT_TIMEOUT_SECONDS if the file is that large."
        ) from None
    except OSError as error:
        kind = OutOfResourcesError if is_lacking(error) else ImportCrashedError
        raise kind(f"The import process for {job.source.path} could not be started: {error.strerror}.") from None
    _raise_for(job, answer, returncode)


def _raise_for(job: Job, answer: bytes, returncode: int) -> None:
    if returncode == -signal.SIGXCPU:
        raise ImportCpuError(
            f"{job.source.path} used {job.cpu_seconds} s of CPU without finishing the import; "
            "raise ALS_IMPORT_TIMEOUT_SECONDS if the file is that large."
        )
    if returncode != 0:
        raise ImportCrashedError(f"The import process for {job.source.path} {end_of(returncode)}.")
    try:
        outcome = _outcome.decode(answer)
        rejection = _REJECTIONS[outcome.code](outcome.detail) if outcome.code else None
    except (msgspec.DecodeError, KeyError):
        raise ImportCrashedError(f"The import process for {job.source.path} ended without an answer.") from None
    if rejection:
        raise rejection


def _kinds(parent: type[AlsServeError]) -> dict[str, type[AlsServeError]]:
    found = {parent.code: parent}
    for kind in parent.__subclasses__():
        found |= _kinds(kind)
    return found


_REJECTIONS = {
    code: kind
    for parent in (ModelRejectedError, BadCatalogError, OutOfResourcesError)
    for code, kind in _kinds(parent).items()
}
