"""The file at the model path: what tells that it changed, or that its content did; reading and writing it whole."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

import msgspec

from service.errors import (
    OutOfResourcesError,
    PathTakenError,
    SourceChangedError,
    SourceMissingError,
    TrainingError,
    UnreadableSourceError,
)
from service.files import written_whole

#: What the system says when it lacks something for a moment: this is not the fault of any file.
_LACKING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN, errno.EINTR})


class Signature(msgspec.Struct, frozen=True):
    """What ``stat`` says of a file; two equal ones mean that nobody changed it in between.

    Times are nanoseconds. ``ctime_ns`` cannot be set by anyone, so a replacement with an older mtime shows too.
    """

    realpath: str
    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @property
    def modified_at(self) -> datetime:
        """Return when the file was written, as it says: anyone may say any time, so one that is none is 1970."""
        try:
            return datetime.fromtimestamp(self.mtime_ns / 1e9, UTC)
        except (ValueError, OverflowError):
            return datetime.fromtimestamp(0, UTC)


class Source(msgspec.Struct, frozen=True):
    """A file whose content is known: its signature and the sha256 (hex) of all its bytes."""

    path: str
    signature: Signature
    sha256: str

    @property
    def version(self) -> str:
        """Return the model version: the first 16 hex digits of the sha256."""
        return self.sha256[:16]


def signature(path: Path) -> Signature:
    """Look at the file once. Raises SourceMissingError, UnreadableSourceError, OutOfResourcesError."""
    try:
        real = path.resolve(strict=True)
        found = real.stat()
    except FileNotFoundError:
        raise SourceMissingError(f"Model file not found: {path}") from None
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of symbolic links, before Python 3.13
        raise unreadable(path, error) from None
    if not stat.S_ISREG(found.st_mode):
        raise UnreadableSourceError(f"{path} is no regular file; put one there.")
    return Signature(str(real), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def look(path: Path) -> Signature | str:
    """Return what stands at the path: its signature, or the sentence that says why it has none."""
    try:
        return signature(path)
    except (SourceMissingError, UnreadableSourceError, OutOfResourcesError) as error:
        return str(error)


def identify(path: Path) -> Source:
    """Hash the whole file.

    Raises SourceMissingError, UnreadableSourceError, OutOfResourcesError, SourceChangedError.
    """
    seen = signature(path)
    if seen.size == 0:
        raise UnreadableSourceError(f"{path} is empty (0 bytes).")
    with opened(path, seen) as file:
        try:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise unreadable(path, error) from None
    return Source(str(path), seen, digest)


@contextmanager
def opened(path: Path, expected: Signature) -> Iterator[BufferedReader]:
    """Open the file that ``expected`` describes, and make sure at the end that it stayed as it was.

    Raises SourceMissingError, UnreadableSourceError, OutOfResourcesError, SourceChangedError. Replacing the path by a
    rename does not disturb a reader: the open file is the old one, whole.
    """
    try:
        # A named pipe that took the file's place since it was looked at would keep us waiting for a writer.
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb")
    except FileNotFoundError:
        raise SourceMissingError(f"Model file not found: {path}") from None
    except OSError as error:
        raise unreadable(path, error) from None
    with unchanged(file, path, expected):
        yield file


@contextmanager
def unchanged(file: BufferedReader, path: Path, expected: Signature) -> Iterator[BufferedReader]:
    """Make sure that an open file is the one that ``expected`` describes and stays so; close it in the end.

    Raises SourceChangedError, which calls the file ``path``.
    """
    with file:
        _expect(path, file, expected)
        yield file
        _expect(path, file, expected)


def _expect(path: Path, file: BufferedReader, expected: Signature) -> None:
    now = os.fstat(file.fileno())
    # A rename over the path changes the ctime of the old inode, whose bytes stay the same.
    ctime_ns = now.st_ctime_ns if now.st_nlink else expected.ctime_ns
    if expected != Signature(expected.realpath, now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, ctime_ns):
        raise SourceChangedError(f"{path} changed while it was being read; it is read again.")


def unreadable(path: Path, error: Exception) -> UnreadableSourceError | OutOfResourcesError:
    """Say why a file cannot be read; a system that lacks something, or a disk that fails, may do better in a moment."""
    reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    if isinstance(error, OSError) and (is_lacking(error) or error.errno == errno.EIO):
        return OutOfResourcesError(f"{path} cannot be read for now: {reason}. It is tried again.")
    return UnreadableSourceError(f"{path} cannot be read: {reason}.")


def is_lacking(error: OSError) -> bool:
    """Say whether the system lacks descriptors or memory, so that the same may succeed in a moment."""
    return error.errno in _LACKING


@contextmanager
def written_model(path: Path, *, overwrite: bool = True) -> Iterator[BinaryIO]:
    """Lend a new file that takes the path at the end of the block.

    Raises TrainingError, and PathTakenError where a file is there that must not be overwritten.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with written_whole(path, beside, overwrite=overwrite) as file:
            yield file
    except FileExistsError:
        raise PathTakenError(f"There is a file at {path}, and it stays.") from None
    except OSError as error:
        raise TrainingError(f"The model cannot be written to {path}: {error.strerror}.") from error
