"""The S3 client: credentials, timeouts and retries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session
from botocore.exceptions import BotoCoreError

from service import __version__
from service.errors import S3UnreachableError
from service.s3.failures import speaking_of
from service.s3.location import Location

if TYPE_CHECKING:
    from types_aiobotocore_s3.client import S3Client

_CONFIG = AioConfig(
    connect_timeout=5,
    read_timeout=15,
    # Other stores than AWS reject unknown checksums; ours is sent and requested where it matters.
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
    user_agent_extra=f"als-serve/{__version__}",
)


@asynccontextmanager
async def connected(place: Location, *, attempts: int = 1) -> AsyncIterator[S3Client]:
    """Yield an S3 client, with credentials, region and endpoint as botocore finds them. Raises S3Error.

    Each request is tried ``attempts`` times. The follower backs off by itself, with jitter; a second layer of retries
    would multiply the load on a failing S3.

    The client reads its credentials once, so replace it after a failure.
    """
    config = _CONFIG.merge(AioConfig(retries={"total_max_attempts": attempts, "mode": "standard"}))
    with speaking_of(place):
        session = await asyncio.to_thread(_session)
        try:
            client = await session.create_client("s3", config=config).__aenter__()
        except BotoCoreError:
            raise  # some of which are also ValueErrors
        except ValueError as error:  # botocore's only error for an endpoint that is not a URL
            raise S3UnreachableError(f"{place} cannot be reached: {error}; check AWS_ENDPOINT_URL.") from None
    try:
        yield client
    finally:
        await client.__aexit__(None, None, None)


def _session() -> AioSession:
    """Return a session that reads credentials again but has already loaded the description of S3."""
    session = get_session()
    session.register_component("data_loader", _loader())
    return session


@cache
def _loader() -> Any:
    """Load botocore's description of S3: megabytes of JSON, read once, and not on an event loop."""
    loader = get_session().get_component("data_loader")
    for name in ("service-2", "endpoint-rule-set-1", "paginators-1"):
        loader.load_service_model("s3", name)
    for name in ("endpoints", "partitions", "sdk-default-configuration", "_retry"):
        loader.load_data(name)
    return loader
