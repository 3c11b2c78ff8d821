"""Following S3: a real store behind a proxy that breaks what the network and S3 can break (faults 39 to 50)."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Never

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from service.live import s3_follower as following_s3
from service.live.s3_follower import S3Follower
from service.observe.metrics import Metrics
from service.s3.location import LATEST, Location
from service.s3.pointer import Pointer
from tests.support.fault_proxy import Cut, Drip, Fault, FaultProxy, Refuse, Reset, Stall, page, s3_error
from tests.support.helpers import at_work, events, eventually, put, version
from tests.support.published import POLL_SECONDS, Bucket, following, let_in
from tests.support.seaweed import Seaweed

OLD, NEW, NEWEST = b"old" * 1000, b"new" * 1000, b"newest" * 1000
MODEL = r"als_model_"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Let followers try again at once, whatever failed, and hear all that they say."""
    monkeypatch.setattr(following_s3, "_LONGEST_PAUSE_SECONDS", POLL_SECONDS)
    caplog.set_level(logging.INFO, logger="als_serve")


@pytest.fixture
def proxy(proxy: FaultProxy, seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch) -> FaultProxy:
    """Return the way by which followers reach the store."""
    let_in(monkeypatch, seaweed.environment(), proxy.endpoint)
    return proxy


@pytest.fixture
def bucket(seaweed: Seaweed, versioned_bucket: str, tmp_path: Path) -> Bucket:
    """Return a prefix of its own, with versions."""
    return Bucket(seaweed, versioned_bucket, tmp_path)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """Return the spans that pauses are drawn from; none of them is waited for."""
    found: list[tuple[float, float]] = []

    def drawn(low: float, high: float) -> float:
        found.append((low, high))
        return 0.0

    monkeypatch.setattr("service.live.s3_follower.random.uniform", drawn)
    return found


def downloads(proxy: FaultProxy) -> int:
    """Return how often followers asked for a model."""
    return sum("als_model_" in request.path for request in proxy.requests)


async def test_nothing_new_takes_one_request_and_no_body(tmp_path: Path, bucket: Bucket, proxy: FaultProxy) -> None:
    """Fault 39: 304 is the normal answer; it is counted as a success, and nothing else happens."""
    await bucket.publish(OLD)
    async with following(tmp_path, bucket) as followed:
        await eventually(lambda: followed.has(OLD))
        requests, put_there = len(proxy.requests), followed.path.stat()
        before, down = followed.polls("unchanged"), proxy.bytes_down
        await eventually(lambda: followed.polls("unchanged") >= before + 5)
        polls = followed.polls("unchanged") - before
        assert len(proxy.requests) - requests <= polls + 1, "one request a poll (and one may be under way)"
        assert proxy.bytes_down - down < 1000 * (polls + 1), "heads alone"
        assert downloads(proxy) == 1
        assert followed.path.stat() == put_there
        assert followed.metric("als_s3_seconds_since_success", object="model") < 10


FAULTS: list[tuple[str, Fault, str]] = [
    ("access_denied", s3_error(403, "AccessDenied"), ""),
    ("kms_denied", s3_error(400, "KMS.DisabledException"), MODEL),
    ("not_found", s3_error(404, "NoSuchBucket"), ""),
    ("credentials", s3_error(400, "ExpiredToken"), ""),
    ("unavailable", s3_error(500, "InternalError"), ""),
    ("unavailable", s3_error(503, "SlowDown"), MODEL),
    ("unavailable", page(503), ""),
    ("unavailable", page(200), LATEST),
    ("unavailable", page(200), MODEL),
    ("s3_failed", s3_error(400, "InvalidArgument"), MODEL),
    ("unreachable", Refuse(), ""),
    ("unreachable", Reset(), MODEL),
    ("cut_short", Reset(after=1000), MODEL),
    ("cut_short", Cut(after=1000), MODEL),
    ("timeout", Stall(after=1000), MODEL),
    ("timeout", Stall(), LATEST),
    ("timeout", Drip(1, 0.01), MODEL),
]


@pytest.mark.parametrize(
    ("reason", "fault", "matching"), FAULTS, ids=[f"{reason}-{number}" for number, (reason, *_) in enumerate(FAULTS)]
)
async def test_a_fault_changes_nothing_and_is_got_over(
    tmp_path: Path,
    bucket: Bucket,
    proxy: FaultProxy,
    caplog: pytest.LogCaptureFixture,
    reason: str,
    fault: Fault,
    matching: str,
) -> None:
    """Faults 40 to 43: the served model stays, the reason is reported everywhere, and the model arrives once it can."""
    await bucket.publish(OLD)
    async with following(tmp_path, bucket, seconds=1 if reason == "timeout" else 30) as followed:
        await eventually(lambda: followed.has(OLD))
        caplog.clear()
        proxy.fail(fault, matching=matching)
        await bucket.publish(NEW)
        await eventually(lambda: followed.failed(reason))
        assert followed.has(OLD)
        assert events(caplog).count("s3_failed") == 1, "told once, not with every try"
        proxy.heal()
        await eventually(lambda: followed.has(NEW))
        await eventually(lambda: "s3_recovered" in events(caplog))


async def test_failures_in_a_row_are_spaced_ever_wider_and_never_alike(
    tmp_path: Path,
    bucket: Bucket,
    proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
    spans: list[tuple[float, float]],
) -> None:
    """Fault 41: each pause is drawn from the whole span up to a limit, which doubles to the longest."""
    monkeypatch.setattr(following_s3, "_LONGEST_PAUSE_SECONDS", 5.0)
    proxy.fail(s3_error(503, "SlowDown"), times=5)
    await bucket.publish(OLD)
    async with following(tmp_path, bucket) as followed:
        await eventually(lambda: followed.has(OLD) and len(spans) > 5)
        assert followed.polls("failed", "unavailable") == 5
        assert spans[:5] == [(0, 1), (0, 2), (0, 4), (0, 5), (0, 5)]
        assert spans[5] == (0.8, 1.2), "after a success the interval counts, give or take a fifth"


async def test_the_first_model_of_an_empty_prefix_is_not_waited_for_longer_than_a_poll(
    tmp_path: Path,
    bucket: Bucket,
    proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
    spans: list[tuple[float, float]],
) -> None:
    """However long there was no model, S3 did answer: what is published is noticed as soon as any newer one."""
    monkeypatch.setattr(following_s3, "_LONGEST_PAUSE_SECONDS", 3600.0)
    async with following(tmp_path, bucket) as followed:
        await eventually(lambda: followed.polls("failed", "not_found") > 3)
        assert set(spans) == {(0, POLL_SECONDS)}
        await bucket.publish(OLD)
        await eventually(lambda: followed.has(OLD))


async def test_a_poll_that_is_requested_comes_at_once(tmp_path: Path, bucket: Bucket, proxy: FaultProxy) -> None:
    """However far away the next one is, or, with a model at the path, the first one."""
    await bucket.publish(OLD)
    async with following(tmp_path, bucket, poll=3600) as followed:
        await eventually(lambda: followed.has(OLD))
        await bucket.publish(NEW)
        followed.follower.request()
        await eventually(lambda: followed.has(NEW))
    async with following(tmp_path, bucket, poll=3600) as followed:
        followed.follower.request()
        await eventually(lambda: followed.polls("unchanged") == 1)


async def test_a_hundred_followers_do_not_ask_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 50: with a model at the path, each waits for a moment of its own within the first interval."""
    monkeypatch.setattr("service.live.s3_follower.random.uniform", random.Random(0).uniform)
    path, pauses = tmp_path / "als_model.npz", []
    path.write_bytes(OLD)

    async def waited(seconds: float, _: asyncio.Event) -> None:
        pauses.append(seconds)
        raise asyncio.CancelledError

    monkeypatch.setattr(following_s3, "set_within", waited)
    for _ in range(100):
        metrics = Metrics(CollectorRegistry())
        with suppress(asyncio.CancelledError):
            await S3Follower(Location("bucket", ""), path, tmp_path, metrics, poll=30, timeout=1).run()
    by_second = [sum(second <= pause < second + 1 for pause in pauses) for second in range(30)]
    assert sum(by_second) == 100
    assert max(by_second) <= 10


async def test_a_model_beyond_the_limit_is_not_downloaded(tmp_path: Path, bucket: Bucket, proxy: FaultProxy) -> None:
    """It fills no disk; a smaller one after it is taken."""
    large = NEW + bytes(10_000)
    await bucket.publish(large)
    async with following(tmp_path, bucket, most_bytes=len(NEW)) as followed:
        await eventually(lambda: followed.failed("too_large"))
        assert downloads(proxy) == 0
        await bucket.publish(NEW)
        await eventually(lambda: followed.has(NEW))


@pytest.mark.parametrize("size", [len(NEW), 5])
async def test_the_sha256_of_the_pointer_decides(tmp_path: Path, bucket: Bucket, proxy: FaultProxy, size: int) -> None:
    """Fault 44: whatever S3 says of an object, it is not taken unless it is what was published."""
    await bucket.publish(OLD)
    async with following(tmp_path, bucket) as followed:
        await eventually(lambda: followed.has(OLD))
        wrong = Pointer(key=bucket.prefix.key + "als_model_1.npz", sha256="0" * 64, size=size)
        await bucket.put("als_model_1.npz", NEW)
        await bucket.put(LATEST, msgspec.json.encode(wrong))
        await eventually(lambda: followed.failed("checksum_mismatch"))
        assert followed.has(OLD)
        right = msgspec.structs.replace(wrong, sha256=(await bucket.publish(NEW)).sha256, size=len(NEW))
        await bucket.put(LATEST, msgspec.json.encode(right))
        await eventually(lambda: followed.has(NEW))


async def test_a_checksum_that_is_wrong_does_not_outweigh_the_pointer(
    tmp_path: Path, bucket: Bucket, proxy: FaultProxy
) -> None:
    """Fault 44: an object with a checksum of its parts, or of a kind that we cannot verify, is served by its sha256."""
    async with bucket.seaweed.client() as client:
        key = bucket.prefix.key + "als_model_1.npz"
        target: Any = {"Bucket": bucket.prefix.bucket, "Key": key}
        begun = await client.create_multipart_upload(**target, ChecksumAlgorithm="CRC32")
        target["UploadId"] = begun["UploadId"]
        part = await client.upload_part(**target, PartNumber=1, Body=NEW, ChecksumAlgorithm="CRC32")
        done: Any = [{"PartNumber": 1, "ETag": part["ETag"], "ChecksumCRC32": part["ChecksumCRC32"]}]
        await client.complete_multipart_upload(**target, MultipartUpload={"Parts": done})
    published = await bucket.publish(NEW)
    pointer = msgspec.structs.replace(published, key=key, version_id=None)
    await bucket.put(LATEST, msgspec.json.encode(pointer))
    async with following(tmp_path, bucket) as followed:
        await eventually(lambda: followed.has(NEW))


async def test_a_pointer_ahead_of_its_object_is_tried_again(tmp_path: Path, bucket: Bucket, proxy: FaultProxy) -> None:
    """Fault 45: copies of a bucket may bring the pointer first."""
    published, key = await bucket.publish(OLD), bucket.prefix.key + "als_model_20300101_000000.npz"
    pointer = msgspec.structs.replace(published, key=key, version_id=None)
    await bucket.put(LATEST, msgspec.json.encode(pointer))
    async with following(tmp_path, bucket) as followed:
        await eventually(lambda: followed.failed("not_found"))
        assert not followed.path.exists()
        await bucket.put("als_model_20300101_000000.npz", OLD)
        await eventually(lambda: followed.has(OLD))


async def test_what_the_pointer_said_is_what_is_read(tmp_path: Path, bucket: Bucket, proxy: FaultProxy) -> None:
    """Fault 46: a pointer that changes during a download changes the next one; a version is never mixed or skipped."""
    first = await bucket.publish(OLD)
    proxy.fail(Drip(size=400, seconds=0.02), matching=MODEL, times=1)
    async with following(tmp_path, bucket) as followed:
        await eventually(lambda: downloads(proxy) == 1)
        # The very object is written over: in a bucket with versions the old one can still be read.
        await bucket.put(first.key.removeprefix(bucket.prefix.key), NEWEST)
        await bucket.publish(NEW)
        await eventually(lambda: followed.has(NEW) and len(followed.following.downloads) == 2)
        came = [download.sha256[:16] for download in followed.following.downloads]
        assert came == [version(NEW), version(OLD)]


async def test_credentials_are_found_anew(
    tmp_path: Path, bucket: Bucket, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Fault 47: wrong, missing or expired credentials are got over as soon as there are good ones."""
    await bucket.publish(OLD)
    good = bucket.seaweed.environment()
    let_in(monkeypatch, bucket.seaweed.environment("wrong"), proxy.endpoint)
    async with following(tmp_path, bucket) as followed:
        await eventually(lambda: followed.failed("credentials"))
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        # Where the instance metadata service would be, nobody is.
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1")
        monkeypatch.setenv("AWS_METADATA_SERVICE_NUM_ATTEMPTS", "1")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "nowhere")
        last = followed.following
        await eventually(lambda: last.last_poll is not None and "no usable credentials" in last.last_poll.detail)
        assert events(caplog).count("s3_failed") == 1
        let_in(monkeypatch, good, proxy.endpoint)
        await eventually(lambda: followed.has(OLD))


async def test_a_follower_needs_no_more_than_to_read(
    tmp_path: Path, bucket: Bucket, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Permission to read and list is enough to follow."""
    await bucket.publish(OLD)
    let_in(monkeypatch, bucket.seaweed.environment("reader"), proxy.endpoint)
    async with following(tmp_path, bucket) as followed:
        await eventually(lambda: followed.has(OLD))


@pytest.fixture
def elsewhere() -> Iterator[dict[str, str]]:
    """Return endpoints where no S3 is: of a name that nobody has, and of a server that speaks no TLS."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield {"DNS": "http://no-such-host.invalid", "TLS": f"https://127.0.0.1:{server.getsockname()[1]}"}


@pytest.mark.parametrize("what", ["DNS", "TLS"])
async def test_who_is_not_there_is_asked_again(
    tmp_path: Path,
    bucket: Bucket,
    proxy: FaultProxy,
    elsewhere: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    """Fault 49: a name that is not known or a handshake that fails leaves what is served, and is got over."""
    await bucket.publish(NEW)
    let_in(monkeypatch, bucket.seaweed.environment(), elsewhere[what])
    monkeypatch.setattr(following_s3, "_LOOK_SECONDS", 1.0)
    async with following(tmp_path, bucket) as followed:
        await eventually(lambda: followed.failed("unreachable") or followed.failed("timeout"))
        let_in(monkeypatch, bucket.seaweed.environment(), proxy.endpoint)
        await eventually(lambda: followed.has(NEW))


@pytest.mark.parametrize("by", ["pointer", "name", "key"])
async def test_what_was_downloaded_is_not_fetched_again(
    tmp_path: Path, bucket: Bucket, proxy: FaultProxy, by: str
) -> None:
    """A restart finds what it downloaded before, however the model is chosen; a file that is gone is fetched again."""
    key = (await bucket.publish(OLD)).key
    if by == "name":
        async with bucket.seaweed.client() as client:
            await client.delete_object(Bucket=bucket.prefix.bucket, Key=bucket.prefix.key + LATEST)
    location = bucket.prefix.at(key) if by == "key" else bucket.prefix
    for _ in range(2):
        async with following(tmp_path, bucket, location) as followed:
            await eventually(lambda: followed.has(OLD) and followed.polls("unchanged") > 1)
            downloaded = followed.following.downloads
    assert len(downloaded) == 1
    followed.path.unlink()
    async with following(tmp_path, bucket, location) as followed:
        await eventually(lambda: followed.following.downloads not in ([], downloaded))
        await eventually(lambda: followed.has(OLD))


async def test_the_same_published_again_is_known_by_where_it_is_now(
    tmp_path: Path, bucket: Bucket, proxy: FaultProxy
) -> None:
    """The object that came may be pruned; the answer names the one that is pointed to, and nothing is fetched."""
    await bucket.publish(OLD)
    async with following(tmp_path, bucket) as followed:
        await eventually(lambda: followed.has(OLD) and followed.following.downloads)
        (first,) = followed.following.downloads
        again = await bucket.publish(OLD)
        await eventually(lambda: [download.key for download in followed.following.downloads] == [again.key])
        (second,) = followed.following.downloads
    assert (second.downloaded_at, second.seconds) == (first.downloaded_at, first.seconds)
    assert downloads(proxy) == 1
    labels = {"version": first.sha256[:16], "key": again.key, "version_id": again.version_id or ""}
    assert followed.metric("als_s3_model_info", **labels) == 1


async def test_what_someone_else_put_there_is_not_fetched(tmp_path: Path, bucket: Bucket, proxy: FaultProxy) -> None:
    """A file that ``als-serve pull`` brought, or another server on the same volume, is known by its sha256."""
    await bucket.publish(OLD)
    (tmp_path / "models").mkdir()
    put(tmp_path / "models" / "als_model.npz", OLD)
    async with following(tmp_path, bucket) as followed:
        await eventually(lambda: followed.polls("unchanged") > 0)
        assert downloads(proxy) == 0
        (known,) = followed.following.downloads
        assert (known.bytes, known.seconds) == (len(OLD), None)


async def test_a_prefix_is_followed_with_and_without_a_pointer(
    tmp_path: Path, bucket: Bucket, proxy: FaultProxy
) -> None:
    """Without latest.json the newest name is taken, with one request a poll; a pointer that appears is followed."""
    await bucket.put("als_model_20300101_000000.npz", OLD)
    async with following(tmp_path, bucket) as followed:
        await eventually(lambda: followed.has(OLD))
        requests, polls = len(proxy.requests), followed.polls("unchanged")
        await eventually(lambda: followed.polls("unchanged") >= polls + 5)
        assert len(proxy.requests) - requests <= followed.polls("unchanged") - polls + 1
        await bucket.put("als_model_20300101_000001.npz", NEW)
        await eventually(lambda: followed.has(NEW))
        await bucket.publish(NEWEST)
        await eventually(lambda: followed.has(NEWEST))


async def test_the_model_volume_is_full_for_a_while(
    tmp_path: Path, bucket: Bucket, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a model cannot be written, that is said, and tried again; the state directory may be lost, too."""
    await bucket.publish(OLD)
    proxy.fail(s3_error(503, "SlowDown"), times=1)
    async with following(tmp_path, bucket) as followed:
        followed.path.parent.rmdir()
        await eventually(lambda: followed.failed("model_path"))
        followed.path.parent.mkdir()
        await eventually(lambda: followed.has(OLD))


async def test_what_cannot_be_remembered_is_only_lost(
    tmp_path: Path, bucket: Bucket, proxy: FaultProxy, caplog: pytest.LogCaptureFixture
) -> None:
    """A memory that cannot be written or read costs one more download at most."""
    await bucket.publish(OLD)
    async with following(tmp_path, bucket) as followed:
        followed.follower._memory.mkdir()
        await eventually(lambda: followed.has(OLD))
        await eventually(lambda: "housekeeping_failed" in events(caplog))
        await eventually(lambda: [*tmp_path.rglob("s3-*")] == [followed.follower._memory])


async def test_nobody_waits_for_a_poll_that_broke_down(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever waits for the first poll, such as the fallback training, continues after any outcome."""

    def broken(_: Path) -> Never:
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr(following_s3, "sweep", broken)
    follower = S3Follower(
        bucket.prefix, tmp_path / "m.npz", tmp_path, Metrics(CollectorRegistry()), poll=POLL_SECONDS, timeout=60
    )
    with pytest.raises(RuntimeError, match="nobody foresaw"):
        await follower.run()
    assert follower.polled.is_set()


async def test_another_place_in_s3_is_another_story(tmp_path: Path, bucket: Bucket, proxy: FaultProxy) -> None:
    """What was downloaded from one place is not taken for what another has."""
    await bucket.publish(OLD)
    async with following(tmp_path, bucket) as followed:
        await eventually(lambda: followed.has(OLD))
    other = Bucket(bucket.seaweed, await bucket.seaweed.make_bucket(), tmp_path)
    await other.publish(NEW)
    async with following(tmp_path, other) as followed:
        await eventually(lambda: followed.has(NEW) and followed.following.downloads)
        assert len(followed.following.downloads) == 1


async def test_items_are_followed_like_a_model(
    tmp_path: Path, bucket: Bucket, proxy: FaultProxy, caplog: pytest.LogCaptureFixture
) -> None:
    """The metrics and the log say what is followed, so that a failure of one is not taken for one of the other."""
    published = await bucket.publish(OLD)
    metrics, path = Metrics(CollectorRegistry()), tmp_path / "items.csv"
    place = bucket.prefix.at(published.key)
    follower = S3Follower(place, path, tmp_path / "state", metrics, poll=POLL_SECONDS, timeout=10, followed="items")
    sample = metrics.registry.get_sample_value
    denied = {"object": "items", "outcome": "failed", "reason": "access_denied"}
    async with at_work(follower.run()):
        await eventually(lambda: path.exists() and path.read_bytes() == OLD)
        proxy.fail(s3_error(403, "AccessDenied"))
        await eventually(lambda: sample("als_s3_polls_total", denied))
    assert sample("als_s3_download_bytes_total", {"object": "items"}) == len(OLD)
    assert sample("als_s3_download_bytes_total", {"object": "model"}) == 0
    assert sample("als_s3_poll_interval_seconds", {"object": "items"}) == POLL_SECONDS
    assert sample("als_s3_poll_interval_seconds", {"object": "model"}) == 0
    assert any("S3 will be retried; the catalog does not change" in message for message in caplog.messages)
