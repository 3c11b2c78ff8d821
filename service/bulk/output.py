"""The directory of everyone's lists: parts of equal numbers of users, so that a stopped run goes on where it ended.

A part is written beside its place and renamed, so a part that is there is whole. As in what Spark writes, ``_SUCCESS``
says that all are there, and readers of a directory of Parquet files pass over names that begin with an underscore.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from service.errors import OutputError
from service.files import sync_directory, written_whole

JOB = "_job.json"
SUCCESS = "_SUCCESS"
#: What a killed run leaves of a file that was not whole.
_HALVES = "_*.half"


class Job(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the lists in a directory are made of; a run goes on only with the same.

    model: the sha256 of the model file. eligible: that of a mask of the items that may be in a list. users: that of the
    rows of the users who get one. part_users: how many users a part has.
    """

    model: str
    n: int
    exclude_seen: bool
    eligible: str
    users: str
    part_users: int


_job = msgspec.json.Decoder(Job)


class Output:
    """A directory of parts, which are files with this suffix."""

    def __init__(self, directory: Path, suffix: str) -> None:
        self._directory = directory
        self._suffix = suffix

    @contextmanager
    def begun(self, job: Job) -> Iterator[None]:
        """Make the directory, or go on in it; until the end of the block, no other run can.

        Raises OutputError if it has something else, or if another run is writing to it.
        """
        with ExitStack() as stack:
            with _explained(self._directory):
                self._directory.mkdir(parents=True, exist_ok=True)
                descriptor = os.open(self._directory, os.O_RDONLY)
                stack.callback(os.close, descriptor)
                self._lock(descriptor)
                self._begin(job)
            yield

    def _begin(self, job: Job) -> None:
        path = self._directory / JOB
        if path.exists():
            self._prove_same(path.read_bytes(), job)
        elif any(not found.match(_HALVES) for found in self._directory.iterdir()):
            raise OutputError(f"{self._directory} has other files; name a new or an empty directory.")
        else:
            self._write(JOB, lambda file: file.write(msgspec.json.encode(job)))
        for half in self._directory.glob(_HALVES):
            half.unlink(missing_ok=True)

    def _lock(self, descriptor: int) -> None:
        """Lock the directory until it is closed, or this process ends in any way."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(f"Another run is writing to {self._directory}; wait for it.") from None
        except OSError:
            pass  # some file systems of networks do not lock directories

    def missing(self, parts: int) -> list[int]:
        """Return the numbers of the parts that are not there yet."""
        return [number for number in range(parts) if not (self._directory / self._name(number)).exists()]

    def write(self, number: int, write: Callable[[BinaryIO], object]) -> None:
        """Write a part, in any thread. Raises OutputError."""
        with _explained(self._directory):
            self._write(self._name(number), write)

    def finish(self) -> None:
        """Say that all parts are there. Raises OutputError."""
        with _explained(self._directory):
            if not (self._directory / SUCCESS).exists():
                self._write(SUCCESS, lambda _: None)
            sync_directory(self._directory)

    def _write(self, name: str, write: Callable[[BinaryIO], object]) -> None:
        with written_whole(self._directory / name, self._directory / f"_{name}.{os.getpid()}.half") as file:
            write(file)

    def _name(self, number: int) -> str:
        return f"part-{number:05d}{self._suffix}"

    def _prove_same(self, kept: bytes, job: Job) -> None:
        try:
            same = _job.decode(kept) == job
        except msgspec.DecodeError:
            same = False
        if not same:
            raise OutputError(
                f"{self._directory} has lists of another model, of other users or with other options; remove it, or "
                "name another directory."
            )


@contextmanager
def _explained(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"The lists cannot be written to {directory}: {error.strerror}.") from None
