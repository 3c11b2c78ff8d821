"""A prefix of a bucket with servers that follow it, and the commands of those who publish to it."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tests.support.helpers import version
from tests.support.published import Bucket
from tests.support.running import RunningServer, running_server
from tests.support.seaweed import Seaweed


class Fleet:
    """A prefix of a bucket, and the directory of a server that follows them."""

    def __init__(self, seaweed: Seaweed, bucket: str, directory: Path) -> None:
        self.environment = seaweed.environment()
        self.bucket = Bucket(seaweed, bucket, directory)
        self.uri = str(self.bucket.prefix)
        self.directory = directory
        self.path = directory / "models" / "als_model.npz"
        self.path.parent.mkdir()

    def run(self, *arguments: str) -> str:
        """Run a command of als-serve that succeeds, and return what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "service", *arguments],
            env=os.environ | self.environment,
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    async def put(self, content: bytes) -> str:
        """Put anything in S3 as a model, past every gate; return its version."""
        await self.bucket.publish(content)
        return version(content)

    def publish(self, content: bytes) -> str:
        """Publish a model with the command; return its URI."""
        (self.directory / "new.npz").write_bytes(content)
        (uri,) = [word for word in self.run("publish", "new.npz", self.uri).split() if word.startswith("s3://")]
        return uri

    def server(self, endpoint: str | None = None, **settings: object) -> AbstractContextManager[RunningServer]:
        """Run a server that follows the models, by way of another endpoint if one is given."""
        environment = self.environment | ({"AWS_ENDPOINT_URL": endpoint} if endpoint else {})
        follows: dict[str, Any] = {"s3_uri": self.uri, "s3_poll_seconds": 0.2, **settings}
        return running_server(self.path, self.directory / "state", environment, **follows)
