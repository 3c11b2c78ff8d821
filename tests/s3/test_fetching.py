"""One exact version comes down from a real S3: whole and verified, or nothing changes at the path."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import hashlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from service.errors import (
    DownloadCorruptError,
    DownloadCutError,
    ModelPathError,
    S3ChangedError,
    S3Error,
    S3NotFoundError,
    S3TimeoutError,
)
from service.s3.client import connected
from service.s3.failures import deadline
from service.s3.fetching import fetch, stands_at, sweep
from service.s3.finding import find
from service.s3.location import LATEST, Location
from service.s3.versions import Download, Found, Marker
from tests.support.bucket import Models, nobody, pointer_to, sha256
from tests.support.fault_proxy import Cut, Drip, Fault, FaultProxy, Reset, Stall
from tests.support.helpers import eventually, finished, mounted

NAME = "als_model_20260131_021500.npz"
CONTENT = random.Random(0).randbytes(3 * 2**20 + 7)
Serve = Callable[[web.Application], Awaitable[TestServer]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a model path at which an older model stands."""
    path = tmp_path / "als_model.npz"
    path.write_bytes(b"the older one")
    return path


async def found(models: Models, name: str = "") -> Found:
    """Find what must be there."""
    version = await find(models.client, models.at(name), None)
    assert version
    return version


async def fetched(models: Models, version: Found, path: Path, on_bytes: Callable[[int], object] = nobody) -> Download:
    """Fetch a version of a prefix's bucket."""
    return await fetch(models.client, models.bucket, version, path, on_bytes)


def content_of(path: Path) -> bytes:
    """Read a file."""
    return path.read_bytes()


def made_at(path: Path) -> float:
    """Return a file's time."""
    return path.stat().st_mtime


def beside(path: Path) -> set[Path]:
    """Return what is in a file's directory, itself too."""
    return set(path.parent.iterdir())


def untouched(path: Path) -> bool:
    """Say whether the older model is at the path, and nothing is beside it."""
    return content_of(path) == b"the older one" and beside(path) == {path}


async def put_pointer(models: Models, **others: Any) -> Found:
    """Put the model and a pointer to it in which some fields are others; return what is found by it."""
    await models.put(NAME, CONTENT)
    await models.put(LATEST, pointer_to(models, NAME, CONTENT, **others))
    return await found(models)


@pytest.mark.parametrize("name", [NAME, "", LATEST], ids=["an exact key", "the newest name", "a pointer"])
async def test_what_was_found_comes_whole(versioned: Models, path: Path, name: str) -> None:
    """It takes the older one's place, its bytes are counted as they arrive, and the result describes it."""
    await versioned.put(NAME, CONTENT, Metadata={"sha256": sha256(CONTENT)})
    head = await versioned.head(NAME)
    if name == LATEST:
        await versioned.put(LATEST, pointer_to(versioned, NAME, CONTENT, version_id=head["VersionId"]))
    version = await found(versioned, "" if name == LATEST else name)
    counts: list[int] = []
    download = await fetched(versioned, version, path, counts.append)
    assert content_of(path) == CONTENT
    assert beside(path) == {path}
    assert sum(counts) == len(CONTENT) == download.bytes
    assert len(counts) > 2
    assert (download.key, download.etag, download.version_id) == (version.key, head["ETag"], head["VersionId"])
    assert (download.sha256, download.modified_at) == (sha256(CONTENT), version.modified_at)
    assert 0 <= (datetime.now(UTC) - download.downloaded_at).total_seconds() < 60
    assert download.seconds
    assert download.seconds > 0


@pytest.mark.parametrize("size", [1, 2**20, 2**21, 2**21 + 1])
async def test_every_length_comes_whole(models: Models, path: Path, size: int) -> None:
    """Also one that ends with a piece."""
    await models.put(NAME, CONTENT[:size])
    counts: list[int] = []
    await fetched(models, await found(models), path, counts.append)
    assert content_of(path) == CONTENT[:size]
    assert sum(counts) == size


async def test_a_download_is_of_the_version_that_was_found(models: Models, path: Path) -> None:
    """As long as the key and the ETag are the same."""
    await models.put(NAME, b"one")
    before = await found(models)
    download = await fetched(models, before, path)
    assert download.is_of(before)
    await models.put(NAME, b"two")
    assert not download.is_of(await found(models))
    await models.put("als_model_20990131_021500.npz", b"one")
    assert not download.is_of(await found(models))


async def test_a_model_is_as_old_as_its_publication(models: Models, path: Path) -> None:
    """The file's time is that of the pointer, or where it tells none, when S3 got the object; never now."""
    created_at = datetime(2026, 1, 31, 2, 15, tzinfo=UTC)
    await fetched(models, await put_pointer(models, created_at=created_at.isoformat()), path)
    assert made_at(path) == created_at.timestamp()
    await fetched(models, await put_pointer(models), path)
    assert made_at(path) == (await models.head(NAME))["LastModified"].timestamp()


@pytest.mark.parametrize(
    ("others", "sentence"),
    [
        ({"size": len(CONTENT) - 1}, f"the length {len(CONTENT)}, not {len(CONTENT) - 1} as published"),
        ({"size": len(CONTENT) + 1}, f"the length {len(CONTENT)}, not {len(CONTENT) + 1} as published"),
        ({"sha256": "0" * 64}, f"the sha256 {sha256(CONTENT)}, not {'0' * 64} as published"),
    ],
)
async def test_what_the_pointer_does_not_mean_is_refused(
    models: Models, path: Path, others: dict[str, Any], sentence: str
) -> None:
    """Another length or sha256: the older model stays, and the sentence says what differs."""
    version = await put_pointer(models, **others)
    with pytest.raises(DownloadCorruptError, match=f"^{models.at(NAME)} has {sentence}; publish it again"):
        await fetched(models, version, path)
    assert untouched(path)


async def test_what_is_not_as_it_was_published_is_refused(models: Models, path: Path) -> None:
    """Without a pointer, the sha256 in the object's metadata is verified."""
    await models.put(NAME, CONTENT, Metadata={"sha256": "0" * 64})
    with pytest.raises(DownloadCorruptError):
        await fetched(models, await found(models), path)
    assert untouched(path)


async def test_a_checksum_of_parts_is_not_taken_for_that_of_the_whole(models: Models, path: Path) -> None:
    """What others put there in parts has a checksum of checksums, and comes all the same."""
    target: Any = {"Bucket": models.bucket, "Key": models.at(NAME).key}
    begun = await models.client.create_multipart_upload(**target, ChecksumAlgorithm="SHA256")
    target["UploadId"] = begun["UploadId"]
    parts: list[Any] = []
    for number, content in ((1, bytes(5 * 2**20)), (2, CONTENT)):
        checksum = base64.b64encode(hashlib.sha256(content).digest()).decode()
        took = await models.client.upload_part(**target, PartNumber=number, Body=content, ChecksumSHA256=checksum)
        parts.append({"PartNumber": number, "ETag": took["ETag"], "ChecksumSHA256": checksum})
    put = await models.client.complete_multipart_upload(**target, MultipartUpload={"Parts": parts})
    assert put["ChecksumSHA256"].endswith("-2")
    download = await fetched(models, await found(models), path)
    assert content_of(path) == bytes(5 * 2**20) + CONTENT
    assert download.sha256 == sha256(content_of(path))


async def test_the_checksum_that_s3_has_is_compared(models: Models, path: Path) -> None:
    """Where others put a model there with one, it is enough."""
    await models.put(NAME, CONTENT, ChecksumSHA256=base64.b64encode(hashlib.sha256(CONTENT).digest()).decode())
    download = await fetched(models, await found(models), path)
    assert download.sha256 == sha256(CONTENT)


async def test_the_very_version_comes_that_was_found(versioned: Models, path: Path) -> None:
    """Though its key has another version by then, or was removed."""
    await versioned.put(NAME, b"version one")
    head = await versioned.head(NAME)
    pointer = pointer_to(versioned, NAME, b"version one", version_id=head["VersionId"])
    await versioned.put(LATEST, pointer)
    version = await found(versioned)
    await versioned.put(NAME, b"version two")
    assert (await fetched(versioned, version, path)).version_id == head["VersionId"]
    assert content_of(path) == b"version one"
    await versioned.delete(NAME)
    await fetched(versioned, version, path)
    assert content_of(path) == b"version one"


async def test_what_changed_since_it_was_found_does_not_come(models: Models, path: Path) -> None:
    """In a bucket without versions, another ETag is an error, and the next look finds the new one."""
    await models.put(NAME, CONTENT)
    version = await found(models)
    await models.put(NAME, CONTENT + b" ")
    with pytest.raises(S3ChangedError, match=f"^{models.at(NAME)} was changed by someone else in the meantime"):
        await fetched(models, version, path)
    assert untouched(path)
    await fetched(models, await found(models), path)
    assert content_of(path) == CONTENT + b" "


async def test_what_is_pointed_to_and_not_there_is_said(models: Models, path: Path) -> None:
    """By the model's own name."""
    await models.put(LATEST, pointer_to(models, NAME, CONTENT))
    with pytest.raises(S3NotFoundError, match=f"^{models.at(NAME)} does not exist"):
        await fetched(models, await found(models), path)
    assert untouched(path)


HALF = len(CONTENT) // 2


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Cut(HALF), DownloadCutError),
        (Reset(HALF), S3Error),
        (Reset(), S3Error),
        (Stall(HALF), S3TimeoutError),
        (Stall(), S3TimeoutError),
        (Drip(100, 0.01), S3TimeoutError),
    ],
    ids=str,
)
async def test_a_fault_on_the_way_changes_nothing(
    models: Models, proxy: FaultProxy, path: Path, fault: Fault, error: type[S3Error]
) -> None:
    """Cut, reset, silent or dripping: one error, the older model stays; the next try brings the new one."""
    version = await put_pointer(models)
    proxy.fail(fault, matching=NAME)
    with pytest.raises(error, match=f"^{models.at(NAME)} "):
        async with deadline(0.5 if error is S3TimeoutError else 30, models.at(NAME)):
            await fetched(models, version, path)
    assert untouched(path)
    proxy.heal()
    await fetched(models, version, path)
    assert content_of(path) == CONTENT


async def served(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, path: Path, size: int, headers: dict[str, str], body: bytes
) -> Download:
    """Fetch so many bytes from something like S3 that answers in chunks, without telling a length."""
    usual = {"ETag": '"1"', "Last-Modified": "Sat, 31 Jan 2026 02:15:00 GMT"}

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=usual | headers)
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(body)
        return response

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    server = await serve(app)
    monkeypatch.setenv("AWS_ENDPOINT_URL", str(server.make_url("")))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "something")
    version = Found(key=NAME, size=size, modified_at=None, marker=Marker(NAME, '"1"'))
    async with connected(Location("bucket", NAME), "owner") as client:
        return await fetch(client, "bucket", version, path, nobody)


async def test_an_answer_without_a_length_is_counted(
    aiohttp_server: Serve, monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    """Too few or too many bytes are an error, and the older model stays."""
    with pytest.raises(DownloadCutError, match="was cut short after 5 of 6 bytes"):
        await served(aiohttp_server, monkeypatch, path, 6, {}, b"seven")
    with pytest.raises(DownloadCorruptError, match="has more bytes than the 4 as published"):
        await served(aiohttp_server, monkeypatch, path, 4, {}, b"seven")
    assert untouched(path)
    await served(aiohttp_server, monkeypatch, path, 5, {}, b"seven")
    assert content_of(path) == b"seven"
    assert made_at(path) == datetime(2026, 1, 31, 2, 15, tzinfo=UTC).timestamp()


async def test_a_body_that_has_not_the_checksum_beside_it_is_refused(
    aiohttp_server: Serve, monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    """S3 is believed what it says of an object, not what came in its place."""
    checksum = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    with pytest.raises(DownloadCorruptError, match=f"^s3://bucket/{NAME} "):
        await served(aiohttp_server, monkeypatch, path, 5, {"x-amz-checksum-sha256": checksum}, b"seven")
    assert untouched(path)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Return a model path on a disk of 512 KB, at which an older model stands."""
    directory = tmp_path / "disk"
    directory.mkdir()
    with mounted("-t", "tmpfs", "-o", "size=512k", "tmpfs", str(directory)):
        path = directory / "als_model.npz"
        path.write_bytes(b"the older one")
        yield path


async def test_a_full_disk_changes_nothing(models: Models, disk: Path) -> None:
    """The sentence says where there is no room; the room that was taken is given back."""
    version = await put_pointer(models)
    with pytest.raises(ModelPathError) as failure:
        await fetched(models, version, disk)
    assert str(failure.value) == (
        f"A file from S3 cannot be written next to {disk}: No space left on device. "
        "Free space, or make the directory writable for this user."
    )
    assert untouched(disk)


async def test_a_directory_that_cannot_be_written_changes_nothing(models: Models, disk: Path) -> None:
    """Read-only, or not there at all."""
    version = await put_pointer(models)
    assert (await finished("mount", "-o", "remount,ro", str(disk.parent))).returncode == 0
    with pytest.raises(ModelPathError, match="Read-only file system"):
        await fetched(models, version, disk)
    assert untouched(disk)
    missing = disk.parent.parent / "missing"
    with pytest.raises(ModelPathError, match=f"there is no directory {missing}; create it."):
        await fetched(models, version, missing / "als_model.npz")


async def test_a_path_that_cannot_be_replaced_changes_nothing(models: Models, tmp_path: Path) -> None:
    """A directory where the model is to stand; what came is not left beside it."""
    version = await put_pointer(models)
    taken = tmp_path / "als_model.npz"
    taken.mkdir()
    with pytest.raises(ModelPathError, match=f"next to {taken}: Is a directory"):
        await fetched(models, version, taken)
    assert beside(taken) == {taken}


@asynccontextmanager
async def stalled(models: Models, proxy: FaultProxy, path: Path) -> AsyncIterator[None]:
    """Download for the length of a block, and come no further than the half."""
    version = await put_pointer(models)
    proxy.fail(Stall(HALF), matching=NAME)
    counts: list[int] = []
    task = asyncio.create_task(fetched(models, version, path, counts.append))
    try:
        await eventually(lambda: counts)
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_download_that_is_given_up_leaves_nothing(models: Models, proxy: FaultProxy, path: Path) -> None:
    """As when the server stops in the middle of one."""
    async with stalled(models, proxy, path):
        assert not untouched(path)
    assert untouched(path)


@pytest.mark.parametrize("name", ["als_model.npz", "als_model[1].npz", "*"])
async def test_what_the_dead_left_is_swept(models: Models, proxy: FaultProxy, tmp_path: Path, name: str) -> None:
    """And nothing else: neither a part that is being written, nor other files, whatever the model is called."""
    path = tmp_path / name
    path.write_bytes(b"the older one")
    leftover = tmp_path / f".{name}.0123abcd.part"
    others = {
        path,
        tmp_path / ".other.npz.0123abcd.part",
        tmp_path / f"{name}.part",
        tmp_path / ".als_model1.npz.0.part",
    }
    for file in {leftover, *others} - {path}:
        file.touch()
    async with stalled(models, proxy, path):
        (alive,) = beside(path) - others - {leftover}
        sweep(path)
        assert beside(path) == {alive, *others}
    assert beside(path) == others


async def test_a_sweep_does_no_harm_to_a_download_that_has_just_begun(
    models: Models, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process that sweeps between the making of a part and its locking takes it for a leftover."""
    lock, sweeps = fcntl.flock, [sweep]

    def swept_first(file: BinaryIO, operation: int) -> None:
        if sweeps:
            sweeps.pop()(path)
        lock(file, operation)

    await models.put(NAME, CONTENT)
    monkeypatch.setattr(fcntl, "flock", swept_first)
    await fetched(models, await found(models), path)
    assert content_of(path) == CONTENT
    assert beside(path) == {path}
    assert not sweeps


def test_where_there_is_nothing_nothing_is_swept(tmp_path: Path) -> None:
    """A missing directory is not an error here: the following download reports it."""
    sweep(tmp_path / "missing" / "als_model.npz")


def test_what_stands_at_a_path_is_told_by_its_content(tmp_path: Path) -> None:
    """The content must be equal, not only the size; a missing or special file never matches."""
    path = tmp_path / "als_model.npz"
    digest = sha256(b"a model")
    assert not stands_at(path, 7, digest)
    path.write_bytes(b"a model")
    assert stands_at(path, 7, digest)
    assert not stands_at(path, 8, digest)
    path.write_bytes(b"another")
    assert not stands_at(path, 7, digest)
    assert not stands_at(tmp_path, tmp_path.stat().st_size, digest)
