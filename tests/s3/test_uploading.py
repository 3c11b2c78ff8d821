"""One file goes up to a real S3: to where nothing is, as it was checked, and nothing half remains."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from service.errors import PublishError, S3ChangedError, S3UnreachableError
from service.s3 import uploading
from service.s3.uploading import Protection, Upload, upload
from tests.support.bucket import Models, nobody, sha256
from tests.support.fault_proxy import FaultProxy, Reset, Stall, s3_error
from tests.support.helpers import eventually

PART = 5 * 2**20
WHOLE = random.Random(1).randbytes(1000)
LARGE = random.Random(2).randbytes(2 * PART + 3)
EITHER = pytest.mark.parametrize("content", [WHOLE, LARGE], ids=["whole", "in parts"])


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let parts be as small as S3 allows."""
    monkeypatch.setattr(uploading, "PART_BYTES", PART)


@pytest.fixture
def file(tmp_path: Path) -> Callable[[bytes], Upload]:
    """Return what writes a file and describes it."""

    def described(content: bytes) -> Upload:
        path = tmp_path / "als_model.npz"
        path.write_bytes(content)
        return Upload(path, sha256(content), len(content), {"made-by": "a test"})

    return described


async def put(
    models: Models, file: Upload, protection: Protection | None = None, on_bytes: Callable[[int], object] = nobody
) -> str | None:
    """Upload a file as ``m``."""
    return await upload(models.client, models.at("m"), file, protection or Protection(), on_bytes)


async def is_clean(models: Models) -> bool:
    """Say whether nothing is under the prefix, nor begun."""
    begun = await models.client.list_multipart_uploads(Bucket=models.bucket, Prefix=models.prefix.key)
    return not await models.names() and not begun.get("Uploads")


@EITHER
async def test_what_goes_up_arrives(versioned: Models, file: Callable[[bytes], Upload], content: bytes) -> None:
    """Byte for byte, with its metadata; its bytes are counted as they go, and the result has its version."""
    counts: list[int] = []
    version_id = await put(versioned, file(content), on_bytes=counts.append)
    head = await versioned.head("m")
    assert await versioned.get("m") == content
    assert (head["VersionId"], head["Metadata"]) == (version_id, {"made-by": "a test"})
    assert counts == ([1000] if content == WHOLE else [PART, PART, 3])


async def test_a_bucket_without_versions_gives_none(models: Models, file: Callable[[bytes], Upload]) -> None:
    """There is nothing to ask for but the key."""
    assert await put(models, file(WHOLE)) is None


@pytest.mark.parametrize(("size", "pieces"), [(PART, 1), (PART + 1, 2)])
async def test_up_to_one_part_a_file_goes_up_whole(
    models: Models, file: Callable[[bytes], Upload], proxy: FaultProxy, size: int, pieces: int
) -> None:
    """One request, and S3 has a sha256 of the whole; what is larger takes as many parts as it fills."""
    counts: list[int] = []
    await put(models, file(LARGE[:size]), on_bytes=counts.append)
    assert (len(counts), sum(counts)) == (pieces, size)
    assert len(proxy.requests) == (1 if pieces == 1 else pieces + 2)
    head = await models.client.head_object(Bucket=models.bucket, Key=models.at("m").key, ChecksumMode="ENABLED")
    assert ("-" in head["ChecksumSHA256"]) == (pieces > 1)


@EITHER
async def test_nothing_is_replaced(models: Models, file: Callable[[bytes], Upload], content: bytes) -> None:
    """What is there stays, and nothing half is kept beside it."""
    await models.put("m", b"what is there")
    with pytest.raises(S3ChangedError, match=f"^{models.at('m')} "):
        await put(models, file(content))
    assert await models.get("m") == b"what is there"
    await models.delete("m")
    assert await is_clean(models)


@EITHER
async def test_a_file_that_changed_is_not_published(
    models: Models, file: Callable[[bytes], Upload], content: bytes
) -> None:
    """Of the same length, and not what was checked: nothing of it is there in the end."""
    described = file(content)
    described.path.write_bytes(content[:-1] + b"?")
    with pytest.raises(PublishError) as failure:
        await put(models, described)
    assert str(failure.value) == f"{described.path} changed during the upload and was not published; publish it again."
    assert await is_clean(models)


@EITHER
async def test_a_file_that_is_gone_is_not_published(
    models: Models, file: Callable[[bytes], Upload], content: bytes
) -> None:
    """The message does not blame S3."""
    described = file(content)
    described.path.unlink()
    with pytest.raises(PublishError) as failure:
        await put(models, described)
    sentence = f"{described.path} can no longer be read (No such file or directory) and was not published."
    assert str(failure.value) == sentence
    assert await is_clean(models)


@EITHER
async def test_tags_and_encryption_are_as_asked(
    models: Models, file: Callable[[bytes], Upload], content: bytes
) -> None:
    """Every tag to the letter, and AES256 where that is wanted."""
    tags = (("team", "search & shop"), ("stage", "a=b"), ("empty", ""))
    await put(models, file(content), Protection(sse="AES256", tags=tags))
    head = await models.head("m")
    assert head["ServerSideEncryption"] == "AES256"
    tagged = await models.client.get_object_tagging(Bucket=models.bucket, Key=models.at("m").key)
    assert sorted((tag["Key"], tag["Value"]) for tag in tagged["TagSet"]) == sorted(tags)
    assert await models.get("m") == content


async def test_without_protection_the_bucket_decides(models: Models, file: Callable[[bytes], Upload]) -> None:
    """Nothing is asked for."""
    await put(models, file(WHOLE))
    assert "ServerSideEncryption" not in await models.head("m")


@pytest.mark.parametrize(
    ("protection", "encryption"),
    [
        (Protection(), {}),
        (Protection(tags=(("a", "b"),)), {}),
        (Protection(sse="AES256"), {"ServerSideEncryption": "AES256"}),
        (Protection("aws:kms", "key"), {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "key"}),
    ],
)
def test_only_what_is_given_is_asked_for(protection: Protection, encryption: dict[str, str]) -> None:
    """S3 takes no empty names."""
    assert protection.encryption == encryption


@pytest.mark.parametrize("matching", ["partNumber=2", r"^POST .*uploadId="], ids=["a part", "the end"])
async def test_an_upload_that_breaks_off_leaves_nothing(
    models: Models, file: Callable[[bytes], Upload], proxy: FaultProxy, matching: str
) -> None:
    """Parts that went up are given back, as they would be paid for."""
    proxy.fail(Reset(), matching=matching)
    with pytest.raises(S3UnreachableError, match=f"^{models.at('m')} cannot be reached"):
        await put(models, file(LARGE))
    assert await is_clean(models)


async def test_an_upload_that_is_given_up_leaves_nothing(
    models: Models, file: Callable[[bytes], Upload], proxy: FaultProxy
) -> None:
    """As with Ctrl-C, in the middle of a part."""
    proxy.fail(Stall(), matching="partNumber=2")
    counts: list[int] = []
    task = asyncio.create_task(put(models, file(LARGE), on_bytes=counts.append))
    await eventually(lambda: any("partNumber=2" in request.path for request in proxy.requests))
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert await is_clean(models)


async def test_what_failed_first_is_told(models: Models, file: Callable[[bytes], Upload], proxy: FaultProxy) -> None:
    """Where not even giving up succeeds, the sentence is still about why that was done."""
    proxy.fail(s3_error(404, "NoSuchUpload"), matching="^DELETE ")
    described: Any = file(LARGE)
    described.path.write_bytes(LARGE + b"?")
    with pytest.raises(PublishError, match="changed during the upload"):
        await put(models, described)
