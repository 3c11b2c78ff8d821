"""The image, run by Docker as Kubernetes would run the pod."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.containers import Container, build_image, running_container
from tests.support.helpers import model_bytes, version
from tests.support.kubernetes import BASE, built, one
from tests.support.models import make_factors
from tests.support.published import Bucket
from tests.support.seaweed import Seaweed

POD = one(built(BASE), "Deployment")["spec"]["template"]["spec"]
CONTAINER = POD["containers"][0]
READY = CONTAINER["readinessProbe"]["httpGet"]["path"]


@pytest.fixture
def bucket(seaweed: Seaweed, tmp_path: Path) -> Bucket:
    """Return an empty prefix."""
    return Bucket(seaweed, asyncio.run(seaweed.make_bucket(versioned=True)), tmp_path)


@contextmanager
def running_pod(bucket: Bucket, volume: Path, *options: str) -> Iterator[Container]:
    """Run the image with the user, the empty volume and the settings of a pod, until the end of a block."""
    volume.mkdir()
    volume.chmod(0o777)
    (mounted,) = (mount["mountPath"] for mount in CONTAINER["volumeMounts"] if mount["name"] == "models")
    settings = {each["name"]: each["value"] for each in CONTAINER["env"]} | bucket.seaweed.environment()
    settings |= {"ALS_S3_URI": str(bucket.prefix), "ALS_S3_POLL_SECONDS": "1"}
    user = POD["securityContext"]
    options = (f"--user={user['runAsUser']}:{user['runAsGroup']}", *options)
    with running_container(build_image(), volume, mounted, options, **settings) as container:
        container.wait_until(lambda: container.get(CONTAINER["startupProbe"]["httpGet"]["path"])[0] == 200)
        yield container


def test_a_pod_is_ready_once_a_model_is_published(bucket: Bucket, tmp_path: Path) -> None:
    """Without a model it is alive, and not ready."""
    with running_pod(bucket, tmp_path / "volume") as pod:
        assert pod.get(READY)[0] == 503
        asyncio.run(bucket.publish(model_bytes(1)))
        pod.wait_until(lambda: pod.get(READY)[0] == 200)
        assert pod.get("/v1/model")[1]["model_version"] == version(model_bytes(1))


def test_a_model_that_is_too_large_for_the_pod_does_not_end_it(bucket: Bucket, tmp_path: Path) -> None:
    """The import may use what the limit leaves beside the server, so it is refused before the kernel kills both."""
    asyncio.run(bucket.publish(model_bytes(1)))
    with running_pod(bucket, tmp_path / "volume", "--memory=300m") as pod:
        pod.wait_until_serving(version(model_bytes(1)))
        asyncio.run(bucket.publish(model_bytes(factors=make_factors(users=400_000, items=30, factors=64, pairs=None))))
        pod.wait_until(lambda: pod.get("/v1/model")[1]["last_reload"]["outcome"] == "rejected")
        assert pod.get("/v1/model")[1]["last_reload"]["reason"] == "import_memory"
        assert pod.get(READY)[0] == 200
