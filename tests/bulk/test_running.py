"""A run of everyone's lists: what is reported while it lasts, and what one that goes on compares."""

from __future__ import annotations

import errno
import fcntl
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from service.bulk import lists
from service.bulk.forms import json_lines
from service.bulk.lists import Wanted
from service.bulk.output import Job, Output
from service.bulk.running import job_of, run
from service.model.arranging import arrange
from tests.support.helpers import Place, model_bytes, put
from tests.support.models import make_factors

JOB = Job("", 10, True, "", "", 10)


def test_progress_is_in_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of parts that are there count from the start, and in the end all are done."""
    monkeypatch.setattr(lists, "_ENTRIES_PER_PART", 100)
    model, users = arrange(make_factors(users=35)), np.arange(35, dtype=np.int32)
    output, reports = Output(tmp_path / "lists.jsonl", ".jsonl"), list[tuple[int, int]]()
    with output.begun(JOB):
        output.write(1, lambda file: file.write(b""))
        write, on_done = json_lines(model), lambda done, total: reports.append((done, total))
        run(model, users, Wanted(), output, write, threads=1, on_done=on_done)
    # Of two parts that end together, either may be first.
    assert [reports[0], reports[-1]] == [(10, 35), (35, 35)]
    assert sorted(later[0] - earlier[0] for earlier, later in pairwise(reports)) == [5, 10, 10]


async def test_other_lists_are_another_job(place: Place) -> None:
    """Another model, other users, another n, other items, or with what users had."""
    users, mask = np.arange(5, dtype=np.int32), np.arange(30) < 7
    put(place.path, model_bytes(1))
    snapshot = await place.store().load()
    put(place.path, model_bytes(2))
    jobs = {
        job_of(snapshot, users, Wanted(10_000)),
        job_of(snapshot, users, Wanted(9_999)),  # with parts of as many users
        job_of(snapshot, users, Wanted(10_000, exclude_seen=False)),
        job_of(snapshot, users, Wanted(10_000, eligible=mask)),
        job_of(snapshot, users[1:], Wanted(10_000)),
        job_of(await place.store().load(), users, Wanted(10_000)),
    }
    assert len(jobs) == 6
    assert job_of(snapshot, users, Wanted(10_000, eligible=np.flatnonzero(mask).astype(np.int32))) in jobs


def test_a_directory_that_cannot_be_locked_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems of networks do not lock directories."""

    def unsupported(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with Output(tmp_path, ".jsonl").begun(JOB):
        assert [path.name for path in tmp_path.iterdir()] == ["_job.json"]
