"""What the tests of S3 reach it through."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from service.s3 import client as clients
from service.s3.client import connected
from service.s3.location import Location
from tests.support.bucket import Models, session
from tests.support.fault_proxy import FaultProxy
from tests.support.published import let_in
from tests.support.seaweed import Seaweed

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client


@pytest.fixture
async def client(seaweed: Seaweed, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[S3Client]:
    """Return the product's own client, with all rights, as has everything that finds its credentials meanwhile."""
    let_in(monkeypatch, seaweed.environment(), proxy.endpoint)
    with monkeypatch.context() as patch:
        patch.setattr(clients, "Session", session)
        lent = connected(Location("any", ""), "owner")
        connection = await lent.__aenter__()
    try:
        yield connection
    finally:
        await lent.__aexit__(None, None, None)


@pytest.fixture
def models(client: S3Client, plain_bucket: str) -> Models:
    """Return a prefix in a bucket that keeps no versions."""
    return Models(client, plain_bucket)


@pytest.fixture
def versioned(client: S3Client, versioned_bucket: str) -> Models:
    """Return a prefix in a bucket that keeps all versions."""
    return Models(client, versioned_bucket)
