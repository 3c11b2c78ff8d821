"""Publishing: uploads the model first and the pointer last, without overwriting anyone else's."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from service.errors import BadPointerError, PublishError, S3ChangedError, S3NotFoundError
from service.s3.failures import speaking_of
from service.s3.finding import SHA256, list_models, plausible, read_pointer
from service.s3.location import CANDIDATE, LATEST, Location, model_key, timestamp_of
from service.s3.pointer import MALFORMED, CandidatePointer, Pointer, candidate_decoder, pointer_decoder
from service.s3.uploading import Protection, Upload, upload
from service.s3.versions import Counted

if TYPE_CHECKING:
    from types_aiobotocore_s3.client import S3Client
    from types_aiobotocore_s3.type_defs import HeadObjectOutputTypeDef

#: The object metadata with a model's own pointer, from which it can be promoted.
_POINTER = "als-pointer"
_TRIES = 5


class Version(msgspec.Struct, frozen=True):
    """A model under a prefix; ``pointer`` describes it, and is None if ``als-serve publish`` did not publish it.

    candidate_percent: the percentage of users for whom it is the candidate, None if it is not the candidate.
    """

    key: str
    size: int
    modified_at: datetime | None
    pointer: Pointer | None
    is_latest: bool
    candidate_percent: float | None = None


async def publish(
    client: S3Client,
    prefix: Location,
    path: Path,
    model: Pointer,
    protection: Protection,
    on_bytes: Counted,
    *,
    upload_only: bool = False,
) -> tuple[Pointer, bool]:
    """Upload a model file, then point to it; return its pointer, and whether that is now the latest.

    ``model`` describes the file; its key and time are set here. It does not become the latest if someone else has
    published a newer one meanwhile, or with ``upload_only``. Raises S3Error.
    """
    if upload_only and (await _latest(client, prefix))[0] is None:
        raise PublishError(
            f"Nothing under {prefix} is the latest model, so servers would follow this one by its name; publish a "
            "first model without --upload-only."
        )
    created_at = datetime.now(UTC).replace(microsecond=0)
    for _ in range(_TRIES):
        key = model_key(prefix, created_at, model.format)
        pointer = msgspec.structs.replace(model, key=key, created_at=created_at)
        file = Upload(path, model.sha256, model.size, {SHA256: model.sha256, _POINTER: _metadata(pointer)})
        try:
            version_id = await upload(client, prefix.at(key), file, protection, on_bytes)
        except S3ChangedError:  # another publisher in the same second
            created_at += timedelta(seconds=1)
        else:
            pointer = msgspec.structs.replace(pointer, version_id=version_id)
            return pointer, not upload_only and await _point_unless_newer(client, prefix, pointer, protection)
    raise PublishError(f"Gave up after {_TRIES} attempts: others keep publishing under {prefix}; try again.")


async def promote(client: S3Client, place: Location, protection: Protection) -> Pointer:
    """Point to a model that was published earlier, and return its pointer. Raises S3Error."""
    # First, because its error response has a body, so bad credentials are not reported as a missing permission.
    _, condition = await _latest(client, place.parent)
    pointer = await _published(client, place)
    await _point(client, place.parent.at(place.parent.key + LATEST), pointer, condition, protection)
    return pointer


async def point_to_candidate(
    client: S3Client, place: Location, percent: float, shadow: float | None, protection: Protection
) -> CandidatePointer:
    """Make a model that was published earlier the candidate, whatever was it before. Raises S3Error."""
    await candidate_of(client, place.parent)  # first, for the same reason
    facts = msgspec.structs.asdict(await _published(client, place))
    pointer = CandidatePointer(**facts, percent=percent, shadow=shadow)
    await _point(client, place.parent.at(place.parent.key + CANDIDATE), pointer, {}, protection)
    return pointer


async def remove_candidate(client: S3Client, prefix: Location) -> CandidatePointer | None:
    """Have no candidate from now on; return what it was, if there was one. Raises S3Error."""
    candidate, place = await candidate_of(client, prefix), prefix.at(prefix.key + CANDIDATE)
    with speaking_of(place):
        await client.delete_object(Bucket=place.bucket, Key=place.key)
    return candidate


async def candidate_of(client: S3Client, prefix: Location) -> CandidatePointer | None:
    """Return the pointer to the candidate of a prefix, None if there is none, or a bad one. Raises S3Error."""
    try:
        read = await read_pointer(client, prefix.at(prefix.key + CANDIDATE), candidate_decoder)
    except (S3NotFoundError, BadPointerError):
        return None
    assert read  # as below
    return read[0]


async def versions(client: S3Client, prefix: Location) -> list[Version]:
    """Return the models under a prefix, newest first. Raises S3Error."""
    (latest, _), candidate = await _latest(client, prefix), await candidate_of(client, prefix)
    models = (await list_models(client, prefix)).models
    found: list[Version] = []
    for entry in models:
        with suppress(S3NotFoundError):  # it has been removed since
            pointer = _pointer_of(entry["Key"], await _head(client, prefix.at(entry["Key"])))
            is_latest = latest is not None and latest.key == entry["Key"]
            percent = candidate.percent if candidate is not None and candidate.key == entry["Key"] else None
            modified_at = plausible(entry["LastModified"])
            found.append(Version(entry["Key"], entry["Size"], modified_at, pointer, is_latest, percent))
    return found


async def prune(client: S3Client, prefix: Location, keep: int) -> list[str]:
    """Remove all but the newest ``keep`` models, the latest one and the candidate; return the removed keys.

    Raises S3Error.
    """
    (latest, _), candidate = await _latest(client, prefix), await candidate_of(client, prefix)
    models = (await list_models(client, prefix)).models
    kept = {pointer.key for pointer in (latest, candidate) if pointer}
    outdated = [entry["Key"] for entry in models[keep:] if entry["Key"] not in kept]
    for key in outdated:
        with speaking_of(prefix.at(key)):
            await client.delete_object(Bucket=prefix.bucket, Key=key)
    return outdated


async def _point_unless_newer(client: S3Client, prefix: Location, pointer: Pointer, protection: Protection) -> bool:
    """Make a model the latest unless a newer one is; of two publishers at once, both check again."""
    for _ in range(_TRIES):
        latest, condition = await _latest(client, prefix)
        if latest and timestamp_of(latest.key) > timestamp_of(pointer.key):
            return False
        try:
            await _point(client, prefix.at(prefix.key + LATEST), pointer, condition, protection)
        except S3ChangedError:
            continue
        return True
    raise PublishError(
        f"Gave up after {_TRIES} attempts: others keep publishing under {prefix}; "
        f"als-serve promote {prefix.at(pointer.key)}"
    )


async def _latest(client: S3Client, prefix: Location) -> tuple[Pointer | None, dict[str, Any]]:
    """Return the pointer, None if missing or bad, and the condition that it has not changed since."""
    place = prefix.at(prefix.key + LATEST)
    try:
        read = await read_pointer(client, place, pointer_decoder)
    except S3NotFoundError:
        return None, {"IfNoneMatch": "*"}
    except BadPointerError:
        return None, {"IfMatch": (await _head(client, place))["ETag"]}
    assert read  # without a condition, there is always a response
    pointer, etag = read
    return pointer, {"IfMatch": etag}


async def _point(
    client: S3Client, place: Location, pointer: Pointer, condition: dict[str, Any], protection: Protection
) -> None:
    with speaking_of(place):
        await client.put_object(
            Bucket=place.bucket,
            Key=place.key,
            Body=msgspec.json.format(msgspec.json.encode(pointer)),
            ContentType="application/json",
            **condition,
            **protection.encryption,
        )


async def _head(client: S3Client, place: Location) -> HeadObjectOutputTypeDef:
    with speaking_of(place):
        return await client.head_object(Bucket=place.bucket, Key=place.key)


async def _published(client: S3Client, place: Location) -> Pointer:
    """Return the pointer that was published with a model. Raises S3Error."""
    pointer = _pointer_of(place.key, await _head(client, place))
    if pointer is None:
        raise BadPointerError(
            f"{place} was not published by als-serve, so its content cannot be verified; pull it and publish it."
        )
    return pointer


def _metadata(pointer: Pointer) -> str:
    """Return a pointer as object metadata (short ASCII), without its key, which S3 knows."""
    return json.dumps(msgspec.to_builtins(msgspec.structs.replace(pointer, key="")))


def _pointer_of(key: str, found: HeadObjectOutputTypeDef) -> Pointer | None:
    """Return the pointer that was published with an object, with the object's current key."""
    try:
        pointer = pointer_decoder.decode(found["Metadata"].get(_POINTER, ""))
    except MALFORMED:
        return None
    return msgspec.structs.replace(pointer, key=key, version_id=found.get("VersionId"))
