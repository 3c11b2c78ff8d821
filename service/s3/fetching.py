"""Downloads: one exact version is streamed to a file next to the path, verified, then renamed to it."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import glob
import hashlib
import os
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from service.errors import DownloadCorruptError, DownloadCutError, ModelPathError, ModelRejectedError
from service.files import sync, take_place
from service.model.storage.source import identify, signature
from service.s3.failures import speaking_of
from service.s3.finding import get_object, plausible, sha256_of
from service.s3.location import Location
from service.s3.versions import Counted, Download, Found
from service.threads import in_threads

if TYPE_CHECKING:
    from types_aiobotocore_s3.client import S3Client
    from types_aiobotocore_s3.type_defs import GetObjectOutputTypeDef

#: Looks at a complete download before it replaces anything.
Admit = Callable[[Path], Awaitable[None]]
#: The bytes hashed and written at a time, in a thread: large enough to be efficient, small enough for memory.
_CHUNK = 2**20


async def fetch(
    client: S3Client, bucket: str, found: Found, path: Path, on_bytes: Counted, admit: Admit | None = None
) -> Download:
    """Download a found version to the path, replacing the file there; ``on_bytes`` is called for each piece.

    Before it replaces anything, ``admit`` is awaited with the path of the complete download, and may raise.

    Its length and a sha256 are verified: the pointer's, else the one in its metadata. If neither is known, S3's own
    checksum is verified, if it covers the whole object and botocore supports its kind (CRC64NVME, which AWS adds by
    default, needs an extra library). Raises S3Error.
    """
    place, started = Location(bucket, found.key), time.perf_counter()
    if not found.size:
        raise DownloadCorruptError(f"{place} is empty, so the file that is there stays; publish it again.")
    answer = await get_object(client, place, **_version(found))
    assert answer  # an exact version cannot be "unchanged"
    async with answer["Body"] as body:
        _expect("length", found.size, answer.get("ContentLength", found.size), place)
        expected = found.sha256 or _published(answer)
        async with in_threads(_replacing(path, found.modified_at or plausible(answer["LastModified"]))) as part:
            with speaking_of(place):
                async for piece in _pieces(body):
                    # Nothing is written past the stated size, however long the body may go on.
                    _expect_at_most(found.size, part.size + len(piece), place)
                    await asyncio.to_thread(part.take, piece)
                    on_bytes(len(piece))
            if part.size < found.size:
                raise DownloadCutError(f"{place} was cut short after {part.size} of {found.size} bytes; try again.")
            _expect("sha256", expected or part.sha256, part.sha256, place)
            if admit:
                await asyncio.to_thread(part.flush)
                await admit(part.path)
            part.is_whole = True
    return Download(
        key=found.key,
        version_id=found.version_id or answer.get("VersionId"),
        etag=answer["ETag"],
        sha256=part.sha256,
        bytes=part.size,
        modified_at=found.modified_at,
        downloaded_at=datetime.now(UTC),
        seconds=round(time.perf_counter() - started, 3),
    )


def stands_at(path: Path, size: int, sha256: str) -> bool:
    """Return whether this content is already at the path."""
    with suppress(ModelRejectedError):
        return signature(path).size == size and identify(path).sha256 == sha256
    return False


def sweep(path: Path) -> None:
    """Remove incomplete downloads to this path by processes that have ended."""
    for leftover in path.parent.glob(_part_name(glob.escape(path.name), "*")):
        with suppress(OSError), leftover.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            leftover.unlink()


class _Part:
    """A file being written and hashed; locked, so that no process removes it as a leftover."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(_part_name(path.name, secrets.token_hex(4)))
        self._target = path
        self.size = 0
        self.is_whole = False
        self._digest = hashlib.sha256()
        with _writing(path):
            self._file = self._opened()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def _opened(self) -> BinaryIO:
        while True:
            file = self.path.open("xb")
            fcntl.flock(file, fcntl.LOCK_EX)
            if self.path.exists():
                return file
            file.close()  # another process swept it before it was locked

    def take(self, piece: bytes) -> None:
        self._digest.update(piece)
        self.size += len(piece)
        with _writing(self._target):
            self._file.write(piece)

    def flush(self) -> None:
        """Let others read everything that was taken."""
        with _writing(self._target):
            self._file.flush()

    def become(self, modified_at: datetime | None) -> None:
        """Replace the path by this file, once it is synced to disk."""
        with _writing(self._target):
            self._file.flush()
            if modified_at:
                # The time of publication, not of the download, so that a model has the same age on every server.
                os.utime(self._file.fileno(), (modified_at.timestamp(),) * 2)
            sync(self._file)
            take_place(self.path, self._target)

    def abandon(self) -> None:
        """Remove a leftover part."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self.path.unlink()


@contextmanager
def _replacing(path: Path, modified_at: datetime | None) -> Iterator[_Part]:
    """Yield a part that replaces the path at the end of the block if complete. Raises ModelPathError."""
    part = _Part(path)
    try:
        yield part
        if part.is_whole:
            part.become(modified_at)
    finally:
        part.abandon()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if not path.parent.is_dir():
            raise ModelPathError(
                f"A file from S3 cannot be written to {path}: there is no directory {path.parent}; create it."
            ) from None
        raise ModelPathError(
            f"A file from S3 cannot be written next to {path}: {error.strerror or error}. Free space, or make the "
            "directory writable for this user."
        ) from None


def _part_name(name: str, mark: str) -> str:
    return f".{name}.{mark}.part"


def _version(found: Found) -> dict[str, Any]:
    """Request exactly this version, and S3's checksum only if no sha256 is known."""
    version: dict[str, Any] = {}
    if found.version_id:
        version["VersionId"] = found.version_id
    elif found.etag:
        version["IfMatch"] = found.etag
    return version if found.sha256 else version | {"ChecksumMode": "ENABLED"}


def _published(answer: GetObjectOutputTypeDef) -> str | None:
    """Return S3's sha256 of the whole object, if any; a checksum of parts has a dash."""
    checksum = answer.get("ChecksumSHA256", "")
    if checksum and "-" not in checksum:
        return base64.b64decode(checksum).hex()
    return sha256_of(answer)


async def _pieces(body: Any) -> AsyncIterator[bytes]:
    """Combine many small reads."""
    piece = bytearray()
    async for chunk in body.iter_chunks(_CHUNK):
        piece += chunk
        if len(piece) >= _CHUNK:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)


def _expect_at_most(expected: int, found: int, place: Location) -> None:
    if found > expected:
        raise DownloadCorruptError(
            f"{place} has more bytes than the {expected} as published; publish it again if this persists."
        )


def _expect(what: str, expected: int | str, found: int | str, place: Location) -> None:
    if found != expected:
        raise DownloadCorruptError(
            f"{place} has the {what} {found}, not {expected} as published; publish it again if this persists."
        )
