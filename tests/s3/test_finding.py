"""Which version S3 has now, in a real S3."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

import pytest

from service.errors import BadPointerError, S3NotFoundError
from service.s3.failures import deadline
from service.s3.finding import find, list_models, read_pointer
from service.s3.location import LATEST, Location
from service.s3.pointer import LARGEST, pointer_decoder
from service.s3.versions import Found, Marker
from tests.support.bucket import Models, pointer_to, sha256
from tests.support.fault_proxy import FaultProxy, Stall, s3_error
from tests.support.helpers import eventually
from tests.support.seaweed import Seaweed

OLD, NEW = "als_model_20260130_021500.npz", "als_model_20260131_021500.npz"


async def found(models: Models, known: Marker | None = None, name: str = "") -> Found:
    """Find what must be there."""
    version = await find(models.client, models.at(name), known)
    assert version
    return version


async def names_found(models: Models) -> list[str]:
    """Return the names of the models, the newest first."""
    listing = await list_models(models.client, models.prefix)
    return [entry["Key"].removeprefix(models.prefix.key) for entry in listing.models]


async def put_later(models: Models, name: str, than: str) -> None:
    """Put an object until S3, which counts seconds, says that it is the later one."""
    give_up = time.monotonic() + 10
    earlier = (await models.head(than))["LastModified"]
    await models.put(name)
    while (await models.head(name))["LastModified"] <= earlier:
        assert time.monotonic() < give_up
        await models.put(name)


async def test_an_exact_key_is_what_it_is_now(versioned: Models) -> None:
    """Its version, ETag, length, time and the sha256 that it was published with; no other name is looked at."""
    await versioned.put(LATEST, b"{}")
    etag = await versioned.put("mine", b"a model", Metadata={"sha256": sha256(b"a model")})
    head = await versioned.head("mine")
    assert await found(versioned, name="mine") == Found(
        key=versioned.at("mine").key,
        version_id=head["VersionId"],
        etag=etag,
        size=7,
        sha256=sha256(b"a model"),
        modified_at=head["LastModified"],
        marker=Marker(versioned.at("mine").key, etag),
    )


async def test_an_exact_key_that_others_wrote_has_no_sha256(models: Models) -> None:
    """An ETag is not a hash, and an unversioned bucket has no version ids."""
    await models.put("mine")
    version = await found(models, name="mine")
    assert (version.sha256, version.version_id) == (None, None)


async def test_a_pointer_says_which_version_of_a_prefix_it_is(models: Models) -> None:
    """Whatever the names and times of the others are; without asking for the model itself."""
    await models.put(NEW)
    created_at = datetime(2026, 1, 30, 2, 15, tzinfo=UTC)
    raw = pointer_to(models, OLD, b"a model", version_id="seven", created_at=created_at.isoformat())
    etag = await models.put(LATEST, raw)
    assert await found(models) == Found(
        key=models.at(OLD).key,
        version_id="seven",
        size=7,
        sha256=sha256(b"a model"),
        modified_at=created_at,
        marker=Marker(models.at(LATEST).key, etag),
    )


async def test_without_a_pointer_the_latest_name_is_the_newest(models: Models) -> None:
    """Even where an older one was written last."""
    etag = await models.put(NEW, b"the newer")
    await put_later(models, OLD, than=NEW)
    head = await models.head(NEW)
    assert await found(models) == Found(
        key=models.at(NEW).key,
        etag=etag,
        size=9,
        modified_at=head["LastModified"],
        marker=Marker(models.at(NEW).key, etag),
    )


async def test_of_one_time_the_last_written_is_the_newest(models: Models) -> None:
    """Two names with the same time, or two with none, in either order of their letters."""
    for first, last in (("als_model_20260131_021500.a.npz", NEW), ("als_model_z.npz", "als_model_a.npz")):
        await models.put(first)
        await put_later(models, last, than=first)
    assert await names_found(models) == [NEW, "als_model_20260131_021500.a.npz", "als_model_a.npz", "als_model_z.npz"]


async def test_a_name_without_a_time_is_the_oldest(models: Models) -> None:
    """It is found where there is nothing else."""
    await models.put(OLD)
    await put_later(models, "als_model_final.npz", than=OLD)
    assert (await found(models)).key == models.at(OLD).key
    await models.delete(OLD)
    assert (await found(models)).key == models.at("als_model_final.npz").key


async def test_only_models_directly_under_a_prefix_count(models: Models) -> None:
    """Not those in deeper directories, and no other files."""
    await models.put(OLD)
    for name in (
        f"sub/{NEW}",
        f"als_model_dir/{NEW}",
        "report.json",
        "z_als_model_20300101_000000.npz",
        f"{NEW}.sha256",
    ):
        await models.put(name)
    assert await names_found(models) == [OLD]
    assert (await found(models)).key == models.at(OLD).key


async def test_all_pages_of_a_prefix_are_read(seaweed: Seaweed, models: Models, proxy: FaultProxy) -> None:
    """S3 lists a thousand names at a time, and the newest is on the last page."""
    async with seaweed.client() as client:
        at_once = asyncio.Semaphore(10)

        async def put(number: int) -> None:
            async with at_once:
                key = models.at(f"als_model_20260101_{number:06}.npz").key
                await client.put_object(Bucket=models.bucket, Key=key, Body=b"m")

        await asyncio.gather(*(put(number) for number in range(1005)))
    assert (await found(models)).key == models.at("als_model_20260101_001004.npz").key
    assert len(proxy.requests) == 3  # for the pointer, and for each page


@pytest.mark.parametrize("name", ["mine", "", LATEST], ids=["an exact key", "the newest name", "a pointer"])
async def test_nothing_new_takes_one_request(models: Models, proxy: FaultProxy, name: str) -> None:
    """And the answer to it has no body where S3 can compare: 304."""
    content = bytes(100_000)
    await models.put(NEW, content)
    if name == "mine":
        await models.put("mine", content)
    if name == LATEST:
        await models.put(LATEST, pointer_to(models, NEW, content, other="x" * 10_000))
        name = ""
    version = await found(models, name=name)
    await eventually(lambda: not proxy.open)  # what was not read of an answer may still be on its way
    proxy.requests.clear()
    before = proxy.bytes_down
    assert await find(models.client, models.at(name), version.marker) is None
    assert len(proxy.requests) == 1
    assert proxy.bytes_down - before < 2000


@pytest.mark.parametrize("name", ["mine", NEW, LATEST], ids=["an exact key", "the newest name", "a pointer"])
async def test_something_new_is_found(models: Models, name: str) -> None:
    """Once what was looked at has another ETag."""
    content = pointer_to(models, NEW, b"one") if name == LATEST else b"one"
    await models.put(name, content)
    place = "mine" if name == "mine" else ""
    before = await found(models, name=place)
    etag = await models.put(name, content + b" ")
    after = await found(models, before.marker, name=place)
    assert after.marker == Marker(before.marker.key, etag)
    assert after != before


async def test_a_newer_name_is_found(models: Models) -> None:
    """Where there is no pointer, and the one before is as it was."""
    await models.put(OLD)
    before = await found(models)
    await models.put(NEW)
    assert (await found(models, before.marker)).key == models.at(NEW).key


async def test_a_pointer_that_appears_is_followed(models: Models) -> None:
    """From the next look on, though the newest name has not changed."""
    await models.put(NEW)
    by_name = await found(models)
    await models.put(LATEST, pointer_to(models, OLD, b"a model"))
    assert (await found(models, by_name.marker)).key == models.at(OLD).key


async def test_a_pointer_that_is_gone_gives_way_to_the_newest_name(models: Models) -> None:
    """As though it had never been."""
    await models.put(NEW)
    await models.put(LATEST, pointer_to(models, OLD, b"a model"))
    by_pointer = await found(models)
    await models.delete(LATEST)
    by_name = await found(models, by_pointer.marker)
    assert by_name.key == models.at(NEW).key
    assert by_name == await found(models)


async def test_what_is_known_of_elsewhere_is_not_compared(models: Models) -> None:
    """The ETag of another object says nothing of this prefix, with a pointer or without."""
    etag = await models.put(NEW)
    assert await found(models, Marker("other/" + NEW, etag)) == await found(models)
    etag = await models.put(LATEST, pointer_to(models, NEW, b"a model"))
    assert await found(models, Marker("other/" + LATEST, etag)) == await found(models)


async def test_a_pointer_is_read_again_where_it_changed(models: Models) -> None:
    """With its ETag, and None stands for unchanged."""
    etag = await models.put(LATEST, pointer_to(models, NEW, b"a model"))
    place = models.at(LATEST)
    read = await read_pointer(models.client, place, pointer_decoder, Marker(place.key, '"other"'))
    assert read
    assert (read[0].key, read[1]) == (models.at(NEW).key, etag)
    assert await read_pointer(models.client, place, pointer_decoder, Marker(place.key, etag)) is None


async def test_a_pointer_that_goes_while_it_is_looked_for_is_missing(models: Models, proxy: FaultProxy) -> None:
    """Listed, and not there any more: an error that passes, not some other model."""
    await models.put(NEW)
    await models.put(LATEST, pointer_to(models, OLD, b"a model"))
    proxy.fail(s3_error(404, "NoSuchKey"), matching=LATEST)
    with pytest.raises(S3NotFoundError, match=r"latest\.json does not exist"):
        await found(models)


async def test_nothing_to_be_found_is_said(models: Models) -> None:
    """An empty prefix says how a model gets there, a missing object what may be meant instead."""
    with pytest.raises(S3NotFoundError) as failure:
        await found(models)
    assert str(failure.value) == f"There is no model under {models.prefix}; als-serve publish puts one there."
    place = models.at("mine")
    with pytest.raises(S3NotFoundError) as failure:
        await found(models, name="mine")
    assert (
        str(failure.value)
        == f"{place} does not exist (NoSuchKey). If it is a prefix, write {place}/ with a trailing slash."
    )


@pytest.mark.parametrize("key", ["models/", "", "models/mine"])
async def test_a_missing_bucket_is_said(models: Models, key: str) -> None:
    """Whatever is looked for in it."""
    location = Location("no-such-bucket", key)
    with pytest.raises(
        S3NotFoundError, match=rf"^There is no bucket no-such-bucket \(NoSuchBucket\); check the name in {location} and"
    ):
        await find(models.client, location, None)


async def test_a_bad_pointer_is_not_passed_over(models: Models) -> None:
    """Nothing is served by guessing where the pointer cannot be read; also where it has only appeared."""
    etag = await models.put(NEW)
    await models.put(LATEST, b"<html>")
    for known in (None, Marker(models.at(NEW).key, etag)):
        with pytest.raises(BadPointerError, match="is not a pointer to a model"):
            await found(models, known)


async def test_a_pointer_may_be_large_but_not_larger(models: Models) -> None:
    """Up to a limit it is read, whole, however many packets it comes in."""
    content = pointer_to(models, NEW, b"a model")
    await models.put(LATEST, content + b" " * (LARGEST - len(content)))
    assert (await found(models)).key == models.at(NEW).key
    await models.put(LATEST, content + b" " * (LARGEST + 1 - len(content)))
    with pytest.raises(BadPointerError, match=f"it has over {LARGEST} bytes"):
        await found(models)


async def test_what_is_too_large_for_a_pointer_is_not_read_to_its_end(models: Models, proxy: FaultProxy) -> None:
    """A model in the pointer's place is refused after its beginning, be the rest gigabytes."""
    await models.put(LATEST, bytes(10 * LARGEST))
    proxy.fail(Stall(after=3 * LARGEST), matching=LATEST)
    with pytest.raises(BadPointerError):
        async with deadline(10, models.prefix):
            await found(models)
