"""The image of the Dockerfile, and containers of it on 127.0.0.1, for tests of what is deployed."""

from __future__ import annotations

import fcntl
import json
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from tests.support import ROOT
from tests.support.helpers import need
from tests.support.waiting import until

BASE = "docker.io/library/python:3.11-slim"
#: As docker-compose.yml calls it, so that its services run what is tested.
IMAGE = "als-serve:local"

#: As docker-compose.yml and the systemd unit run it.
CONFINED = ("--read-only", "--tmpfs=/tmp", "--cap-drop=all", "--security-opt=no-new-privileges")


def docker(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run docker to its end."""
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=check, timeout=120)


def need_images(*names: str) -> None:
    """Skip the test where no Docker daemon answers, or one of these images is not there."""
    answers = shutil.which("docker") and docker("info", check=False).returncode == 0
    need(answers, "Containers need a Docker daemon that answers: see docker info")
    for name in names:
        here = docker("image", "inspect", name, check=False).returncode == 0
        need(here, f"The image {name} is not here: run docker pull {name}, or .ci/images.sh")


def build_image() -> str:
    """Build the Dockerfile as it is and return the image's name; layers that need not be built again are not."""
    need_images(BASE)
    build = ["docker", "build", "--network=host", "--tag", IMAGE, str(ROOT)]
    # Of two test processes that build at once, neither would find the other's layers.
    with (Path(gettempdir()) / "als-serve-build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return IMAGE


def run_once(image: str, *arguments: str, options: tuple[str, ...] = CONFINED) -> subprocess.CompletedProcess[str]:
    """Run one command in a container of its own, to its end."""
    return docker("run", "--rm", "--network=host", *options, image, *arguments, check=False)


class Container:
    """A started container that serves models from a directory of the host, mounted at /models or elsewhere."""

    def __init__(
        self, image: str, models: Path, at: str = "/models", options: Sequence[str] = (), **variables: str
    ) -> None:
        self.port = free_port()
        environment = {
            "ALS_HOST": "127.0.0.1",
            "ALS_PORT": str(self.port),
            "ALS_MODEL_PATH": "/models/als_model.npz",
            "ALS_DRAIN_SECONDS": "1",
        }
        given = [f"--env={name}={value}" for name, value in (environment | variables).items()]
        mounted = f"--volume={models}:{at}"
        started = docker("run", "--detach", "--network=host", *CONFINED, *options, mounted, *given, image)
        self.id = started.stdout.strip()

    @property
    def log(self) -> str:
        """Return all that it has said."""
        said = docker("logs", self.id, check=False)
        return said.stdout + said.stderr

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the container, as ``docker exec`` does."""
        return docker("exec", self.id, *command, check=False)

    def is_healthy(self) -> bool:
        """Run the image's HEALTHCHECK once, as the daemon does."""
        kind, *command = json.loads(docker("inspect", "--format={{json .Config.Healthcheck.Test}}", self.id).stdout)
        assert kind == "CMD"
        return self.run(*command).returncode == 0

    def get(self, path: str) -> tuple[int, Any]:
        """Return the status and the JSON of one request; status 0 if nothing listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)
        except OSError:
            return 0, None

    def wait_until(self, happened: Callable[[], object], seconds: float = 60) -> None:
        """Return once something has happened."""
        until(happened, lambda: f"it did not happen: {self.log}", seconds)

    def wait_until_serving(self, version: str) -> None:
        """Return once this version is served."""
        self.wait_until(lambda: (self.get("/v1/model")[1] or {}).get("model_version") == version)

    def exit_code(self) -> int:
        """Return the exit code, once it has ended."""
        return int(docker("wait", self.id).stdout)

    def remove(self) -> None:
        """End it, and remove it with its volumes."""
        docker("rm", "--force", "--volumes", self.id)


@contextmanager
def running_container(
    image: str, models: Path, at: str = "/models", options: Sequence[str] = (), **variables: str
) -> Iterator[Container]:
    """Run a container for the length of a block, with more options of docker run."""
    container = Container(image, models, at, options, **variables)
    try:
        yield container
    finally:
        container.remove()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
