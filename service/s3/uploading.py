"""Uploads: one file to an unused key, hashed on the way, so that the uploaded content is what was checked."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec

from service.errors import PublishError, S3Error
from service.s3.failures import speaking_of
from service.s3.location import Location
from service.s3.versions import Counted

if TYPE_CHECKING:
    from types_aiobotocore_s3.client import S3Client
    from types_aiobotocore_s3.type_defs import CompletedPartTypeDef

#: Larger files are uploaded in parts of this size; S3 allows at most 10,000 parts, of at least 5 MiB.
PART_BYTES = 16 * 2**20


class Protection(msgspec.Struct, frozen=True):
    """Encryption at rest ("AES256" or "aws:kms"; None leaves it to the bucket), its key, and tags."""

    sse: str | None = None
    kms_key: str | None = None
    tags: tuple[tuple[str, str], ...] = ()

    @property
    def encryption(self) -> dict[str, Any]:
        """Return the parameters of a write request."""
        asked = {"ServerSideEncryption": self.sse, "SSEKMSKeyId": self.kms_key}
        return {name: value for name, value in asked.items() if value}


class Upload(msgspec.Struct, frozen=True):
    """A file, its expected sha256 (hex), and its object metadata."""

    path: Path
    sha256: str
    size: int
    metadata: dict[str, str]


async def upload(
    client: S3Client, place: Location, file: Upload, protection: Protection, on_bytes: Counted
) -> str | None:
    """Upload a file to an unused key; return its version, None in a bucket without versions.

    Raises S3ChangedError if the key exists, PublishError if the file has changed, and other S3Errors.
    """
    request: dict[str, Any] = {
        "Bucket": place.bucket,
        "Key": place.key,
        "ContentType": "application/octet-stream",
        "Metadata": file.metadata,
        **protection.encryption,
    }
    if protection.tags:
        request["Tagging"] = urlencode(protection.tags)
    with speaking_of(place):
        if file.size <= PART_BYTES:
            return await _whole(client, request, file, on_bytes)
        return await _in_parts(client, request, file, on_bytes)


async def _whole(client: S3Client, request: dict[str, Any], file: Upload, on_bytes: Counted) -> str | None:
    with _reading(file.path):
        content = await asyncio.to_thread(file.path.read_bytes)
    _expect(file, hashlib.sha256(content).hexdigest())
    put = await client.put_object(**request, Body=content, ChecksumSHA256=_base64_sha256(content), IfNoneMatch="*")
    on_bytes(len(content))
    return put.get("VersionId")


async def _in_parts(client: S3Client, request: dict[str, Any], file: Upload, on_bytes: Counted) -> str | None:
    begun = await client.create_multipart_upload(**request, ChecksumAlgorithm="SHA256")
    target: dict[str, Any] = {name: request[name] for name in ("Bucket", "Key")} | {"UploadId": begun["UploadId"]}
    try:
        parts: list[CompletedPartTypeDef] = []
        digest = hashlib.sha256()
        async for part in _parts(file.path):
            digest.update(part)
            checksum, number = _base64_sha256(part), len(parts) + 1
            took = await client.upload_part(**target, PartNumber=number, Body=part, ChecksumSHA256=checksum)
            parts.append({"PartNumber": number, "ETag": took["ETag"], "ChecksumSHA256": checksum})
            on_bytes(len(part))
        _expect(file, digest.hexdigest())
        put = await client.complete_multipart_upload(**target, MultipartUpload={"Parts": parts}, IfNoneMatch="*")
        return put.get("VersionId")
    except BaseException:
        # Parts of an incomplete upload are kept invisibly and cost money, so abort; the first failure is reported.
        place = Location(target["Bucket"], target["Key"])
        with suppress(S3Error), speaking_of(place):
            await client.abort_multipart_upload(**target)
        raise


async def _parts(path: Path) -> AsyncIterator[bytes]:
    with _reading(path), path.open("rb") as file:
        while part := await asyncio.to_thread(file.read, PART_BYTES):
            yield part


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PublishError(f"{path} can no longer be read ({error.strerror or error}) and was not published.") from None


def _expect(file: Upload, sha256: str) -> None:
    if sha256 != file.sha256:
        raise PublishError(f"{file.path} changed during the upload and was not published; publish it again.")


def _base64_sha256(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()
