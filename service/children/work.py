"""What every import process does: its job within limits, answered with one line, whatever the file makes it raise."""

from __future__ import annotations

import errno
import gc
import os
import resource
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from io import BufferedReader
from pathlib import Path

import msgspec

from service.children.jobs import Job, Outcome
from service.children.lifeline import confine
from service.errors import (
    BadCatalogError,
    ImportCrashedError,
    ImportMemoryError,
    ModelRejectedError,
    OutOfResourcesError,
)
from service.model.storage.shelf import unwritable
from service.model.storage.source import path_of, unchanged

_SHOWN_CALLS = 10
_job = msgspec.json.Decoder(Job)


def opened(job: Job) -> AbstractContextManager[BufferedReader]:
    """Return the source file of a job, which must not change meanwhile. Raises SourceChangedError."""
    return unchanged(os.fdopen(job.descriptor, "rb"), path_of(job.source.path), job.source.signature)


@contextmanager
def writing(job: Job) -> Iterator[None]:
    """Explain an OSError of writing. Raises ImportMemoryError, StateDirectoryError, OutOfResourcesError."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise _too_large(job, "of disk for one file") from None
        raise unwritable(Path(job.root), error) from None


def _too_large(job: Job, what: str) -> ImportMemoryError:
    return ImportMemoryError(
        f"{job.source.path} needs more than {job.memory_bytes // 2**20} MB {what} to import; "
        "raise ALS_IMPORT_MEMORY_MB if you trust the file."
    )


def _out_of_memory(job: Job) -> ImportMemoryError:
    if job.private_bytes is None or job.private_bytes >= job.memory_bytes:
        return _too_large(job, "of address space")
    return ImportMemoryError(
        f"{job.source.path} needs more to import than the {job.private_bytes // 2**20} MB that the memory limit of its "
        "container or control group leaves; raise that limit."
    )


def answered(job: Job, work: Callable[[Job], object]) -> Outcome:
    """Do one import and return its outcome, whatever a crafted file makes a library raise."""
    try:
        work(job)
    except MemoryError:
        return Outcome.of(_out_of_memory(job))
    except (ModelRejectedError, OutOfResourcesError, BadCatalogError) as error:
        return Outcome.of(error)
    except Exception as error:
        # Where it happened goes to the log, but no message, which could quote the file.
        traceback.print_tb(error.__traceback__, -_SHOWN_CALLS)
        what = f"The import process for {job.source.path} failed with {type(error).__name__}"
        return Outcome.of(ImportCrashedError(f"{what}; save the file again."))
    return Outcome()


def run(
    answer: Callable[[Job], Outcome], threads: int = 0
) -> None:  # pragma: no cover - runs only in the child, where coverage is not measured
    """Do one job within its limits. threads: how many more its user may have, of all processes."""
    job = _job.decode(sys.stdin.buffer.readline())
    gc.disable()  # an unpickler creates no garbage, and collecting would take a quarter of its time
    limits = {
        resource.RLIMIT_AS: (job.memory_bytes, job.memory_bytes),
        resource.RLIMIT_CPU: (job.cpu_seconds, job.cpu_seconds + 1),
        resource.RLIMIT_FSIZE: (job.memory_bytes, job.memory_bytes),  # no array is larger on disk than in memory
        resource.RLIMIT_NPROC: (threads, threads),
    }
    if job.private_bytes is not None:
        limits[resource.RLIMIT_DATA] = (job.private_bytes, job.private_bytes)
    confine(sys.stdin.fileno(), limits, job.staged)
    sys.stdout.buffer.write(msgspec.json.encode(answer(job)) + b"\n")
    sys.stdout.buffer.flush()
    os._exit(0)  # skips the interpreter's shutdown, which would free the model piece by piece
