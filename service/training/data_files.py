"""Files of interactions: found in paths, and opened on use, or in advance for a process that will lose permission."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from service.errors import TrainingError
from service.training.account import Account

_COMPRESSED = ("", ".gz", ".zst", ".bz2", ".lz4")
_ENDINGS = (*(f".{kind}{packed}" for kind in ("csv", "tsv") for packed in _COMPRESSED), ".parquet")
#: What marks a directory as a table whose log says which of its files count.
_LOGS = {"_delta_log": "Delta Lake", ".hoodie": "Hudi"}
_LOG_FILES = {"metadata/*.metadata.json": "Iceberg", "snapshot/snapshot-[0-9]*": "Paimon"}


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file and its size in bytes; ``found`` if a directory led to it, ``descriptor`` if it is already open."""

    path: Path
    size: int
    found: bool = False
    descriptor: int | None = None

    def open(self) -> io.BufferedReader:
        """Return an independent reader at the beginning. Raises OSError."""
        return self.path.open("rb") if self.descriptor is None else io.BufferedReader(_Reader(self.descriptor))


def files_of(paths: Sequence[Path], account: Account) -> list[DataFile]:
    """Return the files in these paths, including those in directories, in order; the account notes all others.

    Raises TrainingError.
    """
    return [file for path in paths for file in _files_at(path, account)]


@contextmanager
def held_open(files: Sequence[DataFile]) -> Iterator[list[DataFile]]:
    """Open files for the duration of a block, so that they can be read without permission. Raises TrainingError."""
    with ExitStack() as stack:
        held = []
        for file in files:
            try:
                descriptor = os.open(file.path, os.O_RDONLY)
            except OSError as error:
                raise _unreadable(file.path, error) from None
            stack.callback(os.close, descriptor)
            held.append(replace(file, descriptor=descriptor))
        yield held


class _Reader(io.RawIOBase):
    """Reads a shared descriptor, with a position per reader."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = os.preadv(self._descriptor, [buffer], self._place)
        self._place += count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place}.get(whence)
        self._place = (os.fstat(self._descriptor).st_size if start is None else start) + offset
        return self._place


def _files_at(path: Path, account: Account) -> list[DataFile]:
    status = _status(path)
    for directory in (path, *path.absolute().parents):
        _refuse_log(directory)
    if stat.S_ISDIR(status.st_mode):
        inside = [DataFile(file, _status(file).st_size, found=True) for file in _tables_in(path, account)]
        if not inside:
            raise TrainingError(f"{path} has no file that ends in {', '.join(_ENDINGS)}.")
        return inside
    if not stat.S_ISREG(status.st_mode):
        # A pipe can only be read once, but the header is read before the rows.
        raise TrainingError(f"{path} is neither a file nor a directory; write its content to a file.")
    return [DataFile(path, status.st_size)]


def _tables_in(directory: Path, account: Account) -> list[Path]:
    """Return the tables in a directory and below; everything else is noted. Raises TrainingError."""

    def unreadable(error: OSError) -> None:
        raise _unreadable(Path(error.filename), error)

    found = []
    for parent, directories, names in os.walk(directory, onerror=unreadable):
        _refuse_log(Path(parent))
        links = [name for name in directories if Path(parent, name).is_symlink()]
        found += [Path(parent, name) for name in (*names, *links)]
    tables = {path for path in found if _is_table(path, directory)}
    account.passed_over += sorted(set(found) - tables)
    return sorted(tables)


def _refuse_log(directory: Path) -> None:
    """Raise TrainingError if a log in the directory says which files count, because others may be old or deleted."""
    kinds = [kind for name, kind in _LOGS.items() if (directory / name).is_dir()]
    kinds += [kind for pattern, kind in _LOG_FILES.items() if any(directory.glob(pattern))]
    if kinds:
        raise TrainingError(
            f"{directory} is a {kinds[0]} table, whose log says which of its files count; export its rows to a "
            "directory of Parquet or CSV files."
        )


def _is_table(file: Path, directory: Path) -> bool:
    # Spark and Hadoop write files such as _SUCCESS next to the data; hidden files are incomplete or unrelated.
    hidden = any(part.startswith(("_", ".")) for part in file.relative_to(directory).parts)
    return not hidden and file.name.lower().endswith(_ENDINGS) and file.is_file()


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> TrainingError:
    return TrainingError(f"{path} cannot be read: {error.strerror}.")
