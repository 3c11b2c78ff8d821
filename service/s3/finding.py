"""Finds the current version in S3: by a pointer, an exact key, or the newest name; one request if nothing changed."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from botocore.exceptions import ClientError

from service.errors import BadPointerError, S3ConfigurationError, S3NotFoundError, S3UnavailableError
from service.s3.answers import code_of
from service.s3.failures import speaking_of
from service.s3.location import CANDIDATE, LATEST, MODEL_NAMES, Location, is_model, timestamp_of
from service.s3.pointer import (
    LARGEST,
    CandidatePointer,
    Pointer,
    PointerT,
    candidate_decoder,
    decode_pointer,
    pointer_decoder,
)
from service.s3.versions import Found, Marker

if TYPE_CHECKING:
    from types_aiobotocore_s3.client import S3Client
    from types_aiobotocore_s3.type_defs import GetObjectOutputTypeDef, ObjectTypeDef

#: The object metadata in which ``als-serve publish`` stores the sha256 of the whole object.
SHA256 = "sha256"
#: Headers that S3 sends for every object, unlike the error or login pages of a proxy.
_ALWAYS = {"ETag", "LastModified"}
_MOST_LISTED = 100_000
_YEARS = (1971, 2200)


async def find(client: S3Client, location: Location, known: Marker | None) -> Found | None:
    """Return the current version in S3, or None if it is still the one in ``known``.

    For a prefix, it is the one that latest.json points to; without a pointer, the newest by the timestamp in its name,
    then by its modification time. Raises S3Error.
    """
    if not location.is_prefix:
        return await _exact(client, location, known)
    pointer = location.at(location.key + LATEST)
    if known is None or known.key == pointer.key:
        try:
            return await _pointed(client, pointer, known)
        except S3NotFoundError:
            known = None
    return await _newest(client, location, known)


async def find_candidate(
    client: S3Client, prefix: Location, known: Marker | None
) -> tuple[CandidatePointer, Found] | None:
    """Return the candidate of a prefix, or None if it is still the one in ``known``.

    Raises S3NotFoundError if there is none, and other S3Errors.
    """
    place = prefix.at(prefix.key + CANDIDATE)
    read = await read_pointer(client, place, candidate_decoder, known)
    return None if read is None else (read[0], _found(place, *read))


async def read_pointer(
    client: S3Client, place: Location, decoder: msgspec.json.Decoder[PointerT], known: Marker | None = None
) -> tuple[PointerT, str] | None:
    """Return the pointer and its ETag, or None if it did not change. Raises S3NotFoundError and other S3Errors."""
    answer = await get_object(client, place, **_unless(known))
    if answer is None:
        return None
    raw = b""
    with speaking_of(place):
        async with answer["Body"] as body:
            while len(raw) <= LARGEST and (more := await body.read(LARGEST)):
                raw += more
    if len(raw) > LARGEST:
        raise BadPointerError(f"{place} is not a pointer to a model: it has over {LARGEST} bytes; publish a model.")
    return decode_pointer(raw, place, decoder), answer["ETag"]


async def get_object(client: S3Client, place: Location, **request: Any) -> GetObjectOutputTypeDef | None:
    """Start to read an object, or return None if it has not changed (304).

    Raises S3Error, also if the response is not from S3.
    """
    with speaking_of(place):
        try:
            answer = await client.get_object(Bucket=place.bucket, Key=place.key, **request)
        except ClientError as error:
            if code_of(error) in ("304", "NotModified"):
                return None
            raise
    if missing := _ALWAYS - answer.keys():
        answer["Body"].close()
        raise _not_s3(place, min(missing))
    return answer


def sha256_of(answer: GetObjectOutputTypeDef) -> str | None:
    """Return the sha256 (hex) of the whole object that ``als-serve publish`` stored in its metadata, if any."""
    sha256 = answer["Metadata"].get(SHA256, "")
    return sha256 if re.fullmatch("[0-9a-f]{64}", sha256) else None


class Listing(NamedTuple):
    """The models directly under a prefix, newest first, whether there is a pointer, and the number of other objects."""

    models: list[ObjectTypeDef]
    has_pointer: bool
    others: int


async def list_models(client: S3Client, location: Location) -> Listing:
    """List what is directly under a prefix. Raises S3Error, also if there are more objects than anyone publishes."""
    with speaking_of(location):
        pages = client.get_paginator("list_objects_v2").paginate(
            Bucket=location.bucket, Prefix=location.key, Delimiter="/"
        )
        listed: list[ObjectTypeDef] = []
        async for page in pages:
            if "IsTruncated" not in page:
                raise _not_s3(location, "IsTruncated")
            listed += page.get("Contents", [])
            if len(listed) > _MOST_LISTED:
                raise S3ConfigurationError(f"There are over {_MOST_LISTED} objects in {location}; use another prefix.")
        names = {entry["Key"].removeprefix(location.key): entry for entry in listed}
        models = sorted((entry for name, entry in names.items() if is_model(name)), key=_age, reverse=True)
    has_pointer = LATEST in names
    pointers = names.keys() & {LATEST, CANDIDATE}
    return Listing(models, has_pointer, len(names) - len(models) - len(pointers))


def plausible(moment: datetime) -> datetime | None:
    """Return a time of S3 in UTC, None if no model was written then: the time only orders and dates models."""
    return moment.astimezone(UTC) if _YEARS[0] <= moment.year < _YEARS[1] else None


def _not_s3(place: Location, missing: str) -> S3UnavailableError:
    return S3UnavailableError(f"The server that answered for {place} is not S3 (no {missing}); check AWS_ENDPOINT_URL.")


def _counted(others: int) -> str:
    if not others:
        return ""
    objects = "1 object" if others == 1 else f"{others} objects"
    return f", only {objects} with other names than {LATEST} and {MODEL_NAMES}"


def _unless(known: Marker | None) -> dict[str, str]:
    return {"IfNoneMatch": known.etag} if known else {}


def _age(entry: ObjectTypeDef) -> tuple[str, datetime]:
    return timestamp_of(entry["Key"]), entry["LastModified"]


async def _exact(client: S3Client, place: Location, known: Marker | None) -> Found | None:
    # Not HEAD, whose errors have no body that distinguishes expired credentials from a missing permission.
    answer = await get_object(client, place, **_unless(known))
    if answer is None:
        return None
    answer["Body"].close()
    if "ContentLength" not in answer:
        raise _not_s3(place, "ContentLength")
    return Found(
        key=place.key,
        version_id=answer.get("VersionId"),
        etag=answer["ETag"],
        size=answer["ContentLength"],
        sha256=sha256_of(answer),
        modified_at=plausible(answer["LastModified"]),
        marker=Marker(place.key, answer["ETag"]),
    )


async def _pointed(client: S3Client, place: Location, known: Marker | None) -> Found | None:
    read = await read_pointer(client, place, pointer_decoder, known)
    return None if read is None else _found(place, *read)


def _found(place: Location, pointer: Pointer, etag: str) -> Found:
    return Found(
        key=pointer.key,
        version_id=pointer.version_id,
        size=pointer.size,
        sha256=pointer.sha256,
        modified_at=pointer.created_at,
        marker=Marker(place.key, etag),
    )


async def _newest(client: S3Client, location: Location, known: Marker | None) -> Found | None:
    models, has_pointer, others = await list_models(client, location)
    if has_pointer:
        return await _pointed(client, location.at(location.key + LATEST), None)
    if not models:
        raise S3NotFoundError(
            f"There is no model under {location}{_counted(others)}; als-serve publish puts one there."
        )
    newest = models[0]
    marker = Marker(newest["Key"], newest["ETag"])
    if marker == known:
        return None
    return Found(
        key=marker.key,
        etag=marker.etag,
        size=newest["Size"],
        modified_at=plausible(newest["LastModified"]),
        marker=marker,
    )
