"""The training process of a server without a model.

``python -m service.children.training`` reads one job as a line of JSON on standard input, and writes its progress and
outcome to standard output as lines of JSON. It ends with its parent.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import BinaryIO

import msgspec

from service.children.jobs import Failed, PopularityReady, Progress, Remark, SkippedRows, Trained, TrainingJob
from service.children.lifeline import confine
from service.children.telling import Reporter, Tell
from service.errors import TrainingError
from service.model.storage.source import path_of
from service.training.account import Account
from service.training.als import train
from service.training.data_files import DataFile, files_of, held_open
from service.training.interactions import Interactions, read_files
from service.training.layout import Layout, layout_of
from service.training.model_files import facts_of, write_npz, write_popularity
from service.untrusted import with_quotations

#: For the threads of OpenMP and Arrow; the limit counts all processes of the user.
_THREADS = 4096
_job = msgspec.json.Decoder(TrainingJob)


def work(job: TrainingJob, tell: Tell, on_opened: Callable[[], object] = lambda: None) -> None:
    """Train one model and send the outcome. ``on_opened`` is called once the data is open, before it is read."""
    try:
        layout = layout_of(**msgspec.structs.asdict(job.layout))
        # At a start, any answer is better than none, so a bad row among millions does not prevent it.
        account = Account(skip=True)
        with held_open(files_of([path_of(job.data)], account)) as files:
            on_opened()
            tell(_make(job, files, layout, account, tell))
    except TrainingError as error:
        tell(Failed(error.marked))
    except MemoryError:
        tell(Failed(f"Training on {job.data} needs more memory than is available."))


def _make(job: TrainingJob, files: Sequence[DataFile], layout: Layout, account: Account, tell: Tell) -> Trained:
    started = time.perf_counter()
    report = Reporter(tell)
    interactions, account = _read(job, files, layout, account, report)
    if account.count:
        tell(SkippedRows(account.count, with_quotations(account.first)))
    for sentence in account.sentences():
        tell(Remark(sentence))
    _save_popularity(interactions, job, tell)
    read = time.perf_counter() - started
    model = train(interactions, report=report)
    tell(Progress("saving", 0, 1))
    with _written(job.model, job) as file:
        write_npz(model, facts_of(model, [path_of(job.data)], None, {"read": read}), file)
    return Trained(time.perf_counter() - started)


def _read(
    job: TrainingJob, files: Sequence[DataFile], layout: Layout, account: Account, report: Reporter
) -> tuple[Interactions, Account]:
    """Read the data, without weights if these are why it cannot be read: any answer is better than none."""

    def read(layout: Layout, account: Account) -> Interactions:
        return read_files(files, job.data, layout, account, on_read=lambda done, of: report("reading", done, of))

    try:
        return read(layout, account), account
    except TrainingError as error:
        if layout.names.weight is not None:
            raise
        again = Account(skip=True, passed_over=account.passed_over)
        with suppress(TrainingError):  # then the first error is the one to report
            found = read(replace(layout, names=replace(layout.names, weight="")), again)
            again.remark(f"{error.marked.removesuffix('.')}; the weights are not used")
            return found, again
        raise


def _save_popularity(interactions: Interactions, job: TrainingJob, tell: Tell) -> None:
    with suppress(TrainingError):  # without it, a failed training leaves nothing to serve
        with _written(job.popularity, job) as file:
            write_popularity(interactions, file)
        tell(PopularityReady())


@contextmanager
def _written(descriptor: int, job: TrainingJob) -> Iterator[BinaryIO]:
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
    except OSError as error:
        raise TrainingError(f"The model cannot be written to {job.place}: {error.strerror}.") from error


def main() -> None:  # pragma: no cover - runs in the child alone, where nothing measures
    """Do one job."""
    job = _job.decode(sys.stdin.buffer.readline())
    with suppress(OSError):  # a directory that may not be entered cannot be read either
        os.fchdir(job.directory)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = {
        resource.RLIMIT_FSIZE: (memory, memory),  # no model is larger on disk than in memory
        resource.RLIMIT_NPROC: (_THREADS, _THREADS),
    }
    # Output of libraries goes to the log: standard output is only for messages.
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0) as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        work(
            job,
            lambda message: answers.write(msgspec.json.encode(message) + b"\n"),
            on_opened=lambda: confine(sys.stdin.fileno(), limits),
        )


if __name__ == "__main__":
    main()
