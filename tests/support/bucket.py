"""Models in a bucket of a real S3, under a prefix that one test has for itself; spoken to as the product speaks."""

from __future__ import annotations

import hashlib
import json
import uuid
from functools import cache
from typing import TYPE_CHECKING, Any

from service.s3.location import LATEST, Location
from service.s3.pointer import Counts, Pointer, decode_pointer, pointer_decoder
from service.s3.session import Session

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client


class Models:
    """A prefix, and what tests put there and look up without the code that they test."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self.client = client
        self.bucket = bucket
        self.prefix = Location(bucket, f"{uuid.uuid4().hex}/models/")

    def at(self, name: str) -> Location:
        """Return the place of this name under the prefix."""
        return self.prefix.at(self.prefix.key + name)

    async def put(self, name: str, content: bytes = b"a model", **options: Any) -> str:
        """Put an object, and return its ETag."""
        return (await self.client.put_object(Bucket=self.bucket, Key=self.at(name).key, Body=content, **options))[
            "ETag"
        ]

    async def head(self, name: str) -> Any:
        """Return what S3 says of an object."""
        return await self.client.head_object(Bucket=self.bucket, Key=self.at(name).key)

    async def get(self, name: str) -> bytes:
        """Return what an object holds."""
        answer = await self.client.get_object(Bucket=self.bucket, Key=self.at(name).key)
        async with answer["Body"] as body:
            return await body.read()

    async def names(self) -> list[str]:
        """Return the names under the prefix, up to a thousand."""
        listed = await self.client.list_objects_v2(Bucket=self.bucket, Prefix=self.prefix.key)
        return [entry["Key"].removeprefix(self.prefix.key) for entry in listed.get("Contents", [])]

    async def delete(self, name: str) -> None:
        """Remove an object."""
        await self.client.delete_object(Bucket=self.bucket, Key=self.at(name).key)

    async def latest(self) -> Pointer:
        """Return what the pointer says."""
        return decode_pointer(await self.get(LATEST), self.at(LATEST), pointer_decoder)


def sha256(content: bytes) -> str:
    """Return a sha256 as pointers have it."""
    return hashlib.sha256(content).hexdigest()


def pointer_to(models: Models, name: str, content: bytes, **others: Any) -> bytes:
    """Return the pointer to an object of this content, some fields of which may be others."""
    fields = {"key": models.at(name).key, "sha256": sha256(content), "size": len(content)}
    return json.dumps(fields | others).encode()


def described(content: bytes) -> Pointer:
    """Describe a model of this content."""
    counts = Counts(users=3, items=5, factors=2, seen_pairs=None)
    return Pointer(
        key="", sha256=sha256(content), size=len(content), format="npz", counts=counts, metrics={"ndcg@20": 0.2117}
    )


def nobody(_: int) -> None:
    """Be told of bytes, and forget them."""


@cache
def session() -> Session:
    """Return a session that all tests share: reading its files takes longer than most of them."""
    return Session()
