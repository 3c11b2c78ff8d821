"""The import process: turns an untrusted file into a directory of arrays, or an exact reason for rejecting it.

``python -m service.children.importing`` reads one job as a line of JSON on standard input and answers with one line on
standard output. Its standard input stays open as long as its parent lives; when it closes, the child ends.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import scipy.linalg  # noqa: F401 - folding in needs it, and nothing is imported once this process is confined

from service.children.jobs import Job, Outcome
from service.children.work import answered, opened, run, writing
from service.model.arranging import arrange
from service.model.formats.reading import read
from service.model.model import Model
from service.model.raw import RawModel
from service.model.scoring import costs, score_ranges
from service.model.storage import snapshot
from service.model.storage.snapshot import Analysis
from service.model.storage.source import path_of
from service.model.validation.validation import validate


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


def _read(job: Job) -> RawModel:
    with opened(job) as file:
        return read(path_of(job.source.path), file, job.keys)


def _write(job: Job, model: Model, analysis: Analysis, source_format: str, seconds: dict[str, float]) -> None:
    with writing(job):
        snapshot.write(Path(), model, analysis, job.source, source_format, seconds)


@contextmanager
def _phase(seconds: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[name] = round(time.perf_counter() - started, 6)


def answer(job: Job) -> Outcome:
    """Do one import and return its outcome."""
    return answered(job, import_model)


def main() -> None:  # pragma: no cover - runs only in the child, where coverage is not measured
    """Do one job within its limits."""
    run(answer)


if __name__ == "__main__":
    main()
