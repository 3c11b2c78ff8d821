"""The import process: turns an untrusted file into a directory of arrays, or an exact reason for rejecting it.

``python -m service.children.importing`` reads one job as a line of JSON on standard input and answers with one line on
standard output. Its standard input stays open as long as its parent lives; when it closes, the child ends.
"""

from __future__ import annotations

import errno
import gc
import os
import resource
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from io import BufferedReader
from pathlib import Path

import msgspec
import scipy.linalg  # noqa: F401 - folding in needs it, and nothing is imported once this process is confined

from service.children.jobs import Job, Outcome
from service.children.lifeline import confine
from service.errors import (
    BadTitlesError,
    ImportCrashedError,
    ImportMemoryError,
    ModelRejectedError,
    OutOfResourcesError,
)
from service.model import titles
from service.model.arranging import arrange
from service.model.formats.reading import read
from service.model.model import Model
from service.model.raw import RawModel
from service.model.scoring import costs, score_ranges
from service.model.storage import snapshot
from service.model.storage.shelf import unwritable
from service.model.storage.snapshot import Analysis
from service.model.storage.source import path_of, unchanged
from service.model.validation.validation import validate

_SHOWN_CALLS = 10


def import_model(job: Job) -> None:
    """Read, validate, analyse and write one model to the working directory. Raises ModelRejectedErrors."""
    seconds: dict[str, float] = {}
    with _phase(seconds, "read"):
        raw = _read(job)
    with _phase(seconds, "validate"):
        source_format, factors = raw.format, validate(raw)
    del raw
    with _phase(seconds, "arrange"):
        model, facts = arrange(factors), factors.facts
    del factors
    with _phase(seconds, "analyse"):
        analysis = Analysis(score_ranges.analyse(model), costs.measure(model), facts)
    _write(job, model, analysis, source_format, seconds)


def import_titles(job: Job) -> None:
    """Read, arrange and write item titles to the working directory.

    Raises BadTitlesError, ModelRejectedError and its subclasses.
    """
    path = path_of(job.source.path)
    with _opened(job) as file:
        found = titles.read_titles(path, file)
    with _writing(job):
        titles.write_titles(Path(), found, job.source)


def _read(job: Job) -> RawModel:
    with _opened(job) as file:
        return read(path_of(job.source.path), file, job.keys)


def _write(job: Job, model: Model, analysis: Analysis, source_format: str, seconds: dict[str, float]) -> None:
    with _writing(job):
        snapshot.write(Path(), model, analysis, job.source, source_format, seconds)


def _opened(job: Job) -> AbstractContextManager[BufferedReader]:
    return unchanged(os.fdopen(job.descriptor, "rb"), path_of(job.source.path), job.source.signature)


@contextmanager
def _writing(job: Job) -> Iterator[None]:
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


@contextmanager
def _phase(seconds: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[name] = round(time.perf_counter() - started, 6)


def answer(job: Job) -> Outcome:
    """Do one import and return its outcome, whatever a crafted file makes a library raise."""
    try:
        import_titles(job) if job.content == "titles" else import_model(job)
    except MemoryError:
        return Outcome.of(_out_of_memory(job))
    except (ModelRejectedError, OutOfResourcesError, BadTitlesError) as error:
        return Outcome.of(error)
    except Exception as error:
        # Where it happened goes to the log, but no message, which could quote the file.
        traceback.print_tb(error.__traceback__, -_SHOWN_CALLS)
        what = f"The import process for {job.source.path} failed with {type(error).__name__}"
        return Outcome.of(ImportCrashedError(f"{what}; save the file again."))
    return Outcome()


def main() -> None:  # pragma: no cover - runs only in the child, where coverage is not measured
    """Do one job within its limits."""
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    gc.disable()  # an unpickler creates no garbage, and collecting would take a quarter of its time
    limits = {
        resource.RLIMIT_AS: (job.memory_bytes, job.memory_bytes),
        resource.RLIMIT_CPU: (job.cpu_seconds, job.cpu_seconds + 1),
        resource.RLIMIT_FSIZE: (job.memory_bytes, job.memory_bytes),  # no array is larger on disk than in memory
        resource.RLIMIT_NPROC: (0, 0),
    }
    if job.private_bytes is not None:
        limits[resource.RLIMIT_DATA] = (job.private_bytes, job.private_bytes)
    confine(sys.stdin.fileno(), limits, job.staged)
    sys.stdout.buffer.write(msgspec.json.encode(answer(job)) + b"\n")
    sys.stdout.buffer.flush()
    os._exit(0)  # skips the interpreter's shutdown, which would free the model piece by piece


if __name__ == "__main__":  # pragma: no cover - as above
    main()
