"""The image, run by Docker as Kubernetes would run the pod."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.support.containers import build_image, running_container
from tests.support.helpers import model_bytes, version
from tests.support.kubernetes import BASE, built, one
from tests.support.published import Bucket
from tests.support.seaweed import Seaweed


def test_the_image_runs_as_the_pod_does(seaweed: Seaweed, tmp_path: Path) -> None:
    """With the user, volume and settings of a pod, it is alive without a model, and ready once one is published."""
    bucket = Bucket(seaweed, asyncio.run(seaweed.make_bucket(versioned=True)), tmp_path)
    pod = one(built(BASE), "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    user = pod["securityContext"]
    mounted = next(mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "models")
    volume = tmp_path / "volume"
    volume.mkdir()
    volume.chmod(0o777)
    settings = {each["name"]: each["value"] for each in container["env"]}
    settings |= seaweed.environment() | {"ALS_S3_URI": str(bucket.prefix), "ALS_S3_POLL_SECONDS": "1"}
    options = [f"--user={user['runAsUser']}:{user['runAsGroup']}"]
    with running_container(build_image(), volume, mounted, options, **settings) as started:
        started.wait_until(lambda: started.get(container["startupProbe"]["httpGet"]["path"])[0] == 200)
        ready = container["readinessProbe"]["httpGet"]["path"]
        assert started.get(ready)[0] == 503
        asyncio.run(bucket.publish(model_bytes(1)))
        started.wait_until(lambda: started.get(ready)[0] == 200)
        assert started.get("/v1/model")[1]["model_version"] == version(model_bytes(1))
