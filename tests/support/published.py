"""Models in a real bucket, and followers of them: what the tests of S3 share."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from service.live.s3_follower import S3Follower
from service.observe.metrics import Metrics
from service.s3.location import Location
from service.s3.pointer import Pointer
from service.s3.publishing import publish
from service.s3.uploading import Protection
from tests.support.helpers import at_work
from tests.support.seaweed import Seaweed

POLL_SECONDS = 0.05


class Bucket:
    """A prefix of a bucket, which nobody else has, for models."""

    def __init__(self, seaweed: Seaweed, name: str, directory: Path) -> None:
        self.seaweed = seaweed
        self.prefix = Location(name, f"{uuid.uuid4().hex}/models/")
        self._directory = directory

    async def publish(self, content: bytes) -> Pointer:
        """Publish anything as a model, past every gate."""
        path = self._directory / "to-publish"
        path.write_bytes(content)
        described = Pointer(key="", sha256=hashlib.sha256(content).hexdigest(), size=len(content), format="npz")
        async with self.seaweed.client() as client:
            pointer, is_latest = await publish(client, self.prefix, path, described, Protection(), int)
        assert is_latest
        return pointer

    async def put(self, name: str, content: bytes) -> None:
        """Put any object under the prefix."""
        async with self.seaweed.client() as client:
            await client.put_object(Bucket=self.prefix.bucket, Key=self.prefix.key + name, Body=content)


class Followed:
    """A model path, and what follows S3 for it."""

    def __init__(self, path: Path, follower: S3Follower, metrics: Metrics) -> None:
        self.path = path
        self.follower = follower
        self.following = follower.following
        self.metrics = metrics

    def metric(self, name: str, **labels: str) -> float:
        """Return one sample as a scrape would, 0 where there is none."""
        return self.metrics.registry.get_sample_value(name, labels) or 0

    def polls(self, outcome: str, reason: str = "") -> float:
        """Return how many polls ended so."""
        return self.metric("als_s3_polls_total", object="model", outcome=outcome, reason=reason)

    def failed(self, reason: str) -> bool:
        """Return whether the last poll failed for this reason, in every place that reports it."""
        last = self.following.last_poll
        if last is None or (last.outcome, last.reason) != ("failed", reason):
            return False
        return self.polls("failed", reason) > 0 and last.detail.endswith(".")

    def has(self, content: bytes) -> bool:
        """Say whether this is at the path, whole, and nothing is left beside it."""
        here = [path.name for path in self.path.parent.iterdir()]
        return here == [self.path.name] and self.path.read_bytes() == content


@asynccontextmanager
async def following(
    directory: Path,
    bucket: Bucket,
    location: Location | None = None,
    *,
    seconds: float = 30,
    most_bytes: int | None = None,
    poll: float = POLL_SECONDS,
) -> AsyncIterator[Followed]:
    """Follow a bucket for the time of a block; ``seconds`` and ``most_bytes`` are the limits of a download."""
    path, state, metrics = directory / "models" / "als_model.npz", directory / "state", Metrics(CollectorRegistry())
    for made in (path.parent, state):
        made.mkdir(exist_ok=True)
    where = location or bucket.prefix
    follower = S3Follower(where, path, state, metrics, poll=poll, timeout=seconds, most_bytes=most_bytes)
    async with at_work(follower.run()):
        yield Followed(path, follower, metrics)


def let_in(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], endpoint: str) -> None:
    """Give this process the credentials that its clients will find."""
    for name, value in (environment | {"AWS_ENDPOINT_URL": endpoint}).items():
        monkeypatch.setenv(name, value)
