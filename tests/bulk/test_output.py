"""The directory of everyone's lists."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path

import pytest

from service.bulk.output import Job, Output


def test_a_directory_that_cannot_be_locked_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems of networks do not lock directories."""

    def unsupported(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with Output(tmp_path, ".jsonl").begun(Job("", 10, True, "", "", 10)):
        assert [path.name for path in tmp_path.iterdir()] == ["_job.json"]
