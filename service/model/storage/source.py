"""The file at the model path: detecting changes, and reading and writing it completely."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shlex
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path
from typing import Annotated, BinaryIO, TypeAlias

import msgspec

from service.errors import (
    CorruptFileError,
    OutOfResourcesError,
    PathTakenError,
    SourceChangedError,
    SourceMissingError,
    SourceTooLargeError,
    TrainingError,
    UnreadableSourceError,
)
from service.files import written_whole

Version: TypeAlias = Annotated[
    str,
    msgspec.Meta(
        pattern="^[0-9a-f]{16}$",
        description="The version of a model: the first 16 hex digits of its file's SHA-256.",
    ),
]

#: Errors of a system that temporarily lacks resources, which are not the file's fault.
_LACKING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN, errno.EINTR})

_CHUNK = 2**20
#: A file of more bytes is refused if less than a 16th was ever written. Zeros in a model can be holes.
_SPARSE_BYTES, _SPARSENESS = 2**26, 16
_URI = "file:///"
#: What is in a directory of a model: of Spark itself, of MLflow, or of ops/spark/train.py.
_OF_SPARK = ("itemFactors", "metadata", "MLmodel", "item_labels")
_QUOTED = re.compile(rb"%([0-9A-Fa-f]{2})")
#: Of a file in more pieces, the rest does not count.
_MOST_EXTENTS = 10_000


def text_of(path: Path) -> str:
    """Return a path as text: itself, or a URI (file:///…) if its bytes are not UTF-8."""
    text = str(path)
    return path.absolute().as_uri() if any("\udc80" <= letter <= "\udcff" for letter in text) else text


def path_of(text: str) -> Path:
    """Return the path of which :func:`text_of` made a text; no other path begins like a URI."""
    if text.startswith(_URI):
        quoted = text.removeprefix(_URI[:-1]).encode()
        return Path(os.fsdecode(_QUOTED.sub(lambda byte: bytes.fromhex(byte[1].decode()), quoted)))
    return Path(text)


def read_path(kind: type, text: str) -> Path:
    """Decode the text of a path; msgspec calls this for types that it does not know."""
    assert kind is Path
    return path_of(text)


class Signature(msgspec.Struct, frozen=True):
    """The ``stat`` of a file; two equal signatures mean that it did not change in between.

    realpath: see :func:`text_of`. Times are in nanoseconds. ``ctime_ns`` cannot be set, so a replacement with an older
    mtime is detected too.
    """

    realpath: str
    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @property
    def modified_at(self) -> datetime:
        """Return when the file was written; an impossible time, which anyone can set, becomes 1970."""
        try:
            return datetime.fromtimestamp(self.mtime_ns / 1e9, UTC)
        except (ValueError, OverflowError):
            return datetime.fromtimestamp(0, UTC)


class Source(msgspec.Struct, frozen=True):
    """A file whose content is known: its path, see :func:`text_of`, its signature and the sha256 (hex) of its bytes."""

    path: str
    signature: Signature
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]

    @property
    def version(self) -> str:
        """Return the model version: the first 16 hex digits of the sha256."""
        return self.sha256[:16]


def signature(path: Path) -> Signature:
    """Return the file's signature. Raises SourceMissingError, UnreadableSourceError, OutOfResourcesError."""
    try:
        real = path.resolve(strict=True)
        found = real.stat()
    except FileNotFoundError:
        raise SourceMissingError(f"Model file not found: {path}") from None
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of symbolic links, before Python 3.13
        raise unreadable(path, error) from None
    if not stat.S_ISREG(found.st_mode):
        if any((real / name).exists() for name in _OF_SPARK):
            raise UnreadableSourceError(
                f"{path} is a directory, as Spark saves a model; make a model file of it with "
                f"als-serve convert {shlex.quote(str(path))} als_model.npz."
            )
        raise UnreadableSourceError(f"{path} is not a regular file; put one there.")
    return Signature(text_of(real), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def look(path: Path) -> Signature | str:
    """Return the signature of the file at the path, or the sentence that says why there is none."""
    try:
        return signature(path)
    except (SourceMissingError, UnreadableSourceError, OutOfResourcesError) as error:
        return str(error)


def identify(
    path: Path,
    most_bytes: int | None = None,
    is_stopped: Callable[[], bool] = lambda: False,
    *,
    may_be_empty: bool = False,
) -> Source:
    """Hash the whole file, unless it is larger than ``most_bytes``, or ``is_stopped`` returns True meanwhile.

    Raises SourceMissingError, UnreadableSourceError, SourceTooLargeError, CorruptFileError, OutOfResourcesError,
    SourceChangedError.
    """
    seen = signature(path)
    if seen.size == 0 and not may_be_empty:
        raise UnreadableSourceError(f"{path} is empty (0 bytes).")
    if most_bytes is not None and seen.size > most_bytes:
        raise SourceTooLargeError(
            f"{path} has {seen.size} bytes, more than the {most_bytes // 2**20} MB that a model may have; raise "
            "ALS_MAX_MODEL_MB if it is one."
        )
    with opened(path, seen) as file:
        try:
            _refuse_sparse(path, file, seen.size)
            digest = _digest(path, file, is_stopped)
        except OSError as error:
            raise unreadable(path, error) from None
    return Source(text_of(path), seen, digest)


def _digest(path: Path, file: BufferedReader, is_stopped: Callable[[], bool]) -> str:
    digest, chunk = hashlib.sha256(), memoryview(bytearray(_CHUNK))
    while size := file.readinto(chunk):
        digest.update(chunk[:size])
        if is_stopped():
            raise SourceChangedError(f"{path} is no longer wanted.")
    return digest.hexdigest()


def _refuse_sparse(path: Path, file: BufferedReader, size: int) -> None:
    """Refuse a large file that is mostly holes: its size costs nobody anything but the reader."""
    written = written_bytes(file.fileno())
    if size > _SPARSE_BYTES and written < size / _SPARSENESS:
        raise CorruptFileError(f"{path} has {size} bytes, but only {written} were ever written; copy it again, whole.")


def written_bytes(descriptor: int) -> int:
    """Return how many bytes of an open file are not in holes, as far as its file system knows. Raises OSError.

    The number of blocks would be wrong if the file system compresses, or has not allocated them yet.
    """
    at = written = 0
    for _ in range(_MOST_EXTENTS):
        try:
            start = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole follows
                break
            raise
        at = os.lseek(descriptor, start, os.SEEK_HOLE)
        written += at - start
    os.lseek(descriptor, 0, os.SEEK_SET)
    return written


@contextmanager
def opened(path: Path, expected: Signature) -> Iterator[BufferedReader]:
    """Open the file that ``expected`` describes, and check at the end that it has not changed.

    Raises SourceMissingError, UnreadableSourceError, OutOfResourcesError, SourceChangedError. Replacing the path by a
    rename does not disturb a reader, which keeps the complete old file.
    """
    try:
        # A named pipe that has replaced the file would otherwise block until a writer opens it.
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb")
    except FileNotFoundError:
        raise SourceMissingError(f"Model file not found: {path}") from None
    except OSError as error:
        raise unreadable(path, error) from None
    with unchanged(file, path, expected):
        yield file


@contextmanager
def unchanged(file: BufferedReader, path: Path, expected: Signature) -> Iterator[BufferedReader]:
    """Check that an open file is and stays the one that ``expected`` describes; close it at the end.

    Raises SourceChangedError, which names the file as ``path``.
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
        raise SourceChangedError(f"{path} changed while it was being read; reading it again.")


def unreadable(path: Path, error: Exception) -> UnreadableSourceError | OutOfResourcesError:
    """Return the error for an unreadable file; a lack of resources or a failing disk may be temporary."""
    reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    if isinstance(error, OSError) and (is_lacking(error) or error.errno == errno.EIO):
        return OutOfResourcesError(f"{path} cannot be read for now: {reason}; it will be retried.")
    return UnreadableSourceError(f"{path} cannot be read: {reason}.")


def is_lacking(error: OSError) -> bool:
    """Return whether the system lacks descriptors or memory, so that a retry may succeed."""
    return error.errno in _LACKING


@contextmanager
def written_model(path: Path, *, overwrite: bool = True) -> Iterator[BinaryIO]:
    """Yield a new file that is renamed to the path at the end of the block.

    Raises TrainingError, and PathTakenError if a file exists that must not be overwritten.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with written_whole(path, beside, overwrite=overwrite) as file:
            yield file
    except FileExistsError:
        raise PathTakenError(f"{path} already exists and was not overwritten.") from None
    except OSError as error:
        raise TrainingError(f"The model cannot be written to {path}: {error.strerror}.") from error
