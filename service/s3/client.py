"""How we speak to S3: who we are, how long we wait, and that nothing is tried again behind our back."""

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
    # Stores other than AWS refuse checksums they do not know; ours is given, and asked for, where it matters.
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
    user_agent_extra=f"als-serve/{__version__}",
)


@asynccontextmanager
async def connected(place: Location, *, attempts: int = 1) -> AsyncIterator[S3Client]:
    """Lend a client for S3, with credentials, region and endpoint as botocore finds them. Raises S3Error.

    Each request is tried ``attempts`` times. Who polls backs off by itself, with jitter: a second layer of tries would
    multiply the load on a sick S3.

    Its credentials are found once, so a client that failed is best replaced.
    """
    config = _CONFIG.merge(AioConfig(retries={"total_max_attempts": attempts, "mode": "standard"}))
    with speaking_of(place):
        session = await asyncio.to_thread(_session)
        try:
            client = await session.create_client("s3", config=config).__aenter__()
        except BotoCoreError:
            raise  # some of which are ValueErrors, too
        except ValueError as error:  # which is all that botocore says of an endpoint that is no URL
            raise S3UnreachableError(f"{place} cannot be reached: {error}; look at AWS_ENDPOINT_URL.") from None
    try:
        yield client
    finally:
        await client.__aexit__(None, None, None)


def _session() -> AioSession:
    """Return a session that finds credentials anew, and knows already what S3 is."""
    session = get_session()
    session.register_component("data_loader", _loader())
    return session


@cache
def _loader() -> Any:
    """Return what has read botocore's own description of S3: megabytes of JSON, once, and not on an event loop."""
    loader = get_session().get_component("data_loader")
    for name in ("service-2", "endpoint-rule-set-1", "paginators-1"):
        loader.load_service_model("s3", name)
    for name in ("endpoints", "partitions", "sdk-default-configuration", "_retry"):
        loader.load_data(name)
    return loader
