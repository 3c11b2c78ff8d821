"""Following candidate.json: the model, who gets it, and its end; S3's permissions; nobody else's file is touched."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from service.live.candidate_follower import CandidateFollower
from service.live.generation import Slot
from service.live.reading import Reading
from service.live.steering import Steering
from service.model.rollout.arms import Experiment
from service.observe.metrics import Metrics
from service.s3.location import CANDIDATE
from service.s3.publishing import point_to_candidate, remove_candidate
from service.s3.uploading import Protection
from tests.support.fault_proxy import FaultProxy, s3_error
from tests.support.helpers import at_work, eventually
from tests.support.models import make_factors
from tests.support.published import POLL_SECONDS, Bucket, let_in
from tests.support.seaweed import Seaweed
from tests.support.serving import make_snapshot

ONE, TWO = b"one" * 1000, b"two" * 1000


@pytest.fixture
def proxy(proxy: FaultProxy, seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch) -> FaultProxy:
    """Return the way by which followers reach the store."""
    let_in(monkeypatch, seaweed.environment(), proxy.endpoint)
    return proxy


@pytest.fixture
def bucket(seaweed: Seaweed, versioned_bucket: str, tmp_path: Path) -> Bucket:
    """Return a prefix of its own."""
    return Bucket(seaweed, versioned_bucket, tmp_path)


async def point_to(bucket: Bucket, key: str, percent: float, shadow: float | None = None) -> None:
    """Make a published model the candidate."""
    async with bucket.seaweed.client() as client:
        await point_to_candidate(client, bucket.prefix.at(key), percent, shadow, Protection())


async def turn_off(bucket: Bucket) -> None:
    """Have no candidate."""
    async with bucket.seaweed.client() as client:
        await remove_candidate(client, bucket.prefix)


class Follows:
    """A follower of candidates, and what it leads to."""

    def __init__(self, directory: Path, bucket: Bucket) -> None:
        self.slot = Slot(Metrics(CollectorRegistry()))
        self.path = directory / "candidate"
        steering = Steering(self.slot, Experiment("default", 5), directory)
        self.follower = CandidateFollower(
            bucket.prefix,
            self.path,
            directory,
            self.slot.metrics,
            poll=POLL_SECONDS,
            timeout=30,
            followed="candidate",
            slot=self.slot,
            steering=steering,
        )

    def is_at(self, content: bytes | None, percent: float, shadow: float = 0.0) -> bool:
        """Say whether this file is there, and for so many users."""
        here = self.path.read_bytes() if self.path.exists() else None
        return here == content and self.slot.experiment == Experiment("default", percent, shadow)

    def polls(self, outcome: str) -> float:
        """Return how many polls ended so."""
        labels = {"object": "candidate", "outcome": outcome, "reason": ""}
        return self.slot.metrics.registry.get_sample_value("als_s3_polls_total", labels) or 0


@asynccontextmanager
async def following(directory: Path, bucket: Bucket) -> AsyncIterator[Follows]:
    """Follow the candidate of a prefix for the time of a block."""
    follows = Follows(directory, bucket)
    async with at_work(follows.follower.run()):
        yield follows


async def looked_twice(follows: Follows) -> None:
    """Return after two more polls."""
    before = follows.polls("unchanged")
    await eventually(lambda: follows.polls("unchanged") > before + 1)


async def test_the_pointer_is_followed(tmp_path: Path, bucket: Bucket, proxy: FaultProxy) -> None:
    """To a model, another percentage, and the end; a server that starts meanwhile knows it, too."""
    key = (await bucket.publish(ONE)).key
    async with following(tmp_path, bucket) as follows:
        await looked_twice(follows)
        assert follows.is_at(None, 5)
        await point_to(bucket, key, 20, 0.5)
        await eventually(lambda: follows.is_at(ONE, 20, 0.5))
        await point_to(bucket, key, 30)
        await eventually(lambda: follows.is_at(ONE, 30))
    async with following(tmp_path, bucket) as follows:
        assert follows.is_at(ONE, 30)
        await turn_off(bucket)
        await eventually(lambda: follows.is_at(None, 5))
    assert sum("als_model_" in request.path for request in proxy.requests) == 1


async def test_a_file_of_someone_else_stays(tmp_path: Path, bucket: Bucket, proxy: FaultProxy) -> None:
    """S3 without a candidate removes only what came from there."""
    key = (await bucket.publish(ONE)).key
    async with following(tmp_path, bucket) as follows:
        follows.path.write_bytes(TWO)
        await looked_twice(follows)
        await point_to(bucket, key, 20)
        await eventually(lambda: follows.is_at(ONE, 20))
        follows.path.write_bytes(TWO)
        await turn_off(bucket)
        await eventually(lambda: follows.is_at(TWO, 5))
        await looked_twice(follows)
        assert follows.is_at(TWO, 5)
        await point_to(bucket, key, 20)  # the same pointer as before, to the last byte
        await eventually(lambda: follows.is_at(ONE, 20))


async def test_more_users_wait_for_the_new_candidate(tmp_path: Path, bucket: Bucket, proxy: FaultProxy) -> None:
    """The one before it, which may be bad, does not get them; fewer users count at once."""
    keys = [(await bucket.publish(content)).key for content in (ONE, TWO)]
    async with following(tmp_path, bucket) as follows:
        await point_to(bucket, keys[0], 10)
        await eventually(lambda: follows.is_at(ONE, 10))
        follows.slot.try_out(await follows.slot.offer(make_snapshot(make_factors(), "another")), Reading(""))
        await point_to(bucket, keys[1], 50)
        await eventually(lambda: follows.is_at(TWO, 10))
        await looked_twice(follows)
        assert follows.is_at(TWO, 10)
        await point_to(bucket, keys[1], 1)
        await eventually(lambda: follows.is_at(TWO, 1))
        await point_to(bucket, keys[1], 60)
        await looked_twice(follows)
        assert follows.is_at(TWO, 1)
        follows.slot.end_trial()
        await eventually(lambda: follows.is_at(TWO, 60))
    assert hashlib.sha256(TWO).hexdigest() == follows.follower.following.downloads[0].sha256


async def test_credentials_that_may_not_list_see_no_candidate(
    tmp_path: Path, bucket: Bucket, proxy: FaultProxy
) -> None:
    """S3 denies them what does not exist; but once there is a candidate, that is a failure, and it stays."""
    key = (await bucket.publish(ONE)).key
    denied = s3_error(403, "AccessDenied")
    proxy.fail(denied, matching=CANDIDATE)
    async with following(tmp_path, bucket) as follows:
        await looked_twice(follows)
        assert follows.is_at(None, 5)
    proxy.heal()
    async with following(tmp_path, bucket) as follows:
        await point_to(bucket, key, 20)
        await eventually(lambda: follows.is_at(ONE, 20))
        proxy.fail(denied, matching=CANDIDATE)
        await eventually(lambda: (poll := follows.follower.following.last_poll) and poll.outcome == "failed")
        assert follows.is_at(ONE, 20)
