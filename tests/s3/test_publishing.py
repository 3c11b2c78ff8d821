"""Publishing to a real S3: first the model, then the pointer, without undoing anyone's work."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.errors import BadPointerError, PublishError, S3ChangedError, S3NotFoundError, S3UnavailableError
from service.s3 import publishing
from service.s3.finding import find
from service.s3.location import LATEST, timestamp_of
from service.s3.pointer import Counts, Pointer
from service.s3.publishing import Version
from service.s3.uploading import Protection
from tests.support.bucket import Models, described, nobody, pointer_to, sha256
from tests.support.fault_proxy import FaultProxy, s3_error

FOREIGN = "als_model_by_hand.npz"  # of no time, so the oldest
FUTURE = "als_model_29991231_235959.npz"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where files to be published are written."""
    return tmp_path / "als_model.npz"


async def publish(models: Models, path: Path, content: bytes, protection: Protection | None = None) -> Pointer:
    """Publish something, which becomes the latest."""
    pointer, is_latest = await publish_at_all(models, path, content, protection)
    assert is_latest
    return pointer


async def publish_at_all(
    models: Models, path: Path, content: bytes, protection: Protection | None = None
) -> tuple[Pointer, bool]:
    """Publish something."""
    await asyncio.to_thread(path.write_bytes, content)
    return await publishing.publish(
        models.client, models.prefix, path, described(content), protection or Protection(), nobody
    )


async def promote(models: Models, key: str) -> Pointer:
    """Make another model the latest."""
    return await publishing.promote(models.client, models.prefix.at(key), Protection())


def name_of(models: Models, pointer: Pointer) -> str:
    """Return what a model is called under the prefix."""
    return pointer.key.removeprefix(models.prefix.key)


async def test_a_published_model_is_the_latest(versioned: Models, path: Path) -> None:
    """Under the time of its publication, and the pointer tells everything of it; a follower finds that version."""
    before = datetime.now(UTC).replace(microsecond=0)
    pointer = await publish(versioned, path, b"one")
    after = datetime.now(UTC)
    assert pointer.created_at
    assert before <= pointer.created_at <= after
    name = f"als_model_{pointer.created_at:%Y%m%d_%H%M%S}.npz"
    head = await versioned.head(name)
    assert sorted(await versioned.names()) == [name, LATEST]
    assert await versioned.latest() == pointer
    assert pointer == Pointer(
        key=versioned.at(name).key,
        version_id=head["VersionId"],
        sha256=sha256(b"one"),
        size=3,
        format="npz",
        created_at=pointer.created_at,
        counts=Counts(3, 5, 2),
        metrics={"ndcg@20": 0.2117},
    )
    found = await find(versioned.client, versioned.prefix, None)
    assert found
    assert (found.key, found.version_id, found.sha256) == (pointer.key, pointer.version_id, pointer.sha256)


async def test_a_pointer_can_be_read_by_people(models: Models, path: Path) -> None:
    """JSON, by its type too, laid out in lines; with the key, sha256 and size that other programs need."""
    pointer = await publish(models, path, b"one")
    content = await models.get(LATEST)
    assert (await models.head(LATEST))["ContentType"] == "application/json"
    assert content.count(b"\n") > 5
    assert json.loads(content).items() >= {"key": pointer.key, "sha256": sha256(b"one"), "size": 3}.items()


async def test_the_model_is_there_before_anything_points_to_it(models: Models, path: Path) -> None:
    """At every moment, what the pointer points to exists."""
    done = asyncio.Event()
    looked = 0

    async def watch() -> None:
        nonlocal looked
        while not done.is_set():
            try:
                pointer = await models.latest()
            except models.client.exceptions.NoSuchKey:
                continue
            await models.head(name_of(models, pointer))
            looked += 1

    async with asyncio.TaskGroup() as group:
        group.create_task(watch())
        for number in range(5):
            await publish(models, path, str(number).encode())
        done.set()
    assert looked


async def test_a_model_that_does_not_arrive_is_not_pointed_to(models: Models, path: Path, proxy: FaultProxy) -> None:
    """The pointer stays as it is."""
    before = await publish(models, path, b"one")
    proxy.fail(s3_error(503, "SlowDown"), matching="^PUT .*als_model_")
    with pytest.raises(S3UnavailableError):
        await publish(models, path, b"two")
    assert await models.latest() == before


async def test_a_pointer_that_is_not_written_leaves_the_one_before(
    models: Models, path: Path, proxy: FaultProxy
) -> None:
    """The new model is there, and can be promoted."""
    before = await publish(models, path, b"one")
    proxy.fail(s3_error(503, "SlowDown"), matching=f"^PUT .*{LATEST}")
    with pytest.raises(S3UnavailableError, match=f"^S3 is unavailable for {models.at(LATEST)}"):
        await publish(models, path, b"two")
    assert await models.latest() == before
    proxy.heal()
    (name,) = set(await models.names()) - {LATEST, name_of(models, before)}
    await promote(models, models.at(name).key)
    assert (await models.latest()).sha256 == sha256(b"two")


@pytest.mark.parametrize("keeps_versions", [False, True])
async def test_who_publish_at_once_do_not_undo_one_another(
    models: Models, versioned: Models, tmp_path: Path, keeps_versions: bool
) -> None:
    """Every model is there, whole and under its own name, and the newest is the latest."""
    models = versioned if keeps_versions else models
    contents = [f"model {number}".encode() for number in range(4)]
    made = await asyncio.gather(
        *(publish_at_all(models, tmp_path / str(number), content) for number, content in enumerate(contents))
    )
    pointers = [pointer for pointer, _ in made]
    for pointer, content in zip(pointers, contents, strict=True):
        assert await models.get(name_of(models, pointer)) == content
    assert sorted(await models.names()) == sorted([*(name_of(models, pointer) for pointer in pointers), LATEST])
    newest = max(pointers, key=lambda pointer: pointer.key)
    assert await models.latest() == newest
    assert (newest, True) in made


async def test_two_of_one_second_get_two_names(models: Models, path: Path) -> None:
    """The second one is called by the next second, as though it had come then."""
    one, two = await publish(models, path, b"one"), await publish(models, path, b"two")
    assert timestamp_of(one.key) < timestamp_of(two.key)
    assert two.created_at
    assert timestamp_of(two.key) == f"{two.created_at:%Y%m%d_%H%M%S}"


async def test_a_newer_model_that_was_published_meanwhile_stays(models: Models, path: Path) -> None:
    """The published model exists but is not the latest, and the publisher learns that."""
    await models.put(LATEST, pointer_to(models, FUTURE, b"a model"))
    pointer, is_latest = await publish_at_all(models, path, b"one")
    assert not is_latest
    assert await models.get(name_of(models, pointer)) == b"one"
    assert (await models.latest()).key == models.at(FUTURE).key


async def test_an_older_model_that_was_promoted_does_not_stay(models: Models, path: Path) -> None:
    """After a rollback, the next model is followed as any other."""
    one, _ = await publish(models, path, b"one"), await publish(models, path, b"two")
    await promote(models, one.key)
    three = await publish(models, path, b"three")
    assert await models.latest() == three


@pytest.mark.parametrize("content", [b"<html>", b"{}", bytes(100_000)])
async def test_a_bad_pointer_is_replaced(models: Models, path: Path, content: bytes) -> None:
    """Publishing is how one gets rid of it."""
    await models.put(LATEST, content)
    pointer = await publish(models, path, b"one")
    assert await models.latest() == pointer


async def test_a_pointer_that_someone_else_just_wrote_is_looked_at_again(
    models: Models, path: Path, proxy: FaultProxy
) -> None:
    """Of two publishers, S3 decides which is second, and that one checks again."""
    proxy.fail(s3_error(412, "PreconditionFailed"), matching=f"^PUT .*{LATEST}", times=1)
    proxy.fail(s3_error(409, "ConditionalRequestConflict"), matching=f"^PUT .*{LATEST}", times=1)
    pointer = await publish(models, path, b"one")
    assert await models.latest() == pointer


@pytest.mark.parametrize("name", ["als_model_", LATEST])
async def test_no_publisher_tries_for_ever(models: Models, path: Path, proxy: FaultProxy, name: str) -> None:
    """It gives up with a message that says what to do and names the published model."""
    proxy.fail(s3_error(412, "PreconditionFailed"), matching=f"^PUT .*{name}")
    with pytest.raises(PublishError) as failure:
        await publish(models, path, b"one")
    remedy = "try again."
    if name == LATEST:
        (published,) = await models.names()
        remedy = f"als-serve promote {models.at(published)}"
    assert str(failure.value) == f"Gave up after 5 attempts: others keep publishing under {models.prefix}; {remedy}"


async def test_a_model_and_its_pointer_are_encrypted_as_asked(models: Models, path: Path) -> None:
    """Both, and also the pointer that a promotion writes; tags are the model's alone."""
    protection = Protection(sse="AES256", tags=(("team", "shop"),))
    pointer = await publish(models, path, b"one", protection)
    for name in (name_of(models, pointer), LATEST):
        assert (await models.head(name))["ServerSideEncryption"] == "AES256"
    await publishing.promote(models.client, models.prefix.at(pointer.key), protection)
    assert (await models.head(LATEST))["ServerSideEncryption"] == "AES256"


async def test_promotion_goes_back_and_forth(versioned: Models, path: Path) -> None:
    """Each model's pointer is what it was when it was published."""
    one, two = await publish(versioned, path, b"one"), await publish(versioned, path, b"two")
    for pointer in (one, two, one):
        assert await promote(versioned, pointer.key) == pointer
        assert await versioned.latest() == pointer


@pytest.mark.parametrize(
    "metadata", [{}, {"als-pointer": "nonsense"}, {"als-pointer": "{}"}, {"als-pointer": '{"x":' + "[" * 1900}]
)
async def test_only_what_was_published_is_promoted(models: Models, path: Path, metadata: dict[str, str]) -> None:
    """A file from another tool, or one whose own pointer was changed, cannot be promoted."""
    latest = await publish(models, path, b"one")
    await models.put(FOREIGN, Metadata=metadata)
    with pytest.raises(BadPointerError) as failure:
        await promote(models, models.at(FOREIGN).key)
    assert str(failure.value) == (
        f"{models.at(FOREIGN)} was not published by als-serve, so its content cannot be verified; "
        "pull it and publish it."
    )
    assert await models.latest() == latest


async def test_a_model_that_is_not_there_is_not_promoted(models: Models, path: Path) -> None:
    """The pointer stays."""
    latest = await publish(models, path, b"one")
    with pytest.raises(S3NotFoundError, match=f"^{models.at(FUTURE)} does not exist"):
        await promote(models, models.at(FUTURE).key)
    assert await models.latest() == latest


async def test_a_promotion_does_not_undo_what_it_did_not_see(models: Models, path: Path, proxy: FaultProxy) -> None:
    """If the pointer changes meanwhile, a promotion checks again."""
    one = await publish(models, path, b"one")
    proxy.fail(s3_error(412, "PreconditionFailed"), matching=f"^PUT .*{LATEST}")
    with pytest.raises(S3ChangedError, match=f"^{models.at(LATEST)} was changed by someone else in the meantime"):
        await promote(models, one.key)


async def test_versions_are_listed_with_what_is_known(models: Models, path: Path) -> None:
    """The newest first, which of them is the latest, and what others put there."""
    assert await publishing.versions(models.client, models.prefix) == []
    await models.put(FOREIGN, b"by hand")
    await models.put("report.json")
    one, two = await publish(models, path, b"one"), await publish(models, path, b"the two")
    await promote(models, one.key)
    written = [
        (await models.head(name))["LastModified"] for name in (name_of(models, two), name_of(models, one), FOREIGN)
    ]
    assert await publishing.versions(models.client, models.prefix) == [
        Version(key=two.key, size=7, modified_at=written[0], pointer=two, is_latest=False),
        Version(key=one.key, size=3, modified_at=written[1], pointer=one, is_latest=True),
        Version(key=models.at(FOREIGN).key, size=7, modified_at=written[2], pointer=None, is_latest=False),
    ]


async def test_a_model_that_is_removed_while_it_is_listed_is_left_out(
    models: Models, path: Path, proxy: FaultProxy
) -> None:
    """As when another publisher prunes: what is still there is shown."""
    one, two = await publish(models, path, b"one"), await publish(models, path, b"two")
    proxy.fail(s3_error(404, "NoSuchKey"), matching=f"^HEAD .*{name_of(models, one)}")
    assert [version.key for version in await publishing.versions(models.client, models.prefix)] == [two.key]


async def test_pruning_keeps_the_newest_and_the_latest(models: Models, path: Path) -> None:
    """The latest model is kept however old it is, and other files are not touched."""
    await models.put(FOREIGN)
    await models.put("report.json")
    one, two, three, four = [await publish(models, path, name) for name in (b"one", b"two", b"three", b"four")]
    await promote(models, one.key)
    assert await publishing.prune(models.client, models.prefix, 4) == [models.at(FOREIGN).key]
    assert await publishing.prune(models.client, models.prefix, 2) == [two.key]
    kept = [name_of(models, pointer) for pointer in (one, three, four)]
    assert sorted(await models.names()) == sorted([*kept, LATEST, "report.json"])
    assert await publishing.prune(models.client, models.prefix, 2) == []


async def test_without_a_pointer_the_newest_are_kept(models: Models) -> None:
    """Models that others put there are pruned as well."""
    names = [f"als_model_2026013{day}_021500.npz" for day in (0, 1)]
    for name in names:
        await models.put(name)
    assert await publishing.prune(models.client, models.prefix, 1) == [models.at(names[0]).key]
    assert await models.names() == [names[1]]
