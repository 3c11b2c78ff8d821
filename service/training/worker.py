"""What the process does that trains for a server which has no model.

``python -m service.training.worker`` reads one job as a line of JSON on standard input, and says on standard
output, a line of JSON each, how far it is and how it ended. It ends with its parent.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from service.errors import TrainingError
from service.model.lifeline import be_first_to_go, end_with_parent
from service.training.als import TrainedModel, train
from service.training.interactions import Interactions
from service.training.job import Failed, Message, PopularityReady, Progress, SkippedRows, Trained, TrainingJob
from service.training.model_files import facts_of, save_npz, save_popularity
from service.training.recipe import Recipe

_NICE = 10
_SECONDS_BETWEEN_REPORTS = 0.2

Tell = Callable[[Message], object]


def work(job: TrainingJob, tell: Tell) -> None:
    """Train one model, and tell how it ended."""
    try:
        tell(_make(job, tell))
    except TrainingError as error:
        tell(Failed(str(error)))
    except MemoryError:
        tell(Failed(f"Training on {job.data} needs more memory than there is."))


def _make(job: TrainingJob, tell: Tell) -> Trained:
    started = time.perf_counter()
    # At a start any answer beats none, so a bad row among millions does not prevent it.
    recipe, report = Recipe([Path(job.data)], skip_bad_rows=True), _Reporter(tell)
    interactions = recipe.read(report)
    if interactions.skipped:
        tell(SkippedRows(interactions.skipped, interactions.first_skipped))
    _save_popularity(interactions, job, tell)
    read = time.perf_counter() - started
    model = train(interactions, report=report)
    tell(Progress("saving", 0, 1))
    path, detail = _save(model, job, {"read": read})
    return Trained(path, time.perf_counter() - started, detail)


def _save_popularity(interactions: Interactions, job: TrainingJob, tell: Tell) -> None:
    with suppress(TrainingError):  # without it, a training that fails leaves nothing to serve
        save_popularity(interactions, Path(job.popularity))
        tell(PopularityReady(job.popularity))


def _save(model: TrainedModel, job: TrainingJob, seconds: dict[str, float]) -> tuple[str, str]:
    """Write the model where nothing is lost by it; return where, and why not at the path. Raises TrainingError."""
    facts = facts_of(model, [Path(job.data)], None, seconds)
    detail = ""
    # Where a full disk or a read-only volume refuses both, the state directory may be on another one.
    for path in (job.model_path, job.beside):
        try:
            save_npz(model, facts, Path(path), overwrite=path == job.beside)
        except TrainingError as error:
            detail = detail or str(error)
        else:
            return path, detail
    save_npz(model, facts, Path(job.spare))
    return job.spare, detail


class _Reporter:
    """Tells of progress, but not more often than somebody can read."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._next = 0.0

    def __call__(self, phase: str, done: int, total: int, _note: str = "", /) -> None:
        now = time.monotonic()
        if now >= self._next or done == total:
            self._next = now + _SECONDS_BETWEEN_REPORTS
            self._tell(Progress(phase, done, total))


def main() -> None:  # pragma: no cover - runs in the child alone, where nothing measures
    """Do one job; requests that are answered meanwhile have precedence."""
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=TrainingJob)
    end_with_parent(sys.stdin.fileno())
    be_first_to_go()
    os.nice(_NICE)
    # Whatever a library may print goes to the log: standard output is for messages alone.
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0) as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        work(job, lambda message: answers.write(msgspec.json.encode(message) + b"\n"))


if __name__ == "__main__":  # pragma: no cover - as above
    main()
