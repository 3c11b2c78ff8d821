"""What the tests of S3 reach it through."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

from service.live.s3_follower import S3Follower
from service.observe.metrics import Metrics
from service.s3 import client as clients
from service.s3.client import connected
from service.s3.location import Location
from tests.support.bucket import Models, session
from tests.support.fault_proxy import FaultProxy
from tests.support.helpers import at_work, eventually
from tests.support.published import let_in
from tests.support.seaweed import Seaweed

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

Be = Callable[[dict[str, str]], None]
Poll = Callable[[Location], Awaitable[tuple[str, str]]]
OLD = b"the older one"


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


@pytest.fixture
def be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Be:
    """Return what sets variables of AWS, of which there are no others, nor files."""

    def set_(variables: dict[str, str]) -> None:
        names = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL")
        for name in names:
            monkeypatch.delenv(name, raising=False)
        usual = {
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": "something",
            "AWS_SESSION_TOKEN": "the-token",
            "AWS_REGION": "us-east-1",
            "AWS_CONFIG_FILE": str(tmp_path / "config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        for name, value in (usual | variables).items():
            if value:
                monkeypatch.setenv(name, value)
            else:
                monkeypatch.delenv(name, raising=False)

    set_({})
    return set_


@pytest.fixture
def poll(be: Be, tmp_path: Path) -> Poll:
    """Return what polls a place once and returns the code and the sentence, after a look at all that reports them."""
    path = tmp_path / "als_model.npz"
    path.write_bytes(OLD)

    async def polled(place: Location) -> tuple[str, str]:
        metrics = Metrics(CollectorRegistry())
        follower = S3Follower(place, path, tmp_path / "state", metrics, poll=0.001, timeout=60)
        async with at_work(follower.run()) as task:
            await eventually(lambda: follower.following.last_poll is not None)
            assert not task.done(), "it goes on"
        last = follower.following.last_poll
        assert last
        assert last.outcome == "failed"
        labels = {"object": "model", "outcome": "failed", "reason": last.reason}
        assert metrics.registry.get_sample_value("als_s3_polls_total", labels)
        assert path.read_bytes() == OLD
        assert is_one_sentence(last.detail)
        return last.reason, last.detail

    return polled


def is_one_sentence(text: str) -> bool:
    """Say whether this is one line that ends with a full stop, and no longer than people read."""
    return text.endswith((".", "there.")) and text.isprintable() and len(text) < 700
