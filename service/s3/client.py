"""The S3 client: the one boundary between this program and whatever AWS, a store or a library can do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiobotocore.config import AioConfig

from service.s3.failures import configuring, speaking_of
from service.s3.location import Location
from service.s3.session import Region, Session, find_region

if TYPE_CHECKING:
    from types_aiobotocore_s3.client import S3Client


@asynccontextmanager
async def connected(
    place: Location, payer: str, *, attempts: int = 1, on_region: Callable[[Region], object] | None = None
) -> AsyncIterator[S3Client]:
    """Yield an S3 client; nothing but errors of als-serve leaves the block, because all others become an S3Error.

    Credentials, region and endpoint are those of the environment. ``payer`` is "requester" or "owner": who pays for
    requests. Each request is tried ``attempts`` times. The follower backs off by itself, with jitter; a second layer of
    retries would multiply the load on a failing S3.

    The client reads its credentials once, so replace it after a failure.
    """
    config = AioConfig(retries={"total_max_attempts": attempts, "mode": "standard"})
    with speaking_of(place):
        with configuring(place):
            session = await asyncio.to_thread(Session)
            region = await find_region(session)
            client = await session.create_client("s3", region.name, config=config).__aenter__()
        if on_region:
            on_region(region)
        if payer == "requester":
            client.meta.events.register("before-call.s3", _pay)
        try:
            yield client
        finally:
            await client.__aexit__(None, None, None)


def _pay(params: dict[str, Any], **_: Any) -> None:
    """Accept the costs of a request, for buckets whose owner does not pay them."""
    params["headers"]["x-amz-request-payer"] = "requester"
