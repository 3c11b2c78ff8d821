"""A prefix of a bucket as those who publish to it see it: commands, and what they leave in S3."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from click.testing import CliRunner, Result

from service.cli.main import main
from tests.support.bucket import Models
from tests.support.helpers import model_bytes
from tests.support.seaweed import Seaweed

Answer = TypeVar("Answer")
NAME = r"als_model_\d{8}_\d{6}\.npz"


class Shop:
    """A prefix of a bucket, a directory, and commands with the rights to both."""

    def __init__(self, seaweed: Seaweed, bucket: str, directory: Path) -> None:
        self.directory = directory
        self._seaweed = seaweed
        self._bucket = bucket
        self.prefix = self.asked(self._prefix)
        self.uri = str(self.prefix)

    def asked(self, question: Callable[[Models], Awaitable[Answer]]) -> Answer:
        """Return what something finds in S3."""

        async def asking() -> Answer:
            async with self._seaweed.client() as client:
                models = Models(client, self._bucket)
                if hasattr(self, "prefix"):
                    models.prefix = self.prefix
                return await question(models)

        return asyncio.run(asking())

    @staticmethod
    async def _prefix(models: Models) -> Any:
        return models.prefix

    @property
    def names(self) -> list[str]:
        """Return what is under the prefix."""
        return self.asked(Models.names)

    def run(self, *arguments: object) -> Result:
        """Run a command in this process."""
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert "Traceback" not in result.output
        return result

    def file(self, seed: int) -> Path:
        """Write a model."""
        path = self.directory / f"{seed}.npz"
        path.write_bytes(model_bytes(seed))
        return path

    def publish(self, seed: int, *options: object) -> str:
        """Publish a model, and return its name."""
        result = self.run("publish", self.file(seed), self.uri, *options)
        assert result.exit_code == 0, result.stderr
        found = re.search(rf"✅ Published {self.uri}({NAME})", result.stdout)
        assert found
        return found[1]


def failed(result: Result) -> str:
    """Return the sentence with which a command failed."""
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("Error: ").strip()
