"""Directories in S3, such as models of Spark: every object under a prefix becomes a file below a directory."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from service.errors import DownloadTooLargeError, ModelPathError, S3ConfigurationError, S3NotFoundError
from service.s3.failures import speaking_of
from service.s3.fetching import fetch
from service.s3.finding import plausible
from service.s3.location import Location
from service.s3.versions import Counted, Found, Marker

if TYPE_CHECKING:
    from types_aiobotocore_s3.client import S3Client
    from types_aiobotocore_s3.type_defs import ObjectTypeDef

_MEGABYTE = 2**20
_MOST_OBJECTS = 20_000


async def list_directory(client: S3Client, prefix: Location, most_mb: int) -> list[ObjectTypeDef]:
    """Return the objects under a prefix, at any depth, without markers of directories and hidden files.

    Raises S3Error, also if there are more objects or bytes than a model has.
    """
    found: list[ObjectTypeDef] = []
    with speaking_of(prefix):
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=prefix.bucket, Prefix=prefix.key)
        async for page in pages:
            found += [entry for entry in page.get("Contents", []) if not _is_passed_over(entry["Key"])]
            if len(found) > _MOST_OBJECTS:
                raise S3ConfigurationError(
                    f"There are over {_MOST_OBJECTS} objects in {prefix}; name a model's directory."
                )
    if not found:
        raise S3NotFoundError(f"There is nothing under {prefix}; name the directory in which Spark saved a model.")
    size = sum(entry["Size"] for entry in found)
    if size > most_mb * _MEGABYTE:
        raise DownloadTooLargeError(
            f"{prefix} has {size} bytes, more than the {most_mb} MB that a model may have; raise ALS_MAX_MODEL_MB if "
            "it is one."
        )
    return found


async def fetch_directory(
    client: S3Client, prefix: Location, objects: list[ObjectTypeDef], directory: Path, on_bytes: Counted
) -> None:
    """Download objects under a prefix to the same paths below a directory. Raises S3Error."""
    for entry in objects:
        path = directory / _relative(entry["Key"], prefix)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not entry["Size"]:  # such as _SUCCESS
                path.touch()
                continue
        except OSError as error:
            raise ModelPathError(f"{prefix} cannot be written to {directory}: {error.strerror}.") from None
        marker = Marker(entry["Key"], entry["ETag"])
        found = Found(
            key=marker.key,
            etag=marker.etag,
            size=entry["Size"],
            modified_at=plausible(entry["LastModified"]),
            marker=marker,
        )
        await fetch(client, prefix.bucket, found, path, on_bytes)


def _is_passed_over(key: str) -> bool:
    return key.endswith("/") or key.rpartition("/")[2].startswith(".")


def _relative(key: str, prefix: Location) -> PurePosixPath:
    """Return an object's path below the prefix. Raises S3ConfigurationError if it would lead elsewhere."""
    name = key.removeprefix(prefix.key)
    if "\0" in name or not {"", ".", ".."}.isdisjoint(name.split("/")):
        raise S3ConfigurationError(
            f"{prefix} has an object whose name is not a path; name a directory that Spark wrote."
        )
    return PurePosixPath(name)
